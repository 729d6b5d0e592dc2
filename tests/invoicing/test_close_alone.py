"""A close of its own database leaves out a step: what it writes is the same."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

import tests.scenarios
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.events import send
from invoicing.billing_file.parsing import parse
from invoicing.billing_file.scenarios import Scenario, read_scenarios
from invoicing.close import close_periods, write_due_periods
from invoicing.models import Invoice, InvoiceLine, Status

FOLDER = Path(tests.scenarios.__file__).parent
NOW = datetime(2026, 11, 1, tzinfo=UTC)
SCENARIOS = [each for name in ("everything", "families", "worked") for each in read_scenarios(FOLDER / f"{name}.yaml")]


def closed(as_of: datetime, *, alone: bool) -> list[Any]:
    """Everything of the invoices and their lines but ids and when they were written. The database is left as it was."""
    with transaction.atomic():
        close_periods(as_of, alone=alone)
        invoices = Invoice.objects.order_by("contract__key", "starting_at", "ending_before", "kind", "scheduled_at")
        kept = []
        for place, row in enumerate(invoices.values()):
            lines = InvoiceLine.objects.filter(invoice=row["id"]).order_by("position").values()
            kept.append(
                (place, _without(row, "id", "created_at"), [_without(each, "id", "invoice_id") for each in lines])
            )
        transaction.set_rollback(True)
    return kept


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


@pytest.mark.django_db
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_it_writes_what_a_close_writes(scenario: Scenario) -> None:
    entries = parse([("", scenario.written)])
    as_of = entries.as_of or NOW
    apply_entries(entries, as_of)
    send(entries, FOLDER, as_of)
    write_due_periods(as_of)
    expected = closed(as_of, alone=False)
    assert closed(as_of, alone=True) == expected
    assert any(invoice["status"] == Status.IN_REVIEW for _, invoice, _ in expected)
