"""A run of an export: what was written since the last one, in files that are complete before the cursor moves.

A run is written down with its bounds before its first file. Killed anywhere it is done again: the same rows under the
same names, each file put whole in place of the one before. The manifest comes last; only what a manifest names is
there.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from billing_project.errors import ConflictError, RuleError
from billing_project.locks import holding
from invoicing.exports import files
from invoicing.exports.columns import Kind
from invoicing.exports.datasets import DATASETS, Dataset
from invoicing.exports.usage import left_out
from invoicing.exports.written import Written, horizon
from invoicing.models import Export, ExportRun
from meters.archive_places import put
from meters.models import Meter

MOST_ROWS = 500_000
Advance = Callable[[int], None]


def export(
    dataset: str,
    place: str,
    format_name: str = "csv",
    advance: Advance = lambda _: None,
    *,
    start_over: bool = False,
    most_rows: int = MOST_ROWS,
) -> ExportRun | None:
    """Write what is new of a table to a place; None when nothing is.

    Raises ConflictError while another machine does, and when the database was restored elsewhere since: transaction
    ids of another server say nothing here, so the export has to start over.
    """
    if dataset not in DATASETS:
        raise RuleError(f"There is no {dataset}: choose {', '.join(DATASETS)}.", path="dataset")
    if format_name not in files.FORMATS:
        raise RuleError(f"Choose one of {', '.join(files.FORMATS)}.", path="format")
    with holding("export", dataset, place, format_name) as held:
        if not held:
            raise ConflictError(f"{dataset} to {place} is being exported already.", code="running")
        run = _planned(dataset, place, format_name, start_over=start_over)
        _write(run, DATASETS[dataset], advance, most_rows)
        return run if run.rows or run.left_out else None


def steps_to_do(dataset: str, place: str, format_name: str, *, start_over: bool = False) -> int:
    """How many rows, about, the next run writes."""
    known = Export.objects.filter(dataset=dataset, place=place, format=format_name).first()
    start = known.xid if known and not start_over else 0
    meters = tuple(known.meters) if known and not start_over else ()
    return DATASETS[dataset].number(Written(start, horizon()[0], 0, meters))


def _planned(dataset: str, place: str, format_name: str, *, start_over: bool) -> ExportRun:
    """The run that was killed, or a new one."""
    end, server = horizon()
    with transaction.atomic():
        found, is_new = Export.objects.get_or_create(
            dataset=dataset, place=place, format=format_name, defaults={"system_identifier": server}
        )
        if start_over:
            found.runs.filter(finished_at=None).delete()
            found.xid, found.system_identifier, found.meters = 0, server, []
            found.save()
        elif found.system_identifier != server:
            raise ConflictError(
                f"{found}: the database was restored on another server since. Start over: with --start-over all rows "
                "are written again, under new numbers.",
                code="another_server",
            )
        unfinished = found.runs.filter(finished_at=None).first()
        if unfinished is not None:
            return unfinished
        last = found.runs.aggregate(last=Max("number"))["last"] or 0
        return ExportRun.objects.create(
            export=found, number=last + 1, start=found.xid, end=end, from_the_beginning=start_over or is_new
        )


def _write(run: ExportRun, dataset: Dataset, advance: Advance, most_rows: int) -> None:
    place, ending = run.export.place, run.export.format
    stem = f"{dataset.name}-{run.number:06}"
    meters = list(Meter.objects.order_by("key").values_list("key", flat=True)) if dataset.name == "usage" else []
    written = Written(run.start, run.end, run.number, tuple(run.export.meters), _since(run))
    run.left_out = left_out(written) if dataset.name == "usage" else []
    done: list[files.Written] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, rows in enumerate(files.parts(dataset.rows(written), most_rows), start=1):
            path = Path(folder) / f"{stem}-{number:04}.{ending}"
            done.append(files.write(path, dataset.columns, rows, advance))
            put(place, path.name, path)
            path.unlink()
        run.files, run.rows = [asdict(each) for each in done], sum(each.rows for each in done)
        if done or run.left_out:
            manifest = Path(folder) / f"{stem}.json"
            manifest.write_text(json.dumps(_manifest(run, dataset), indent=2) + "\n")
            put(place, manifest.name, manifest)
    _finish(run, meters)


def _since(run: ExportRun) -> datetime | None:
    """When the last run began that is there whole; None for the first, and for one that starts over."""
    if run.from_the_beginning:
        return None
    before = run.export.runs.exclude(finished_at=None).filter(number__lt=run.number).order_by("number").last()
    return before.started_at if before else None


def _manifest(run: ExportRun, dataset: Dataset) -> dict[str, object]:
    exact = [column.name for column in dataset.columns if column.kind == Kind.EXACT]
    return {
        "dataset": dataset.name,
        "number": run.number,
        "from_the_beginning": run.from_the_beginning,
        "rows": run.rows,
        "files": run.files,
        "columns": {column.name: column.kind.value for column in dataset.columns},
        "exact_as_text_too": exact if run.export.format == "parquet" else [],
        # Made later than the month's events left for files: restore the month, then export with --start-over.
        "left_out": run.left_out,
    }


def _finish(run: ExportRun, meters: list[str]) -> None:
    with transaction.atomic():
        Export.objects.filter(pk=run.export_id).update(xid=run.end, meters=meters)
        if not run.rows and not run.left_out:
            # Its number is free for the next one: numbers of manifests have no gap.
            run.delete()
            return
        run.finished_at = timezone.now()
        run.save(update_fields=["files", "rows", "left_out", "finished_at"])
