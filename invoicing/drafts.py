"""Statements of billing periods and due fees as they are now, from the terms and the usage there is."""

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from billing_project.prepared import ask, ids
from catalog.money import add
from contracts.balances import BalanceId, of_contract
from contracts.billing_periods import period_at
from contracts.models import BillingPeriod, Contract
from contracts.scheduled import Due
from invoicing.added_lines import added_lines
from invoicing.draft_rows import Built
from invoicing.fees import DueFees, due_fees
from invoicing.inputs import Terms, gather
from invoicing.models import OPEN_AT, Invoice
from invoicing.statement import Statement, StatementInputs, build_scheduled, build_statement
from meters.periods import Period

USAGE_FIRST, THEN_FEES = 0, 1
Place = tuple[datetime, int, bool, str]
DRAWS = """
SELECT c.key, i.ending_before, i.scheduled_at, i.draws
FROM invoicing_invoice AS i JOIN contracts_contract AS c ON c.id = i.contract_id
WHERE ({whose}) AND i.draws <> '[]' AND i.id <> ALL(%(without)s::bigint[])
AND (i.period_id <> ALL(%(periods)s::bigint[]) OR i.period_id IS NULL)
AND {open_at}
"""
DRAWING = DRAWS.format(open_at=OPEN_AT, whose="i.contract_id = ANY(%(contracts)s::bigint[])")
DRAWING_TOO = DRAWS.format(
    open_at=OPEN_AT,
    whose="i.contract_id = ANY(%(contracts)s::bigint[]) OR i.customer_id = ANY(%(customers)s::bigint[])",
)


def statements(periods: Sequence[BillingPeriod]) -> list[Statement]:
    """The statements of billing periods as terms and usage stand now, in the same order."""
    built = {each.period.pk: each.statement for each in build(periods) if each.period}
    return [built[period.pk] for period in periods]


def build(
    periods: Sequence[BillingPeriod],
    fees: Sequence[DueFees] = (),
    leaving_out: Sequence[int] = (),
    terms: Terms | None = None,
    until: datetime | None = None,
    settle: Callable[[StatementInputs], Statement] = build_statement,
) -> list[Built]:
    """Build statements in order of time, then of the contract's key: the earlier ones draw from balances first.

    What open invoices draw counts as drawn for those that come after them, but for the invoices in `leaving_out`
    and the ones of the periods themselves. `terms` are those of all their contracts, where they were read before.
    `until`: only usage before an instant. `settle`: how the statement of a period is worked out.
    """
    terms = terms or Terms([*(period.contract for period in periods), *(each.contract for each in fees)])
    pending = _Pending(terms, [period.pk for period in periods], leaving_out)
    about = {period.contract_id for period in periods} | {each.contract.pk for each in fees}
    added = added_lines(about, terms.known_at)
    inputs = {
        period.pk: replace(found, added=added.get(period.pk, ()))
        for period, found in zip(
            periods, gather(periods, terms, [until] * len(periods) if until else None), strict=True
        )
    }
    work: list[tuple[Place, BillingPeriod | DueFees]] = [
        *((pending.place(period.contract.key, period.ending_before, None), period) for period in periods),
        *((pending.place(each.contract.key, each.at, each.at), each) for each in fees),
    ]
    built: list[Built] = []
    for place, item in sorted(work, key=lambda one: one[0]):
        contract = item.contract
        payer = terms.balances.payer(contract)
        if isinstance(item, BillingPeriod):
            found = pending.drawn_from(contract, inputs[item.pk], place)
            statement = settle(found)
            built.append(Built(contract, statement, period=item, payer=payer, balances=found.balances))
        else:
            bare = replace(terms.inputs(contract, item.due.period), added=added.get((contract.pk, item.at), ()))
            statement = build_scheduled(pending.drawn_from(contract, bare, place), item.due)
            built.append(Built(contract, statement, scheduled_at=item.at, payer=payer))
        pending.add(contract, statement)
    return built


