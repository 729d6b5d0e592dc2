"""Rows as CSV and Parquet files."""

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import chain, islice
from pathlib import Path
from typing import Any

from billing_project.decimals import plain
from invoicing.exports.columns import DIGITS, PLACES, Column, Kind, csv_rows, fits, json_text
from meters.sources.extras import load

Row = Sequence[Any]
FORMATS = ("csv", "parquet")
BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Written:
    """A file, with what a reader can check it by."""

    name: str
    rows: int
    size: int
    sha256: str


def parts(rows: Iterable[Row], most: int) -> Iterator[Iterator[Row]]:
    """The rows, at most so many at a time; each part is to be used up before the next is asked for."""
    rows = iter(rows)
    for first in rows:
        yield chain([first], islice(rows, most - 1))


def write(path: Path, columns: Sequence[Column], rows: Iterable[Row], advance: Callable[[int], None]) -> Written:
    """Write a file in the format its name ends with."""
    writer = _write_parquet if path.suffix == ".parquet" else _write_csv
    number = writer(path, columns, rows, advance)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Written(path.name, number, path.stat().st_size, digest)


def _write_csv(path: Path, columns: Sequence[Column], rows: Iterable[Row], advance: Callable[[int], None]) -> int:
    number = 0
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([column.name for column in columns])
        for batch in _batches(rows):
            writer.writerows(csv_rows(batch))
            number += len(batch)
            advance(len(batch))
    return number


def _write_parquet(path: Path, columns: Sequence[Column], rows: Iterable[Row], advance: Callable[[int], None]) -> int:
    arrow = load("pyarrow", extra="lake", purpose="Exporting to Parquet")
    parquet = load("pyarrow.parquet", extra="lake", purpose="Exporting to Parquet")
    schema = arrow.schema([field for column in columns for field in _fields(arrow, column)])
    number = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            values = [each for place, column in enumerate(columns) for each in _values(batch, place, column)]
            writer.write_table(arrow.table(values, schema=schema))
            number += len(batch)
            advance(len(batch))
    return number


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch


def _fields(arrow: Any, column: Column) -> list[Any]:
    types = {
        Kind.INTEGER: arrow.int64(),
        Kind.INSTANT: arrow.timestamp("us", tz="UTC"),
        Kind.DAY: arrow.date32(),
        **{kind: arrow.decimal128(DIGITS, places) for kind, places in PLACES.items()},
    }
    found = [arrow.field(column.name, types.get(column.kind, arrow.string()))]
    return [*found, arrow.field(f"{column.name}_text", arrow.string())] if column.kind == Kind.EXACT else found


def _values(batch: list[Row], place: int, column: Column) -> list[list[Any]]:
    given = [row[place] for row in batch]
    if column.kind == Kind.EXACT:
        places = PLACES[column.kind]
        held = [value if value is not None and fits(value, places) else None for value in given]
        return [held, [None if value is None else plain(value) for value in given]]
    if column.kind == Kind.INSTANT:
        return [[None if value is None else value.astimezone(UTC) for value in given]]
    if column.kind == Kind.JSON:
        return [[None if value is None else json_text(value) for value in given]]
    return [given]
