"""Lines added to open invoices, by hand or to correct an earlier one: read for the statement they belong to."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache

from billing_project.prepared import ask, columns, ids, instance
from contracts.lines import Line
from invoicing.models import OPEN_AT, AddedLine
from meters.periods import Period

# A usage invoice is known by its period, a scheduled one by its contract and instant.
Place = int | tuple[int, datetime]


def added_lines(contracts: Collection[int], known_at: datetime | None = None) -> Mapping[Place, tuple[Line, ...]]:
    """The lines added to the open invoices of contracts, in the order they were written; `known_at`: as at an
    instant.
    """
    found: dict[Place, list[Line]] = defaultdict(list)
    for *values, period, contract, scheduled_at, start, end in ask(
        _statement(), {"contracts": ids(contracts), "known_at": known_at}
    ):
        place = period or (contract, scheduled_at or start)
        found[place].append(_line(instance(AddedLine, values), Period(start, end)))
    return {place: tuple(lines) for place, lines in found.items()}


@cache
def _statement() -> str:
    return f"""
        SELECT {columns(AddedLine, "l")}, i.period_id, i.contract_id, i.scheduled_at, i.starting_at, i.ending_before
        FROM invoicing_addedline AS l JOIN invoicing_invoice AS i ON i.id = l.invoice_id
        WHERE i.contract_id = ANY(%(contracts)s::bigint[])
        AND (l.created_at <= %(known_at)s::timestamptz OR %(known_at)s::timestamptz IS NULL) AND {OPEN_AT}
        ORDER BY l.id
    """  # noqa: S608


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
