"""What planned prices of a card would have meant: each contract's last closed period, rated anew with them.

The same gathering and the same `build_statement` as the close, for many contracts at once. Nothing is written.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Sum

from catalog.card_grid import Row
from catalog.models import RateCard
from catalog.money import ZERO, add, subtract
from catalog.price_format import parse_price
from catalog.rate_grid import Held, price_at
from contracts.models import BillingPeriod, Contract
from contracts.terms import Rate
from invoicing.inputs import Terms, gather
from invoicing.models import Invoice, Status
from invoicing.statement import build_statement

AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Effect:
    """One contract's last closed period: billed for its usage, and what it would have been."""

    contract: Contract
    period: BillingPeriod
    billed: Decimal
    would_be: Decimal

    @property
    def difference(self) -> Decimal:
        return subtract(self.would_be, self.billed)


def effects(card: RateCard, rates: Mapping[str, list[Rate]], after: int = 0) -> tuple[list[Effect], int | None]:
    """For the contracts on a card whose ids come after `after`, some at a time; and after which to go on, if more."""
    contracts = list(Contract.objects.filter(rate_card=card, pk__gt=after, shadow=False).order_by("pk")[: AT_ONCE + 1])
    chosen, more = contracts[:AT_ONCE], len(contracts) > AT_ONCE
    rows = list(
        BillingPeriod.objects.filter(contract__in=chosen, closed_at__isnull=False)
        .select_related("contract__customer", "contract__rate_card")
        .order_by("contract_id", "-starting_at")
        .distinct("contract_id")
    )
    billed = _billed(rows)
    found: list[Effect] = []
    # Draws are counted up to the start of the period: contracts whose periods start together are read together.
    for start, group in _by_start(rows).items():
        terms = Terms((row.contract for row in group), start, {card.pk: rates})
        for row, inputs in zip(group, gather(group, terms), strict=True):
            statement = build_statement(inputs)
            would_be = add([statement.total, statement.already_invoiced])
            found.append(Effect(row.contract, row, billed.get(row.pk, ZERO), would_be))
    return sorted(found, key=lambda each: each.contract.pk), chosen[-1].pk if more else None


def prices_at(rows: Mapping[Row, list[Held]], instant: datetime, units: Mapping[Row, str]) -> dict[str, list[Rate]]:
    """The prices a grid has at an instant, as rates that always hold."""
    rates: dict[str, list[Rate]] = defaultdict(list)
    for (product, where), held in rows.items():
        at = price_at(held, instant)
        if at is not None:
            rate = Rate(
                product=product,
                where=where,
                starting_at=None,
                ending_before=None,
                price=parse_price(at.price),
                source="planned price",
                reference="",
                unit=units.get((product, where), ""),
            )
            rates[product].append(rate)
    return dict(rates)


def units_of_rows(card: RateCard) -> dict[Row, str]:
    """The pricing unit of each row of a card's grid."""
    rates = card.rates.exclude(unit="").values_list("product__key", "where_key", "unit")
    return {(product, where): unit for product, where, unit in rates}


def _by_start(rows: Iterable[BillingPeriod]) -> dict[datetime, list[BillingPeriod]]:
    groups: dict[datetime, list[BillingPeriod]] = defaultdict(list)
    for row in rows:
        groups[row.starting_at].append(row)
    return groups


def _billed(rows: Iterable[BillingPeriod]) -> dict[int | None, Decimal]:
    """What the usage invoices of periods billed, threshold invoices along."""
    invoices = Invoice.objects.filter(period__in=[row.pk for row in rows], kind=Invoice.Kind.USAGE)
    invoices = invoices.exclude(status=Status.VOID)
    sums = invoices.values("period").annotate(total_sum=Sum("total"), earlier=Sum("already_invoiced")).order_by()
    return {row["period"]: add([row["total_sum"], row["earlier"]]) for row in sums}
