"""Files of events, and runs over them, in one line each."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from meters.models import Event, ImportRun
from meters.sources.imports import Reading
from meters.sources.mapping import ColumnMapping
from meters.sources.runs import run_import

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
