"""What contracts owe and have left at an instant: statements nobody wrote yet, and what every balance holds after them.

The statements are those the close would write now, from the same inputs. A number of queries that does not grow with
the number of contracts.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache

from billing_project.prepared import ask, columns, ids, instance
from catalog.money import ZERO, add
from contracts.balances import POSTPAID, Balance, BalanceId, left_at_start
from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod, Contract, Standing
from invoicing.draft_rows import Built
from invoicing.drafts import build, open_draws
from invoicing.inputs import Terms, drawn_too
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


def live(contracts: Sequence[Contract], at: datetime, usage_before: datetime | None = None) -> list[Live]:
    """The contracts as they stand at an instant, in the same order. Expects `customer` and `rate_card` selected along.

    Of a shadow contract, which is never closed, only the running period is looked at. `usage_before`: as if only the
    usage before an instant were there.
    """
    periods = _unclosed(contracts, at)
    terms = Terms(contracts)
    built: dict[int, list[Built]] = defaultdict(list)
    for each in build(periods, terms=terms, until=usage_before):
        built[each.contract.pk].append(each)
    balances = _balances(terms, contracts, built, at)
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
    """The periods that have begun and are not closed, written if they were not yet, in order of contract and time."""
    known = {each.pk: each for each in contracts}
    found = _read_unclosed(known, at)
    running = {each.contract_id for each in found if each.ending_before > at}
    behind = known.keys() - running
    if behind and write_periods(at, Contract.objects.filter(pk__in=behind)):
        found = _read_unclosed(known, at)
    return found


def _read_unclosed(known: Mapping[int, Contract], at: datetime) -> list[BillingPeriod]:
    found = []
    for row in ask(_statement(), [ids(known), at, at]):
        period = instance(BillingPeriod, row)
        period.contract = known[period.contract_id]
        found.append(period)
    return found


@cache
def _statement() -> str:
    return f"""
        SELECT {columns(BillingPeriod, "p")}
        FROM contracts_billingperiod AS p JOIN contracts_contract AS c ON c.id = p.contract_id
        WHERE p.contract_id = ANY(%s::bigint[]) AND p.closed_at IS NULL AND p.starting_at <= %s
            AND (NOT c.shadow OR p.ending_before > %s)
        ORDER BY p.contract_id, p.starting_at
    """  # noqa: S608


def _balances(
    terms: Terms, contracts: Sequence[Contract], built: dict[int, list[Built]], at: datetime
) -> dict[int, tuple[tuple[Balance, Decimal], ...]]:
    """What is left of the balances open at an instant, after what is posted, drafted and used by then."""
    drawn: dict[BalanceId, Decimal] = defaultdict(Decimal)
    for draw in open_draws(terms):
        drawn[draw.balance] = add([drawn[draw.balance], draw.amount])
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