class _Pending:
    """What statements that are not issued draw from balances, summed up in the order of their places.

    Many contracts may draw on one balance: those of the statements being built, and those with invoices still open.
    """

    def __init__(self, terms: Terms, periods: Sequence[int], leaving_out: Sequence[int]) -> None:
        self._last = terms.balances.billers()
        self._drawn: dict[BalanceId, Decimal] = defaultdict(Decimal)
        self._waiting: deque[tuple[Place, BalanceId, Decimal]] = deque()
        found: list[tuple[Place, BalanceId, Decimal]] = []
        for each in open_draws(terms, periods, leaving_out):
            place = self.place(each.contract, each.scheduled_at or each.ending_before, each.scheduled_at)
            found.append((place, each.balance, each.amount))
        self._waiting.extend(sorted(found))

    def place(self, contract: str, at: datetime, scheduled_at: datetime | None) -> Place:
        """Where a statement stands among all: time first. Who trues up for others comes after them."""
        return at, USAGE_FIRST if scheduled_at is None else THEN_FEES, contract in self._last, contract

    def drawn_from(self, contract: Contract, inputs: StatementInputs, place: Place) -> StatementInputs:
        """The inputs of the statement at a place, with what those before it draw."""
        while self._waiting and self._waiting[0][0] < place:
            _, balance, amount = self._waiting.popleft()
            self._drawn[balance] = add([self._drawn[balance], amount])
        more = [self._drawn.get(_seen_by(contract, each.id)) for each in inputs.balances]
        if not any(more):
            return inputs
        balances = [
            replace(each, drawn=add([each.drawn, drawn])) if drawn else each
            for each, drawn in zip(inputs.balances, more, strict=True)
        ]
        return replace(inputs, balances=tuple(balances))

    def add(self, contract: Contract, statement: Statement) -> None:
        for draw in statement.draws:
            balance = _seen_by(contract, draw.id)
            self._drawn[balance] = add([self._drawn[balance], draw.amount])


def _seen_by(contract: Contract, balance: BalanceId) -> BalanceId:
    """A shadow's draws on shared balances count for itself only."""
    owner, key, segment = balance
    return (f"{of_contract(contract.key)} {owner}", key, segment) if contract.shadow else balance


class OpenDraw(NamedTuple):
    """What an open invoice of a contract draws from a balance."""

    contract: str
    ending_before: datetime
    scheduled_at: datetime | None
    balance: BalanceId
    amount: Decimal


def open_draws(terms: Terms, periods: Iterable[int | None] = (), leaving_out: Iterable[int] = ()) -> Iterator[OpenDraw]:
    """What open invoices draw on the balances of contracts, but for those of the periods and those in `leaving_out`."""
    contracts, customers = terms.balances.drawing()
    given = {"contracts": contracts, "customers": customers, "without": ids(leaving_out), "periods": ids(periods)}
    rows = ask(DRAWING_TOO if customers else DRAWING, {**given, "known_at": terms.known_at})
    for contract, ending_before, scheduled_at, draws in rows:
        for draw in json.loads(draws):
            balance = drawn_balance(draw, contract)
            yield OpenDraw(contract, ending_before, scheduled_at, balance, Decimal(draw["amount"]))


def drawn_balance(draw: Mapping[str, str], contract: str) -> BalanceId:
    """The balance of a draw that is stored with an invoice; older ones do not say whose it is."""
    return draw.get("owner") or of_contract(contract), draw["balance"], draw["segment"]


def accrued(period: BillingPeriod, instants: Sequence[datetime]) -> list[StatementInputs]:
    """What the statement of a period depends on with its usage before each instant."""
    contract, terms = period.contract, Terms([period.contract])
    pending = _Pending(terms, [period.pk], ())
    place = pending.place(contract.key, period.ending_before, None)
    inputs = gather([period] * len(instants), terms, instants)
    return [pending.drawn_from(contract, each, place) for each in inputs]


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
