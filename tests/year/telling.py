"""What others were told after kills: webhooks at least once and never with another body, exported rows exactly once."""

import csv
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from django.utils import timezone

from contracts.models import LedgerEntry
from invoicing.delivering import deliver
from invoicing.exports.datasets import DATASETS
from invoicing.exports.running import export
from invoicing.models import FROZEN, Delivery, InvoiceLine, JournalPosting, OutgoingEvent
from tests.invoicing.receiver import Receiver
from tests.meters.making import settled

PATIENCE = 60


def deliver_all() -> None:
    """What a killed process had taken is taken again at once: here it is known to be gone."""
    Delivery.objects.filter(state="waiting").update(next_attempt_at=timezone.now())
    deliver(webhooks=True)


def export_all(folder: Path) -> None:
    for name in DATASETS:
        export(name, str(folder))


def wrongly_delivered(receiver: Receiver) -> Iterator[str]:
    bodies: dict[str, bytes] = {}
    for (headers, _), body in zip(receiver.got, receiver.bodies, strict=True):
        if bodies.setdefault(headers["webhook-id"], body) != body:
            yield f"webhook {headers['webhook-id']} came with two bodies"
    wanted = {each.webhook_id: each.body.encode() for each in OutgoingEvent.objects.all()}
    if bodies != wanted:
        yield f"webhooks: {len(wanted)} events, {len(bodies)} came, {len(wanted.keys() - bodies.keys())} of them not"


def wrongly_exported(folder: Path) -> Iterator[str]:
    """Each row in the files that a manifest names, once, after a last run."""
    deadline = time.monotonic() + PATIENCE
    settled()
    export_all(folder)
    while any(export(name, str(folder)) for name in DATASETS):
        assert time.monotonic() < deadline, "the export never ends"
    lines = InvoiceLine.objects.filter(invoice__status__in=FROZEN).order_by()
    voided = lines.filter(invoice__status="void").count()
    exported = Counter(row["event"] for row in _rows(folder, "lines"))
    if (exported["issued"], exported["void"]) != (lines.count(), voided):
        yield f"lines: {lines.count()} issued, {voided} of them void; exported {dict(exported)}"
    for name, column, model in (("ledger", "entry", LedgerEntry), ("journal", "posting", JournalPosting)):
        found = Counter(int(row[column]) for row in _rows(folder, name))
        there = set(model.objects.values_list("pk", flat=True))
        if set(found) != there or any(count > 1 for count in found.values()):
            yield f"{name}: {len(there)} rows, {len(found)} exported, {sum(found.values()) - len(found)} of them twice"


def _rows(folder: Path, dataset: str) -> Iterator[dict[str, str]]:
    for manifest in sorted(folder.glob(f"{dataset}-*.json")):
        for file in json.loads(manifest.read_text())["files"]:
            with (folder / file["name"]).open(newline="") as stream:
                yield from csv.DictReader(stream)
