"""The events of a scenario, sent the way clients send them: those that have happened by `as_of`."""

import re
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
from meters.sources.cells import TextShape
from meters.sources.mapping import ColumnMapping
from meters.sources.places import place_of
from meters.sources.reading import EventReader, format_of
from meters.sources.rows import Mark
from meters.sources.times import known_format

OPTION = re.compile(r"--([a-z][a-z-]*)")
LEAVE_OUT = " Mend the file, or leave such rows out with `bad_rows: leave_out`."
OWN_FIELDS = {"separator", "encoding"}
LAST = END_OF_TIME - AHEAD  # what lies after `as_of` is left out, not refused


def send(entries: Entries, folder: Path, as_of: datetime) -> dict[str, int]:
    """Send what has happened. Returns how many events were new, there before, in conflict, and left out as bad rows.
    Raises FileError.
    """
    counts: Counter[str] = Counter(accepted=0, duplicates=0, conflicts=0, rejected=0)
    for events in _batches(entries, folder, counts):
        happened = [event for event in events if event.time <= as_of]
        if happened:
            result = ingest_events(happened)
            counts.update(accepted=result.accepted, duplicates=result.duplicates, conflicts=len(result.conflicts))
    return dict(counts)


def _batches(entries: Entries, folder: Path, counts: Counter[str]) -> Iterator[list[Event]]:
    zones = _zones(entries)
    for start in range(0, len(entries.events), MAX_EVENTS):
        yield _decoded(entries.events[start : start + MAX_EVENTS], zones)
    for each in entries.event_files:
        yield from _read(each, folder, counts)


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


def _read(each: Placed[EventFileEntry], folder: Path, left_out: Counter[str]) -> Iterator[list[Event]]:
    entry = each.entry
    path = entry.path if "://" in entry.path else str(folder / entry.path)
    mapping = _mapping(each)
    try:
        place = place_of(path)
        found = place.find()
        files = [file for file in found if format_of(file.path, entry.format)]
        if not files:
            raise FileError([Fault(f"{each.path}.format", "format", "the name tells no format: csv, jsonl or parquet")])
        for file in files:
            file_format = format_of(file.path, entry.format)
            with place.opened(file) as stream:
                reader = EventReader(stream, file_format, mapping, file.path)
                for batch in reader.batches(Mark(), now=LAST):
                    if batch.rejected and entry.bad_rows == "refuse":
                        raise FileError(
                            [Fault(each.path, one.code, one.message + LEAVE_OUT) for one in batch.rejected[:20]]
                        )
                    left_out["rejected"] += len(batch.rejected)
                    yield batch.events
    except RuleError as error:
        code, message = error.problems[0].code, as_fields(error.message)
        raise FileError([Fault(f"{each.path}.{code if code in OWN_FIELDS else 'path'}", code, message)]) from error


def as_fields(message: str) -> str:
    """What names an option of the command names the field here: --time-format is time_format."""
    return OPTION.sub(lambda found: found[1].replace("-", "_"), message)


def _mapping(each: Placed[EventFileEntry]) -> ColumnMapping:
    entry = each.entry
    try:
        clock = known_format(entry.time_format)
    except ValueError as error:
        raise FileError([Fault(f"{each.path}.time_format", "invalid_format", str(error))]) from None
    return ColumnMapping(
        type=entry.type,
        type_column=entry.type_column,
        id=entry.id,
        time=entry.time,
        customer=entry.customer,
        for_customer=entry.for_customer,
        id_from_row=entry.id_from_row,
        source=entry.source,
        source_column=entry.source_column,
        clock=clock,
        timezone=entry.timezone,
        properties=tuple(entry.properties.items()),
        skip=entry.skip,
        text=entry.text,
        origin=entry.time_origin,
        join=tuple(entry.join.items()),
        folders=entry.folder_columns,
        empty=entry.empty,
        decimal=entry.decimal,
        thousands=entry.thousands,
        shape=TextShape(entry.separator, entry.columns, entry.skip_lines, entry.encoding),
    )
