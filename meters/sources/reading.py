"""From a file to batches of events, with what was refused and where the next batch begins."""

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import PurePosixPath
from typing import IO, Any, cast

from meters.events import AHEAD, MAX_EVENTS, Event, Rejection, decode
from meters.exact_json import MalformedError, RefusedError, check, encode
from meters.sources.cells import TextShape
from meters.sources.lines import BROKEN_GZIP, UnreadableError, broken_gzip
from meters.sources.mapping import Bound, ColumnMapping, MappingError
from meters.sources.parquet import ParquetRows
from meters.sources.rows import CsvRows, JsonRows, Mark, Row, Rows

FORMATS = ("csv", "jsonl", "parquet")
ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
GZIP = b"\x1f\x8b"
BATCH_BYTES = 8 * 1024 * 1024
CHECKED_EVERY = 16


@dataclass(frozen=True, slots=True)
class Batch:
    events: list[Event]
    rejected: list[Rejection]
    mark: Mark


def format_of(path: str, given: str = "auto") -> str:
    """What was given, else by the name's ending; empty when that tells nothing."""
    if given != "auto":
        return given
    return ENDINGS.get(PurePosixPath(path.lower().removesuffix(".gz")).suffix, "")


class EventReader:
    """The events of one file. `path` names it to people and to the ids made from its rows."""

    def __init__(self, stream: IO[bytes], file_format: str, mapping: ColumnMapping, path: str) -> None:
        self.path = path
        self.rows = _open_rows(_unpacked(stream, file_format), file_format, mapping.shape)
        self.bound: Bound | None = None
        rows = self.rows
        if isinstance(rows, JsonRows) and (not rows.columns or (mapping == ColumnMapping() and is_event(rows.first))):
            return
        try:
            self.bound = mapping.bind(
                rows.columns,
                path=path,
                from_text=rows.from_text,
                flat=rows.flat,
                ragged=rows.ragged,
            )
        except MappingError as error:
            raise UnreadableError(str(error), code="mapping") from None
        if isinstance(rows, ParquetRows):
            rows.time = self.bound.time

    def batches(self, mark: Mark, *, now: datetime, size: int = MAX_EVENTS) -> Iterator[Batch]:
        """The file from `mark` on. Each batch ends at a mark to go on from."""
        self.rows.seek(mark)
        bound, latest = self.bound, now + AHEAD
        rows: Iterator[Any] = iter(self.rows) if bound else cast("JsonRows", self.rows).texts()
        while taken := self._take(rows, size):
            made = [self._map(bound, row, latest) for row in taken] if bound else self._decode(taken, now)
            events = [each for each in made if isinstance(each, Event)]
            yield Batch(events, [each for each in made if isinstance(each, Rejection)], self.rows.mark())

    def position(self, stream: IO[bytes], size: int) -> int:
        """How many of the file's bytes are done, about."""
        if isinstance(self.rows, ParquetRows):
            return size * self.rows.mark().line // (self.rows.total or 1)
        return min(stream.tell(), size)

    def _take(self, rows: Iterator[Any], size: int) -> list[Any]:
        """At most so many, and not many more bytes than a batch may hold."""
        taken, start = [], self.rows.mark().offset
        for row in islice(rows, size):
            taken.append(row)
            if not len(taken) % CHECKED_EVERY and self.rows.mark().offset - start > BATCH_BYTES:
                break
        return taken

    def _map(self, bound: Bound, row: Row, latest: datetime) -> Event | Rejection:
        if row.problem:
            return self._rejection(row.line, row.text, row.code, row.problem)
        try:
            if not bound.flat:
                check(row.cells, "")
            return bound.event(row.cells, row.line, latest)
        except RefusedError as error:
            given = bound.attributes(row.cells, row.line)
            event_id = given["id"] if isinstance(given["id"], str) else ""
            return self._rejection(row.line, _as_json(given, row), error.code, error.message, error.path, event_id)

    def _decode(self, lines: Sequence[tuple[int, str, str]], now: datetime) -> list[Event | Rejection]:
        """Lines that are events already: all at once, or one by one when they don't add up."""
        if all(text[0] == "{" and text[-1] == "}" and not problem for _, text, problem in lines):
            try:
                decoded = decode(f"[{','.join(text for _, text, _ in lines)}]".encode(), now=now)
            except MalformedError:
                return [self._decode_one(*line, now) for line in lines]
            if len(decoded.events) == len(lines):
                return list(decoded.events)
        return [self._decode_one(*line, now) for line in lines]

    def _decode_one(self, line: int, text: str, problem: str, now: datetime) -> Event | Rejection:
        if problem:
            return self._rejection(line, text, "unreadable_line", problem)
        try:
            decoded = decode(text.encode(), now=now, batch=False)
        except MalformedError as error:
            return self._rejection(line, text, error.code, error.message.replace("The body", "The line"))
        if decoded.events:
            return decoded.events[0]
        one = decoded.rejected[0]
        return self._rejection(line, one.body, one.code, one.message, one.path, one.id)

    def _rejection(
        self, line: int, body: str, code: str, message: str, path: str = "", event_id: str = ""
    ) -> Rejection:
        place = f"{self.path}, {'row' if isinstance(self.rows, ParquetRows) else 'line'} {line}"
        return Rejection(line, event_id, path, code, f"{message} ({place})", body)


def is_event(row: dict[str, Any]) -> bool:
    """Whether a JSON row has the shape of our own events or of a CloudEvent; then it needs no mapping."""
    nested = isinstance(row.get("data"), dict) or isinstance(row.get("properties"), dict)
    return {"id", "type", "time"} <= row.keys() and (nested or "specversion" in row)


def _open_rows(stream: IO[bytes], file_format: str, shape: TextShape) -> Rows:
    if file_format == "parquet":
        return ParquetRows(stream)
    return JsonRows(stream, shape) if file_format == "jsonl" else CsvRows(stream, shape)


def _unpacked(stream: IO[bytes], file_format: str) -> IO[bytes]:
    """By its first bytes, whatever the file is called. Parquet is read from its end, so it is unpacked to disk."""
    packed = stream.read(2) == GZIP
    stream.seek(0)
    if not packed:
        return stream
    unpacked = cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    if file_format != "parquet":
        return unpacked
    spooled = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as its reader
    try:
        shutil.copyfileobj(unpacked, spooled)
    except BROKEN_GZIP as error:
        raise broken_gzip(error) from None
    spooled.seek(0)
    return spooled


def _as_json(given: dict[str, Any], row: Row) -> str:
    """The event as we understood it, so that it can be corrected and sent again."""
    shown = {key: value for key, value in given.items() if value not in (None, "", {})}
    try:
        return encode(shown).decode()
    except (TypeError, ValueError):
        return row.text or json.dumps(row.cells, default=str)
