"""Shadow contracts beside the contracts in force: what each closed period was billed, and would have been.

Both sides count everything of the period: its usage, and the fees that fell due in it. What threshold invoices billed
early is counted once, on the usage.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.db.models import F, Sum

from catalog.group_values import group_text
from catalog.money import ZERO, add, subtract
from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod, Contract
from invoicing.drafts import build
from invoicing.fees import due_fees
from invoicing.inputs import Terms
from invoicing.models import Invoice, InvoiceLine, Status
from invoicing.statement import Statement
from meters.periods import Period

LineKey = tuple[str, str, str, str]
NOT_COUNTED = "already_invoiced"


@dataclass(frozen=True, slots=True)
class ComparedLine:
    """Lines of one kind, product, name and group: what they come to in force, and in the shadow."""

    kind: str
    product: str
    name: str
    group: str
    actual: Decimal
    shadow: Decimal

    @property
    def difference(self) -> Decimal:
        return subtract(self.shadow, self.actual)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A closed period of a shadow contract, beside what the customer was billed for it."""

    contract: Contract
    period: Period
    lines: tuple[ComparedLine, ...]
    actual: Decimal
    shadow: Decimal

    @property
    def difference(self) -> Decimal:
        return subtract(self.shadow, self.actual)


@dataclass(slots=True)
class _Sides:
    actual: dict[LineKey, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    shadow: dict[LineKey, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


def comparisons(shadows: Sequence[Contract], as_of: datetime, latest: int | None = None) -> list[Comparison]:
    """Every period of shadow contracts that is over and was billed, in order of time; of each the `latest` ones.

    A fixed number of queries. Expects `customer` and `rate_card` selected along.
    """
    periods = _billed_periods(shadows, as_of, latest)
    if not periods:
        return []
    with_terms = Terms(shadows)
    fees = due_fees(with_terms, shadows, max(period.ending_before for period in periods))
    sides: dict[int, _Sides] = defaultdict(_Sides)
    for built in build(periods, fees, terms=with_terms):
        for period in periods:
            at = built.scheduled_at
            falls_due = at is not None and period.starting_at <= at < period.ending_before
            same = built.period is not None and built.period.pk == period.pk
            if built.contract.pk == period.contract_id and (same or falls_due):
                _add_statement(sides[period.pk].shadow, built.statement)
    _add_billed(sides, periods)
    return [_comparison(period, sides[period.pk]) for period in periods]


def _billed_periods(shadows: Sequence[Contract], as_of: datetime, latest: int | None) -> list[BillingPeriod]:
    """The periods of shadows that are over, and in which the customer has been billed."""
    known = {contract.pk: contract for contract in shadows}
    if not known:
        return []
    write_periods(as_of, Contract.objects.filter(pk__in=known))
    rows = BillingPeriod.objects.filter(contract__in=known, ending_before__lte=as_of).order_by("starting_at")
    closed: dict[int, list[tuple[datetime, datetime]]] = defaultdict(list)
    billed = BillingPeriod.objects.filter(
        contract__customer__in={each.customer_id for each in shadows}, contract__shadow=False, closed_at__isnull=False
    )
    for customer, start, end in billed.values_list("contract__customer", "starting_at", "ending_before"):
        closed[customer].append((start, end))
    found: dict[int, list[BillingPeriod]] = defaultdict(list)
    for row in rows:
        row.contract = known[row.contract_id]
        spans = closed[row.contract.customer_id]
        if any(row.starting_at <= start and end <= row.ending_before for start, end in spans):
            found[row.contract_id].append(row)
    return [row for mine in found.values() for row in (mine[-latest:] if latest else mine)]


def _add_statement(side: dict[LineKey, Decimal], statement: Statement) -> None:
    for line in statement.lines:
        if not line.unit and line.kind != NOT_COUNTED:
            key = (line.kind, line.product, line.name, group_text(dict(line.group)))
            side[key] = add([side[key], line.amount])


def _add_billed(sides: dict[int, _Sides], periods: Iterable[BillingPeriod]) -> None:
    """What contracts in force billed: invoices of periods within, and of fees that fell due in it."""
    of_customer: dict[int, list[BillingPeriod]] = defaultdict(list)
    for period in periods:
        of_customer[period.contract.customer_id].append(period)
    lines = InvoiceLine.objects.filter(invoice__customer__in=of_customer, unit="").exclude(kind=NOT_COUNTED)
    lines = lines.filter(invoice__kind__in=(Invoice.Kind.USAGE, Invoice.Kind.SCHEDULED))
    lines = lines.exclude(invoice__status=Status.VOID)
    rows = lines.values("kind", "product", "name", "group", customer=F("invoice__customer"),
                        start=F("invoice__starting_at"), end=F("invoice__ending_before"),
                        at=F("invoice__scheduled_at"), currency=F("invoice__currency"))  # fmt: skip
    for row in rows.annotate(total=Sum("amount")).order_by():
        for period in of_customer[row["customer"]]:
            if row["currency"] != period.contract.currency:
                continue
            if row["at"] is None:
                within = period.starting_at <= row["start"] and row["end"] <= period.ending_before
            else:
                within = period.starting_at <= row["at"] < period.ending_before
            if within:
                key = (row["kind"], row["product"], row["name"], group_text(row["group"]))
                side = sides[period.pk].actual
                side[key] = add([side[key], row["total"]])


def _comparison(period: BillingPeriod, sides: _Sides) -> Comparison:
    lines = tuple(
        ComparedLine(*key, actual=sides.actual.get(key, ZERO), shadow=sides.shadow.get(key, ZERO))
        for key in sorted({*sides.actual, *sides.shadow})
    )
    return Comparison(
        period.contract,
        Period(period.starting_at, period.ending_before),
        lines,
        add(sides.actual.values()),
        add(sides.shadow.values()),
    )
