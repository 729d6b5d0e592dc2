"""Lines added to open invoices, by hand or to correct an earlier one: read for the statement they belong to."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime

from contracts.lines import Line
from invoicing.models import AddedLine, open_at
from meters.periods import Period

# A usage invoice is known by its period, a scheduled one by its contract and instant.
Place = int | tuple[int, datetime]


def added_lines(contracts: Collection[int], known_at: datetime | None = None) -> Mapping[Place, tuple[Line, ...]]:
    """The lines added to the open invoices of contracts, in the order they were written; `known_at`: as at an
    instant.
    """
    found: dict[Place, list[Line]] = defaultdict(list)
    rows = AddedLine.objects.filter(open_at(known_at, "invoice__"), invoice__contract__in=contracts)
    if known_at is not None:
        rows = rows.filter(created_at__lte=known_at)
    for row in rows.select_related("invoice").order_by("pk"):
        invoice = row.invoice
        place = invoice.period_id or (invoice.contract_id, invoice.scheduled_at or invoice.starting_at)
        found[place].append(_line(row, Period(invoice.starting_at, invoice.ending_before)))
    return {place: tuple(lines) for place, lines in found.items()}


def _line(row: AddedLine, period: Period) -> Line:
    if row.starting_at is not None and row.ending_before is not None:
        period = Period(row.starting_at, row.ending_before)
    return Line(
        kind=row.kind,
        product=row.product,
        name=row.name,
        group=tuple(sorted(row.group.items())),
        period=period,
        quantity=row.quantity,
        billed_quantity=row.quantity,
        unit_amount=row.unit_amount,
        amount=row.amount,
        amount_exact=row.amount_exact,
        source=row.reason[:300],
        rate=f"added-line:{row.pk}",
    )
