"""Raw events as Parquet and back, with what is recorded of them: numbers, exact sums, and a digest of all rows."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from billing_project.decimals import plain
from meters.aggregation import EXACT
from meters.exact_json import parse_stored
from meters.sources.extras import load
from meters.sources.lines import UnreadableError
from meters.sources.parquet import Whole

GROUP = 100_000
COLUMNS = ["time", "key", "customer", "type", "properties", "seq"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Row:
    """An event as it is archived; `properties` is JSON as the database writes it."""

    time: datetime
    key: UUID
    customer: str
    type: str
    properties: str
    seq: int

    @property
    def digest(self) -> int:
        ticks = (self.time - EPOCH) // INSTANT
        parts = (str(ticks), self.key.hex, self.customer, self.type, self.properties, str(self.seq))
        return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:16])


@dataclass(slots=True)
class Record:
    """What a month holds, whatever the order of its rows."""

    events: int = 0
    digest: int = 0
    types: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.events += 1
        self.digest = (self.digest + row.digest) % 2**128
        of_type = self.types.setdefault(row.type, {"events": 0, "sums": defaultdict(Decimal)})
        of_type["events"] += 1
        for name, value in parse_stored(row.properties).items():
            if isinstance(value, Decimal):
                of_type["sums"][name] = EXACT.add(of_type["sums"][name], value)

    @property
    def by_type(self) -> dict[str, Any]:
        """As JSON holds it: sums as text."""
        return {
            name: {
                "events": given["events"],
                "sums": {key: plain(total) for key, total in sorted(given["sums"].items())},
            }
            for name, given in sorted(self.types.items())
        }

    @property
    def shown_digest(self) -> str:
        return f"{self.digest:032x}"


def write_rows(rows: Iterable[Row], path: Path) -> Record:
    """Write rows, sorted by time and key, and record them."""
    arrow = load("pyarrow", extra="lake", purpose="Archiving events")
    parquet = load("pyarrow.parquet", extra="lake", purpose="Archiving events")
    schema = arrow.schema(
        [
            ("time", arrow.timestamp("us", tz="UTC")),
            ("key", arrow.binary(16)),
            ("customer", arrow.string()),
            ("type", arrow.string()),
            ("properties", arrow.string()),
            ("seq", arrow.int64()),
        ]
    )
    record = Record()
    with parquet.ParquetWriter(path, schema, compression="zstd", compression_level=9) as writer:
        for batch in _batches(rows):
            for row in batch:
                record.add(row)
            columns = [
                [row.time for row in batch],
                [row.key.bytes for row in batch],
                [row.customer for row in batch],
                [row.type for row in batch],
                [row.properties for row in batch],
                [row.seq for row in batch],
            ]
            writer.write_table(arrow.table(columns, schema=schema))
    return record


def read_rows(stream: Any) -> Iterator[Row]:
    """Raises UnreadableError when the file is not whole or not one of ours."""
    arrow = load("pyarrow", extra="lake", purpose="Reading archived events")
    parquet = load("pyarrow.parquet", extra="lake", purpose="Reading archived events")
    with Whole(arrow):
        file = parquet.ParquetFile(stream)
        absent = [name for name in COLUMNS if name not in file.schema_arrow.names]
        if absent:
            raise UnreadableError(
                f"This is no archived month: column {', '.join(absent)} is missing. Bring back the right file.",
                code="not_an_archive",
            )
        for batch in file.iter_batches(batch_size=10_000, columns=COLUMNS):
            for time, key, *rest in zip(*(column.to_pylist() for column in batch.select(COLUMNS).columns), strict=True):
                yield Row(time.astimezone(UTC), UUID(bytes=key), *rest)


def record_of(rows: Iterable[Row]) -> Record:
    record = Record()
    for row in rows:
        record.add(row)
    return record


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == GROUP:
            yield batch
            batch = []
    if batch:
        yield batch
