"""The events of a scenario, sent the way clients send them: those that have happened by `as_of`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from billing_project.errors import RuleError
from contracts.deal_format import BARE_DATE, Fault
from invoicing.billing_file.faults import FileError, Placed
from invoicing.billing_file.parsing import Entries
from invoicing.billing_file.schema import EventEntry, EventFileEntry
from meters.events import AHEAD, END_OF_TIME, MAX_EVENTS, Event, decode
from meters.exact_json import encode
from meters.ingest import ingest_events
from meters.periods import local_midnight
from meters.sources.mapping import ColumnMapping
from meters.sources.places import place_of
from meters.sources.reading import EventReader, format_of
from meters.sources.rows import Mark
from meters.sources.times import Clock

LAST = END_OF_TIME - AHEAD  # what lies after `as_of` is left out, not refused


def send(entries: Entries, folder: Path, as_of: datetime) -> dict[str, int]:
    """Send what has happened. Returns how many events were new, there before, and in conflict. Raises FileError."""
    counts: Counter[str] = Counter(accepted=0, duplicates=0, conflicts=0)
    for events in _batches(entries, folder):
        happened = [event for event in events if event.time <= as_of]
        if happened:
            result = ingest_events(happened)
            counts.update(accepted=result.accepted, duplicates=result.duplicates, conflicts=len(result.conflicts))
    return dict(counts)


def _batches(entries: Entries, folder: Path) -> Iterator[list[Event]]:
    zones = _zones(entries)
    for start in range(0, len(entries.events), MAX_EVENTS):
        yield _decoded(entries.events[start : start + MAX_EVENTS], zones)
    for each in entries.event_files:
        yield from _read(each, folder)


def _zones(entries: Entries) -> dict[str, ZoneInfo]:
    return {
        key: ZoneInfo(each.entry.timezone)
        for each in entries.customers
        for key in (each.entry.key, *each.entry.aliases)
    }


def _decoded(placed: Sequence[Placed[EventEntry]], zones: dict[str, ZoneInfo]) -> list[Event]:
    body = encode([_sent(each, zones) for each in placed])
    decoded = decode(body, now=LAST)
    if decoded.rejected:
        raise FileError(
            [
                Fault(".".join(filter(None, [placed[one.index].path, one.path])), one.code, one.message)
                for one in decoded.rejected
            ]
        )
    return decoded.events


def _sent(each: Placed[EventEntry], zones: dict[str, ZoneInfo]) -> dict[str, object]:
    event = msgspec.structs.asdict(each.entry)
    if BARE_DATE.match(each.entry.time):
        try:
            day = date.fromisoformat(each.entry.time)
            event["time"] = local_midnight(day, zones.get(each.entry.customer, ZoneInfo("UTC"))).isoformat()
        except (ValueError, OverflowError):
            raise FileError([Fault(f"{each.path}.time", "invalid_time", "there is no such day")]) from None
    return event


def _read(each: Placed[EventFileEntry], folder: Path) -> Iterator[list[Event]]:
    entry = each.entry
    path = entry.path if "://" in entry.path else str(folder / entry.path)
    try:
        place = place_of(path)
        files = place.find()
        for file in files:
            file_format = format_of(file.path, entry.format)
            if not file_format:
                raise FileError([Fault(f"{each.path}.format", "format", "say csv, jsonl or parquet")])
            with place.opened(file) as stream:
                reader = EventReader(stream, file_format, _mapping(entry), file.path)
                for batch in reader.batches(Mark(), now=LAST):
                    if batch.rejected:
                        raise FileError([Fault(each.path, one.code, one.message) for one in batch.rejected[:20]])
                    yield batch.events
    except RuleError as error:
        raise FileError([Fault(f"{each.path}.path", error.problems[0].code, error.message)]) from error


def _mapping(entry: EventFileEntry) -> ColumnMapping:
    return ColumnMapping(
        type=entry.type,
        type_column=entry.type_column,
        id=entry.id,
        time=entry.time,
        customer=entry.customer,
        for_customer=entry.for_customer,
        id_from_row=entry.id_from_row,
        source=entry.source,
        clock=Clock(entry.time_format),
        timezone=entry.timezone,
        properties=tuple(entry.properties.items()),
        skip=entry.skip,
        text=entry.text,
    )
