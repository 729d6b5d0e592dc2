"""Files of events, and runs over them, in one line each."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from billing_project.locks import lock_number
from meters.models import Event, EventSource, ImportRun
from meters.sources.imports import Reading
from meters.sources.mapping import ColumnMapping
from meters.sources.runs import run_import
from tests.processes import database_url

TYPED = ColumnMapping(type="llm")
HEADER = "id,time,customer,tokens\n"


def quiet(title: str, total: int) -> nullcontext[Any]:
    return nullcontext(lambda done: None)


def import_file(path: Path | str, mapping: ColumnMapping = TYPED, **more: Any) -> ImportRun:
    return run_import(str(path), Reading(mapping, **more), quiet)


def counts(run: ImportRun) -> tuple[int, int, int, int]:
    return run.accepted, run.duplicates, run.conflicts, run.rejected


def stored() -> list[dict[str, Any]]:
    """The properties of all events, numbers as text, in the order of time."""
    return [dict(event.properties) for event in Event.objects.order_by("time", "key")]


def rows_of(number: int, start: int = 0) -> str:
    """Lines under HEADER: ids e0, e1, …, a second apart."""
    return "".join(
        f"e{n},2026-01-05T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}Z,c{n % 7},{n}\n"
        for n in range(start, start + number)
    )


def write_parquet(path: Path, columns: Mapping[str, Any], *, schema: Any = None, group: int | None = None) -> Path:
    pq.write_table(pa.table(dict(columns), schema=schema), path, row_group_size=group)
    return path


def make_source(folder: Path, **more: Any) -> EventSource:
    given = {"key": "gateway", "name": "Gateway", "place": str(folder), "event_type": "llm", **more}
    source = EventSource(**given)
    source.full_clean()
    source.schedule()
    source.save()
    return source


@contextmanager
def elsewhere(*name: object) -> Iterator[None]:
    """Another process holds the lock."""
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [lock_number(*name)])
        yield
