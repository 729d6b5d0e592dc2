"""What contracts owe and have left at an instant: statements nobody wrote yet, and what every balance holds after them.

The statements are those the close would write now, from the same inputs. A number of queries that does not grow with
the number of contracts.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q

from catalog.money import ZERO, add
from contracts.balances import POSTPAID, Balance, BalanceId, left_at_start
from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod, Contract, Standing
from invoicing.draft_rows import Built
from invoicing.drafts import build, drawn_balance
from invoicing.inputs import Terms, drawn_too
from invoicing.models import OPEN, Invoice
from meters.periods import Period

MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Live:
    """A contract at an instant: the statements of periods that are not closed, in order of time, the `running` one
    (None outside the contract), and what is left of each balance open then.
    """

    contract: Contract
    unwritten: tuple[Built, ...]
    running: Built | None
    balances: tuple[tuple[Balance, Decimal], ...]

    def left(self, keys: Sequence[str] = ()) -> dict[str, Decimal]:
        """What is left of prepaid commits and credits (of those named; none: of all), by the unit it is in."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for balance, left in self.balances:
            if balance.kind != POSTPAID and (not keys or balance.key in keys):
                unit = balance.unit or self.contract.currency
                found[unit] = add([found[unit], left])
        return dict(found)


def live(contracts: Sequence[Contract], at: datetime) -> list[Live]:
    """The contracts as they stand at an instant, in the same order. Expects `customer` and `rate_card` selected along.

    Of a shadow contract, which is never closed, only the running period is looked at.
    """
    write_periods(at, Contract.objects.filter(pk__in=[each.pk for each in contracts]))
    built: dict[int, list[Built]] = defaultdict(list)
    for each in build(_unclosed(contracts, at)):
        built[each.contract.pk].append(each)
    balances = _balances([each for each in contracts if each.deal], built, at)
    found = []
    for contract in contracts:
        unwritten = tuple(built[contract.pk])
        running = next((each for each in unwritten if each.period and each.period.ending_before > at), None)
        found.append(Live(contract, unwritten, running, balances.get(contract.pk, ())))
    return found


def in_force(contracts: Iterable[Contract], at: datetime) -> list[Contract]:
    """Those that bill something at an instant."""
    return [
        each
        for each in contracts
        if each.status == Standing.ACTIVE
        and not each.shadow
        and each.starting_at <= at
        and (each.ending_before is None or at < each.ending_before)
    ]


def _unclosed(contracts: Sequence[Contract], at: datetime) -> list[BillingPeriod]:
    known = {each.pk: each for each in contracts}
    periods = BillingPeriod.objects.filter(contract__in=known, closed_at=None, starting_at__lte=at)
    periods = periods.filter(Q(contract__shadow=False) | Q(ending_before__gt=at)).order_by("contract", "starting_at")
    return [_with_contract(period, known[period.contract_id]) for period in periods]


def _with_contract(period: BillingPeriod, contract: Contract) -> BillingPeriod:
    period.contract = contract
    return period


def _balances(
    contracts: Sequence[Contract], built: dict[int, list[Built]], at: datetime
) -> dict[int, tuple[tuple[Balance, Decimal], ...]]:
    """What is left of the balances open at an instant, after what is posted, drafted and used by then."""
    if not contracts:
        return {}
    terms = Terms(contracts)
    drawn: dict[BalanceId, Decimal] = defaultdict(Decimal)
    drafts = Invoice.objects.filter(terms.balances.rivals(), status__in=OPEN).exclude(draws=[])
    for contract, draws in drafts.values_list("contract__key", "draws"):
        for draw in draws:
            balance = drawn_balance(draw, contract)
            drawn[balance] = add([drawn[balance], Decimal(draw["amount"])])
    for each in contracts:
        for one in built[each.pk]:
            for posted in one.statement.draws:
                drawn[posted.id] = add([drawn[posted.id], posted.amount])
    found = {}
    for each in contracts:
        balances = drawn_too(terms.inputs(each, Period(at, at + MOMENT)), drawn).balances
        left = left_at_start(balances, at, each.currency)
        found[each.pk] = tuple((one, left.get(one.id, ZERO)) for one in balances if one.open_at(at))
    return found
