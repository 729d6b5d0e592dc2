"""Spend thresholds: an invoice is issued at once when a period's unbilled usage reaches an amount.

It is worked out whole, like the statement at the end of the period, and subtracts the threshold invoices before it. It
posts no draws: the balances are drawn by the statement at the end of the period.

`bill_now` looks at what has accrued by now, for many contracts at once, as usage comes in; with a payment gate an
unpaid invoice holds back the next. `bill_thresholds` looks back on usage of the past, event by event: nobody could pay
in between.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from msgspec.structs import replace

from billing_project.errors import RuleError
from catalog.money import ZERO, subtract
from contracts.billing_periods import write_periods
from contracts.changing import locked_contract
from contracts.deal import SpendThreshold
from contracts.models import BillingPeriod, Contract, Families
from contracts.thresholds import spend, spend_reached
from invoicing.draft_rows import Built, write_drafts
from invoicing.drafts import accrued, build
from invoicing.issuing_at_once import issue_at_once
from invoicing.models import FROZEN, OPEN, Invoice, Status
from invoicing.payment_gates import held_back
from invoicing.rebuilding import rebuild
from invoicing.statement import Statement, StatementInputs, build_threshold
from meters.event_times import event_times
from meters.models import Meter
from meters.periods import Period

PROBES = 64  # statements built at once: a period with more events is searched in steps of that many
MOMENT = timedelta(microseconds=1)
# What may be wrong with one contract and is no reason to leave the others alone.
REFUSALS = (RuleError, ArithmeticError, LookupError, ValueError)
HAVING_ONE = Q(deal__has_key="spend_threshold", shadow=False)


@dataclass(slots=True)
class Billed:
    """What a look at contracts led to: how many invoices, and what went wrong, by contract."""

    done: int = 0
    failed: dict[int, str] = field(default_factory=dict)


def bill_now(contracts: Collection[Contract], as_of: datetime) -> Billed:
    """Issue the threshold invoices that what has accrued by `as_of` asks for: one for each period, over all of it. Safe
    to repeat and to run twice at once. Expects `customer` and `rate_card` selected along.

    A number of queries that grows only with the invoices issued.
    """
    reaction = Billed()
    waiting = held_back(contracts)
    having = {
        each.pk: each
        for each in contracts
        if not each.shadow and "spend_threshold" in each.deal and each.pk not in waiting
    }
    if not having:
        return reaction
    write_periods(as_of, Contract.objects.filter(pk__in=having))
    for crossed in _crossed(having, as_of, reaction):
        try:
            reaction.done += _bill_contract_now(crossed, as_of)
        except REFUSALS as error:
            reaction.failed[crossed] = str(error)
    return reaction


def _crossed(contracts: Mapping[int, Contract], as_of: datetime, reaction: Billed) -> list[int]:
    """Those that have reached their threshold in some period, without a lock: they are looked at again under it."""
    try:
        return _reached(contracts, as_of)
    except REFUSALS:
        found = []
        for pk, contract in contracts.items():
            try:
                found += _reached({pk: contract}, as_of)
            except REFUSALS as error:
                reaction.failed[pk] = str(error)
        return found


def _reached(contracts: Mapping[int, Contract], as_of: datetime) -> list[int]:
    periods = list(_unbilled_periods(contracts, as_of))
    for period in periods:
        period.contract = contracts[period.contract_id]
    thresholds = {pk: each.parsed_deal.spend_threshold for pk, each in contracts.items()}
    before = billed_before(periods)
    found = {
        each.contract.pk: True
        for each in build(periods, until=as_of + MOMENT, settle=build_threshold)
        if each.period
        and spend_reached(
            thresholds[each.contract.pk], spend(each.statement.lines), before.get(each.period.pk, (ZERO, None))[0]
        )
    }
    return list(found)


def _bill_contract_now(contract: int, as_of: datetime) -> int:
    with transaction.atomic():
        row = locked_contract(contract)
        threshold = row.parsed_deal.spend_threshold
        if threshold is None or held_back([row]):
            return 0
        issued = 0
        for period in _with_terms(_unbilled_periods([row.pk], as_of)):
            billed, _ = _billed(period)
            reached = _first_reached(accrued(period, [as_of + MOMENT]), threshold, billed)
            if reached is not None:
                _issue(period, as_of, reached[1])
                rebuild(_drafts(period))
                issued += 1
                if threshold.gate == "payment":
                    break
        return issued


def bill_thresholds(as_of: datetime, contract: str | None = None) -> int:
    """Issue every threshold invoice that usage up to `as_of` asks for; returns how many. Safe to repeat and to run
    twice at once.
    """
    contracts = Contract.objects.filter(deal__has_key="spend_threshold", shadow=False)
    if contract:
        contracts = contracts.filter(key=contract)
    wanted = list(contracts.order_by("pk").values_list("pk", flat=True))
    if wanted:
        write_periods(as_of, contracts)
    issued = 0
    for each in wanted:
        issued += _bill_contract(each, as_of)
    return issued


def _bill_contract(contract: int, as_of: datetime) -> int:
    with transaction.atomic():
        # The close takes the same lock: a period is not closed while it is billed in part.
        row = locked_contract(contract)
        threshold = row.parsed_deal.spend_threshold
        if threshold is None:
            return 0
        periods = _with_terms(_unbilled_periods([row.pk], as_of))
        return sum(_bill_period(period, threshold, as_of) for period in periods)


def _unbilled_periods(contracts: Iterable[int], as_of: datetime) -> QuerySet[BillingPeriod]:
    """Periods that have started and whose own invoice is not issued yet."""
    final = Invoice.objects.filter(period=OuterRef("pk"), kind=Invoice.Kind.USAGE, status__in=FROZEN)
    periods = BillingPeriod.objects.filter(~Exists(final), contract__in=list(contracts), starting_at__lte=as_of)
    return periods.order_by("starting_at")


def _with_terms(periods: QuerySet[BillingPeriod]) -> QuerySet[BillingPeriod]:
    return periods.select_related("contract__customer", "contract__rate_card")


def _bill_period(period: BillingPeriod, threshold: SpendThreshold, as_of: datetime) -> int:
    billed, after = _billed(period)
    instants = _instants(period, after, as_of)
    issued = 0
    while (crossing := _first_crossing(period, instants, threshold, billed)) is not None:
        place, statement = crossing
        _issue(period, instants[place], statement)
        billed = spend(statement.lines)
        instants = instants[place + 1 :]
        issued += 1
    if issued:
        rebuild(_drafts(period))
    return issued


def _billed(period: BillingPeriod) -> tuple[Decimal, datetime | None]:
    """The spend that the threshold invoices of a period have billed together, and when the last one was due."""
    return billed_before([period]).get(period.pk, (ZERO, None))


def billed_before(periods: Collection[BillingPeriod]) -> dict[int, tuple[Decimal, datetime | None]]:
    """The same of many periods, by period: the last threshold invoice shows all that was used until then."""
    rows = Invoice.objects.filter(period__in=periods, kind=Invoice.Kind.THRESHOLD).exclude(status=Status.VOID)
    last = rows.order_by("period_id", "-scheduled_at", "-pk").distinct("period_id")
    return {
        row.period_id or 0: (
            subtract(subtract(row.subtotal.amount, row.discount), row.credits_applied),
            row.scheduled_at,
        )
        for row in last
    }


def _instants(period: BillingPeriod, after: datetime | None, as_of: datetime) -> list[datetime]:
    keys = list(period.contract.customer.keys.values_list("key", flat=True))
    types = {name for names in Meter.objects.values_list("event_types", flat=True) for name in names}
    found = event_times(keys, types, Period(period.starting_at, period.ending_before))
    return [instant for instant in found if instant <= as_of and (after is None or instant > after)]


def _first_crossing(
    period: BillingPeriod, instants: Sequence[datetime], threshold: SpendThreshold, billed: Decimal
) -> tuple[int, Statement] | None:
    """The place of the first instant at which unbilled spend has reached the threshold, and the statement then."""
    start, stop = 0, len(instants)
    while start < stop:
        step = -(-(stop - start) // PROBES)
        probes = [*range(start + step - 1, stop - 1, step), stop - 1]
        reached = _first_reached(accrued(period, [instants[each] + MOMENT for each in probes]), threshold, billed)
        if reached is None:
            return None
        number, statement = reached
        if step == 1:
            return probes[number], statement
        start, stop = (probes[number - 1] + 1 if number else start), probes[number] + 1
    return None


def _first_reached(
    candidates: Sequence[StatementInputs], threshold: SpendThreshold, billed: Decimal
) -> tuple[int, Statement] | None:
    for number, inputs in enumerate(candidates):
        statement = build_threshold(inputs)
        if spend_reached(threshold, spend(statement.lines), billed):
            return number, statement
    return None


def _issue(period: BillingPeriod, at: datetime, statement: Statement) -> None:
    contract, customer = period.contract, period.contract.customer
    payer = Families([customer]).payer(customer.pk)
    addressed = None if payer.pk == customer.pk else payer
    write_drafts([Built(contract, replace(statement, draws=()), period=period, scheduled_at=at, payer=addressed)])
    drafts = Invoice.objects.filter(period=period, kind=Invoice.Kind.THRESHOLD, scheduled_at=at, number=None)
    issue_at_once(drafts.get(), at)


def _drafts(period: BillingPeriod) -> list[Invoice]:
    """The open usage invoice of a period, which must now subtract more."""
    rows = Invoice.objects.filter(period=period, kind=Invoice.Kind.USAGE, status__in=OPEN)
    return list(
        rows.select_related("period__contract__customer", "period__contract__rate_card")
        .select_related("contract__customer", "contract__rate_card")
        .select_for_update(of=("self",))
    )
