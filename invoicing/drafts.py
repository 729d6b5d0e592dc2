"""Statements of billing periods and due fees as they are now, from the terms and the usage there is."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from catalog.money import ZERO, add
from contracts.balances import Drawn
from contracts.billing_periods import period_at
from contracts.models import BillingPeriod, Contract
from contracts.scheduled import Due
from invoicing.added_lines import added_lines
from invoicing.draft_rows import Built
from invoicing.fees import DueFees, due_fees
from invoicing.inputs import Terms, gather
from invoicing.models import OPEN, Invoice
from invoicing.statement import Statement, StatementInputs, build_scheduled, build_statement
from meters.periods import Period

USAGE_FIRST, THEN_FEES = 0, 1
Place = tuple[datetime, int]


def statements(periods: Sequence[BillingPeriod]) -> list[Statement]:
    """The statements of billing periods as terms and usage stand now, in the same order."""
    built = {each.period.pk: each.statement for each in build(periods) if each.period}
    return [built[period.pk] for period in periods]


def build(
    periods: Sequence[BillingPeriod],
    fees: Sequence[DueFees] = (),
    leaving_out: Sequence[int] = (),
    terms: Terms | None = None,
) -> list[Built]:
    """Build statements in order of time within each contract: the earlier ones draw from its balances first.

    What open invoices draw counts as drawn for those that come after them, but for the invoices in `leaving_out`
    and the ones of the periods themselves. `terms` are those of all their contracts, where they were read before.
    """
    terms = terms or Terms([*(period.contract for period in periods), *(each.contract for each in fees)])
    pending = _Pending(periods, fees, leaving_out)
    added = added_lines({period.contract_id for period in periods} | {each.contract.pk for each in fees})
    inputs = {
        period.pk: replace(found, added=added.get(period.pk, ()))
        for period, found in zip(periods, gather(periods, terms), strict=True)
    }
    work: list[tuple[int, Place, BillingPeriod | DueFees]] = [
        *((period.contract_id, (period.ending_before, USAGE_FIRST), period) for period in periods),
        *((each.contract.pk, (each.at, THEN_FEES), each) for each in fees),
    ]
    built: list[Built] = []
    for contract, place, item in sorted(work, key=lambda one: one[:2]):
        drawn = pending.before(contract, place)
        if isinstance(item, BillingPeriod):
            statement = build_statement(_drawn_too(inputs[item.pk], drawn))
            built.append(Built(item.contract, statement, period=item))
        else:
            fee_inputs = terms.inputs(item.contract, item.due.period, drawn)
            fee_inputs = replace(fee_inputs, added=added.get((contract, item.at), ()))
            statement = build_scheduled(fee_inputs, item.due)
            built.append(Built(item.contract, statement, scheduled_at=item.at))
        pending.add(contract, place, statement)
    return built


class _Pending:
    """What statements that are not issued draw from balances, by contract and place in time."""

    def __init__(self, periods: Sequence[BillingPeriod], fees: Sequence[DueFees], leaving_out: Sequence[int]) -> None:
        self._draws: dict[int, list[tuple[Place, tuple[str, str], Decimal]]] = defaultdict(list)
        contracts = {period.contract_id for period in periods} | {each.contract.pk for each in fees}
        rows = Invoice.objects.filter(contract__in=contracts, status__in=OPEN).exclude(draws=[])
        rows = rows.exclude(pk__in=leaving_out).exclude(period__in=[period.pk for period in periods])
        for row in rows.values("contract", "ending_before", "scheduled_at", "draws"):
            at = row["scheduled_at"]
            place = (at, THEN_FEES) if at else (row["ending_before"], USAGE_FIRST)
            for draw in row["draws"]:
                self._draws[row["contract"]].append(
                    (place, (draw["balance"], draw["segment"]), Decimal(draw["amount"]))
                )

    def before(self, contract: int, place: Place) -> Drawn:
        drawn: dict[tuple[str, str], Decimal] = {}
        for at, balance, amount in self._draws[contract]:
            if at < place:
                drawn[balance] = add([drawn.get(balance, ZERO), amount])
        return drawn

    def add(self, contract: int, place: Place, statement: Statement) -> None:
        for draw in statement.draws:
            self._draws[contract].append((place, (draw.balance, draw.segment), draw.amount))


def _drawn_too(inputs: StatementInputs, drawn: Drawn) -> StatementInputs:
    if not drawn:
        return inputs
    balances = [replace(each, drawn=add([each.drawn, drawn.get(each.id, ZERO)])) for each in inputs.balances]
    return replace(inputs, balances=tuple(balances))


def accrued(period: BillingPeriod, instants: Sequence[datetime]) -> list[StatementInputs]:
    """What the statement of a period depends on with its usage before each instant."""
    place = (period.ending_before, USAGE_FIRST)
    drawn = _Pending([period], (), ()).before(period.contract_id, place)
    inputs = gather([period] * len(instants), Terms([period.contract]), instants)
    return [_drawn_too(each, drawn) for each in inputs]


def live_statement(contract: Contract, at: datetime) -> Statement | None:
    """The statement of the billing period that holds an instant, with all usage so far; None outside the contract."""
    period = period_at(contract, at)
    return statements([period])[0] if period else None


def with_terms(period: int) -> BillingPeriod:
    """A billing period with contract, customer and rate card read along."""
    return BillingPeriod.objects.select_related("contract__customer", "contract__rate_card").get(pk=period)


def current(invoices: Sequence[Invoice]) -> Mapping[int, Statement]:
    """What open invoices say as terms and usage stand now, by invoice. Expects the contract's terms selected along.

    They are built together: of those that draw from the same balances the earlier one does so first.
    """
    usage = {invoice.period_id: invoice for invoice in invoices if invoice.period}
    places = Counter((invoice.contract_id, invoice.scheduled_at) for invoice in invoices)
    scheduled = {
        (invoice.contract_id, invoice.scheduled_at): invoice
        for invoice in invoices
        if invoice.scheduled_at and places[invoice.contract_id, invoice.scheduled_at] == 1
    }
    found: dict[int, Statement] = {}
    together = [invoice.pk for invoice in (*usage.values(), *scheduled.values())]
    fees = _fees_of(scheduled.values())
    for each in build([row.period for row in usage.values() if row.period], fees, together):
        if each.period:
            found[usage[each.period.pk].pk] = each.statement
        elif each.scheduled_at:
            found[scheduled[each.contract.pk, each.scheduled_at].pk] = each.statement
    for invoice in invoices:
        if invoice.pk not in found:
            found[invoice.pk] = _scheduled_now(invoice)
    return found


def _fees_of(scheduled: Collection[Invoice]) -> list[DueFees]:
    """The fees scheduled invoices are for, as they are now."""
    if not scheduled:
        return []
    contracts = list({invoice.contract_id: invoice.contract for invoice in scheduled}.values())
    wanted = {(invoice.contract_id, invoice.scheduled_at) for invoice in scheduled}
    latest = max(invoice.scheduled_at or invoice.starting_at for invoice in scheduled)
    due = due_fees(Terms(contracts), contracts, latest, [invoice.pk for invoice in scheduled])
    return [each for each in due if (each.contract.pk, each.at) in wanted]


def _scheduled_now(invoice: Invoice) -> Statement:
    """One of several invoices for fees due at the same instant, or one whose fees are no longer due."""
    contract, at = invoice.contract, invoice.scheduled_at or invoice.starting_at
    due = [each for each in due_fees(Terms([contract]), [contract], at, [invoice.pk]) if each.at == at]
    for each in build([], due, leaving_out=[invoice.pk]):
        return each.statement
    empty = Terms([contract]).inputs(contract, Period(invoice.starting_at, invoice.ending_before))
    return build_scheduled(replace(empty, balances=()), Due())
