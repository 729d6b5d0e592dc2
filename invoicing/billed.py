"""How far contracts are billed: what decides when a commit's window is over and what is left of it expires."""

from datetime import datetime
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from contracts.models import BillingPeriod, Contract, Standing
from contracts.windows import NEVER_AGAIN, Billed
from invoicing.models import OPEN, Invoice


def how_far_billed(contracts: QuerySet[Contract], issuing: int) -> list[Billed]:
    """How far each contract is billed once the invoice `issuing` is issued: one query."""
    periods = BillingPeriod.objects.filter(contract=OuterRef("pk"))
    unissued = Invoice.objects.filter(contract=OuterRef("pk"), status__in=OPEN).exclude(pk=issuing)
    rows = contracts.filter(shadow=False, status=Standing.ACTIVE).annotate(
        unclosed=_first(periods.filter(closed_at=None), "starting_at"),
        written=Subquery(periods.order_by("-starting_at").values("ending_before")[:1]),
        unissued=_first(unissued, "starting_at"),
    )
    found = []
    for row in rows:
        closed = _closed(row, row.unclosed, row.written)
        found.append(Billed(row, closed, closed if row.unissued is None else min(closed, row.unissued)))
    return found


def _first(rows: QuerySet[Any], name: str) -> Subquery:
    return Subquery(rows.order_by(name).values(name)[:1])


def _closed(contract: Contract, unclosed: datetime | None, written: datetime | None) -> datetime:
    if unclosed is not None:
        return unclosed
    if written is None:
        return contract.starting_at
    over = contract.ending_before is not None and written >= contract.ending_before
    return NEVER_AGAIN if over else written
