"""Reading files into events: each batch committed, then the place to go on from.

Stopped or killed anywhere and run again, a batch may be sent twice; ingestion counts its events once.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from billing_project.locks import holding
from meters.events import MAX_EVENTS
from meters.ingest import ingest_events, record_rejections
from meters.source_models import ImportedFile, ImportRun
from meters.sources.lines import UnreadableError
from meters.sources.mapping import ColumnMapping
from meters.sources.places import FoundFile, Place
from meters.sources.reading import FORMATS, Batch, EventReader, format_of
from meters.sources.rows import Mark

COUNTS = ("accepted", "duplicates", "conflicts", "rejected")
MAX_SENDER = 100
MAX_MESSAGE = 20_000

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read. `sender` is shown beside rejected events. `again`: also files that were read before."""

    mapping: ColumnMapping
    file_format: str = "auto"
    sender: str = "file"
    again: bool = False
    batch: int = MAX_EVENTS


def files_to_read(place: Place, reading: Reading, run: ImportRun) -> list[FoundFile]:
    """Raises UnreadableError when there is nothing to read."""
    files = [file for file in place.find() if _is_readable(file, reading, run)]
    if not files:
        raise UnreadableError(
            f"{run.place}: no file is called like one of events (.csv, .jsonl, .parquet; each may have .gz). Say what "
            f"they are with --format {' or '.join(FORMATS)}.",
            code="unknown_format",
        )
    return files


def _is_readable(file: FoundFile, reading: Reading, run: ImportRun) -> bool:
    if format_of(file.path, reading.file_format):
        return True
    if not file.asked_for:
        note(run, f"{file.path}: left out, its name tells no format.")
    return False


def import_file(place: Place, file: FoundFile, reading: Reading, run: ImportRun, advance: Advance) -> None:
    """A file that cannot be read is noted in the run; it does not keep others from being read."""
    digest = digest_of(file.path, reading)
    with holding("import-file", digest) as held:
        state = _checkpoint(file, digest, reading, run) if held else None
        if state is None:
            why = "" if held else f"{file.path}: left out, another run is reading it."
            note(run, why, skipped=1)
            advance(file.size)
            return
        try:
            _read(place, file, reading, state, advance)
        except UnreadableError as error:
            state.error = error.message
            state.save(update_fields=["error", "updated_at"])
            after = f" {state.line:,} rows before that are kept." if state.line else ""
            note(run, f"{file.path}: {error.message}{after}", failed=1)


def _checkpoint(file: FoundFile, digest: uuid.UUID, reading: Reading, run: ImportRun) -> ImportedFile | None:
    """Where to go on; None when there is nothing left to read."""
    state, new = ImportedFile.objects.get_or_create(
        digest=digest, defaults={"run": run, "path": file.path, "size": file.size, "version": file.version}
    )
    same = state.version == file.version
    if state.finished_at and same and not reading.again:
        return None
    if not new:
        state.run, state.error, state.size, state.version = run, "", file.size, file.version
        if state.finished_at or not same:
            state.part = state.position = state.line = 0
            state.accepted = state.duplicates = state.conflicts = state.rejected = 0
            state.started_at, state.finished_at = timezone.now(), None
        state.save()
    return state


def _read(place: Place, file: FoundFile, reading: Reading, state: ImportedFile, advance: Advance) -> None:
    file_format, done = format_of(file.path, reading.file_format), 0
    with place.opened(file) as stream:
        reader = EventReader(stream, file_format, reading.mapping, file.path)
        mark = Mark(state.position, state.line, state.part)
        for batch in reader.batches(mark, now=timezone.now(), size=reading.batch):
            _take(batch, reading.sender, state)
            at = reader.position(stream, file.size)
            advance(max(0, at - done))
            done = max(at, done)
    advance(file.size - done)
    with transaction.atomic():
        state.finished_at = timezone.now()
        state.save(update_fields=["finished_at", "updated_at"])
        ImportRun.objects.filter(pk=state.run_id).update(files=F("files") + 1)


def _take(batch: Batch, sender: str, state: ImportedFile) -> None:
    result = ingest_events(batch.events)
    new = {
        "accepted": result.accepted,
        "duplicates": result.duplicates,
        "conflicts": len(result.conflicts),
        "rejected": len(batch.rejected) + len(result.archived),
    }
    with transaction.atomic():
        if batch.rejected:
            record_rejections(batch.rejected, sender[:MAX_SENDER])
        state.part, state.position, state.line = batch.mark.part, batch.mark.offset, batch.mark.line
        for name in COUNTS:
            setattr(state, name, getattr(state, name) + new[name])
        state.save(update_fields=[*COUNTS, "part", "position", "line", "updated_at"])
        ImportRun.objects.filter(pk=state.run_id).update(**{name: F(name) + new[name] for name in COUNTS})


def note(run: ImportRun, message: str = "", **counts: int) -> None:
    changes: dict[str, Any] = {name: F(name) + number for name, number in counts.items()}
    if message:
        run.message = f"{run.message}\n{message}".strip()[:MAX_MESSAGE]
        changes["message"] = run.message
    if run.pk:
        ImportRun.objects.filter(pk=run.pk).update(**changes)


def digest_of(path: str, reading: Reading) -> uuid.UUID:
    given: Sequence[Any] = (path, reading.file_format, reading.mapping)
    return uuid.UUID(bytes=blake2b(msgspec.json.encode(given), digest_size=16).digest())
