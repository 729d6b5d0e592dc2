"""Balances of commits and credits: one for each window in which an amount may be used. Pure.

A commit has one balance per entry of its access schedule, a recurring commit or credit one per period, and what rolls
over has one of its own in the window after. What is left of a balance is its amount less what was drawn.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from catalog.money import ONE, ZERO, add, divide, multiply, round_amount, subtract
from contracts.deal import EVERYTHING, Access, Commit, Credit, Deal, RecurringCommit, RecurringCredit, Rollover, Scope
from contracts.proration import Calendar, Span, spans
from contracts.shared_terms import SharedCommit, SharedFunds, may_draw
from contracts.subscriptions import quantity_at
from contracts.terms import Payer

PREPAID, POSTPAID, CREDIT = "prepaid_commit", "postpaid_commit", "credit"
BalanceId = tuple[str, str, str]  # owner, key, segment


@dataclass(frozen=True, slots=True)
class Posted:
    """What the ledger says of balances: what was drawn, what expired, and what rolled into those that follow one."""

    drawn: dict[BalanceId, Decimal] = field(default_factory=dict)
    expired: dict[BalanceId, Decimal] = field(default_factory=dict)
    rolled_in: dict[BalanceId, Decimal] = field(default_factory=dict)


NOTHING_POSTED = Posted()


def of_contract(key: str) -> str:
    """The owner of a contract's own balances."""
    return f"contract:{key}"


def of_customer(key: str) -> str:
    """The owner of balances that contracts share."""
    return f"customer:{key}"


class Balance(Struct, frozen=True, gc=False):
    """An amount that may be used in a window `[starting_at, ending_before)`; None stands for no bound.

    `owner` is the contract or customer it belongs to, `key` the commit's or credit's, `segment` tells its windows
    apart. `amount` is the original amount; for what rolls over from the balance `rolls_from` it is None until that
    window has ended. `drawn` was drawn before this statement. `cost_basis` is what a unit of it cost the customer,
    `committed` what a postpaid commit is trued up to. `contracts` is how many may draw on it (None: all there are),
    `billed_by` the one that bills a shared one.
    """

    key: str
    segment: str
    kind: str
    name: str
    amount: Decimal | None
    starting_at: datetime | None
    ending_before: datetime | None
    drawn: Decimal = ZERO
    priority: int = 100
    scope: Scope = EVERYTHING
    unit: str = ""
    cost_basis: Decimal = ZERO
    rate: str = "list"
    overage_multiplier: Decimal | None = None
    committed: Decimal = ZERO
    rollover: Rollover | None = None
    rolls_from: BalanceId | None = None
    owner: str = ""
    contracts: int | None = 1
    shared: bool = False
    billed_by: str = ""

    @property
    def id(self) -> BalanceId:
        return self.owner, self.key, self.segment

    @property
    def payer(self) -> Payer:
        return Payer(self.key, self.rate)

    def open_at(self, instant: datetime) -> bool:
        return (self.starting_at is None or self.starting_at <= instant) and (
            self.ending_before is None or instant < self.ending_before
        )


def balances_of(
    deal: Deal, calendar: Calendar, currency: str, until: datetime, posted: Posted = NOTHING_POSTED, owner: str = ""
) -> list[Balance]:
    """Every balance of a deal whose window starts before `until`, with what was drawn from it already."""
    found: list[Balance] = []
    for commit in deal.commits:
        found += _of_commit(commit)
    for credit in deal.credits:
        found += _of_schedule(credit, CREDIT)
    for recurring in (*deal.recurring_credits, *deal.recurring_commits):
        found += _of_recurring(recurring, deal, calendar, currency, until)
    # Nothing rolls over past the end of the contract but into the one that renews it.
    end = calendar.ending_before
    kept = [each for each in found if each.rolls_from is None or end is None or starts_before(each, end)]
    return settled([owned(each, owner) for each in kept if starts_before(each, until)], posted)


def shared_balances(funds: SharedFunds, owner: str, until: datetime, contract: tuple[str, str] | None) -> list[Balance]:
    """Every balance of a customer's funds whose window starts before `until`: of all of them, or of those that a
    contract (its key and currency) may draw on. What was drawn is not known yet.
    """
    found: list[Balance] = []
    for term in funds.terms:
        if contract is not None and not may_draw(term, *contract):
            continue
        windows = _of_commit(term) if isinstance(term, SharedCommit) else _of_schedule(term, CREDIT)
        biller = term.billed_by or "" if isinstance(term, SharedCommit) else ""
        count = len(term.contracts) or None
        found += [replace(each, contracts=count, shared=True, billed_by=biller) for each in windows]
    return [owned(each, owner) for each in found if starts_before(each, until)]


def owned(balance: Balance, owner: str) -> Balance:
    source = balance.rolls_from
    return replace(balance, owner=owner, rolls_from=None if source is None else (owner, *source[1:]))


def starts_before(balance: Balance, until: datetime) -> bool:
    return balance.starting_at is None or balance.starting_at < until


def settled(balances: Iterable[Balance], posted: Posted) -> list[Balance]:
    """Balances with what the ledger says of them. What has rolled over is an amount like any other; a window that
    expired has nothing left, whatever is found out later.
    """
    return [
        replace(
            each,
            amount=posted.rolled_in.get(each.id, each.amount),
            drawn=add([posted.drawn.get(each.id, ZERO), posted.expired.get(each.id, ZERO)]),
        )
        for each in balances
    ]


def rolled_over(rollover: Rollover, original: Decimal, remaining: Decimal, currency: str, unit: str = "") -> Decimal:
    """What moves into the next window: at most a fraction of the original amount, or a fraction of what remains."""
    if rollover.of == "remaining":
        moved = multiply(remaining, rollover.fraction)
    else:
        moved = min(remaining, multiply(original, rollover.fraction))
    return moved if unit else round_amount(moved, currency)


def _of_commit(commit: Commit) -> Iterator[Balance]:
    accessible = add(access.amount for access in commit.access)
    billed = add(bill.amount for bill in commit.invoices)
    basis = ONE if commit.kind == "postpaid" else divide(billed, accessible) if accessible else ZERO
    kind = PREPAID if commit.kind == "prepaid" else POSTPAID
    for balance in _of_schedule(commit, kind):
        committed = ZERO
        if kind == POSTPAID:
            committed = billed if commit.invoices else balance.amount or ZERO
        yield replace(
            balance,
            cost_basis=basis,
            rate=commit.rate,
            overage_multiplier=commit.overage_multiplier,
            committed=committed,
        )


def _of_schedule(funds: Commit | Credit, kind: str) -> Iterator[Balance]:
    windows = sorted(enumerate(funds.access), key=lambda placed: _starts(placed[1]))
    for place, (number, access) in enumerate(windows):
        base = _balance(funds, kind, str(number), access.amount, access.starting_at, access.ending_before)
        yield base
        if place + 1 < len(windows):
            yield from _rollover_of(base, windows[place + 1][1].ending_before)


def _starts(access: Access) -> tuple[bool, datetime | None]:
    return access.starting_at is not None, access.starting_at


def _balance(
    funds: Commit | Credit | RecurringCredit,
    kind: str,
    segment: str,
    amount: Decimal,
    starting_at: datetime | None,
    ending_before: datetime | None,
) -> Balance:
    return Balance(
        key=funds.key,
        segment=segment,
        kind=kind,
        name=funds.name or funds.key,
        amount=amount,
        starting_at=starting_at,
        ending_before=ending_before,
        priority=funds.priority,
        scope=funds.scope,
        unit=funds.unit,
        rollover=funds.rollover,
    )


def _rollover_of(balance: Balance, ending_before: datetime | None) -> Iterator[Balance]:
    """What is left when a window ends, in the next window; it does not roll over again."""
    if balance.rollover is not None and balance.ending_before is not None:
        yield replace(
            balance,
            segment=f"{balance.segment}-rolled",
            name=f"{balance.name} (rolled over)",
            amount=None,
            starting_at=balance.ending_before,
            ending_before=ending_before,
            rolls_from=balance.id,
        )


def _of_recurring(
    recurring: RecurringCredit, deal: Deal, calendar: Calendar, currency: str, until: datetime
) -> Iterator[Balance]:
    # One period more than asked for tells where the last ones end.
    children = spans(recurring.every, calendar, recurring.starting_at, recurring.ending_before, until)
    for child in children:
        amount = child_amount(recurring, recurring.amount, child, deal, currency)
        if not amount:
            continue
        ends = child_end(recurring, calendar, child)
        base = _balance(recurring, CREDIT, str(child.number), amount, child.held.starting_at, ends)
        if isinstance(recurring, RecurringCommit):
            billed = recurring.amount if recurring.invoice_amount is None else recurring.invoice_amount
            basis = divide(billed, recurring.amount) if recurring.amount else ZERO
            base = replace(
                base,
                kind=PREPAID,
                cost_basis=basis,
                rate=recurring.rate,
                overage_multiplier=recurring.overage_multiplier,
            )
        yield base
        yield from _rollover_of(base, _after(recurring, calendar, ends))


def child_amount(recurring: RecurringCredit, amount: Decimal, child: Span, deal: Deal, currency: str) -> Decimal:
    """The amount of one period: per seat held when it starts, prorated where the period is short."""
    if recurring.per_seat_of is not None:
        subscription = next(each for each in deal.subscriptions if each.key == recurring.per_seat_of)
        amount = multiply(amount, quantity_at(subscription, child.held.starting_at))
    short_start = child.held.starting_at > child.whole.starting_at
    short_end = child.held.ending_before < child.whole.ending_before
    prorated = (short_start and recurring.proration in ("first", "first_and_last")) or (
        short_end and recurring.proration in ("last", "first_and_last")
    )
    amount = multiply(amount, child.share) if prorated else amount
    return amount if recurring.unit else round_amount(amount, currency)


def child_end(recurring: RecurringCredit, calendar: Calendar, child: Span) -> datetime:
    """Where the window of a period ends: after `periods` periods, counting its own."""
    if recurring.periods == 1:
        return child.held.ending_before
    return _edges(recurring, calendar, child.whole.ending_before, recurring.periods - 1)


def _after(recurring: RecurringCredit, calendar: Calendar, ends: datetime) -> datetime:
    """What rolls over can be used for as long again as the balance it comes from."""
    return _edges(recurring, calendar, ends, recurring.periods)


def _edges(recurring: RecurringCredit, calendar: Calendar, start: datetime, count: int) -> datetime:
    """The end of the `count`th period from an instant on, whether or not the term still holds then."""
    open_end = dataclasses.replace(calendar, ending_before=None)
    edge = start
    for _ in range(count):
        edge = spans(recurring.every, open_end, edge, None, edge)[-1].held.ending_before
    return edge


def left_at_start(balances: Sequence[Balance], until: datetime, currency: str) -> dict[BalanceId, Decimal]:
    """What is left of each balance before a statement that starts at `until`; what rolled over by then has moved."""
    left: dict[BalanceId, Decimal] = {}
    for balance in balances:
        if balance.amount is not None:
            left[balance.id] = max(subtract(balance.amount, balance.drawn), ZERO)
    for balance in balances:
        if balance.amount is None and balance.starting_at is not None and balance.starting_at <= until:
            roll(balance, balances, left, currency)
            left[balance.id] = max(subtract(left[balance.id], balance.drawn), ZERO)
    return left


def roll(balance: Balance, balances: Iterable[Balance], left: dict[BalanceId, Decimal], currency: str) -> Decimal:
    """Move what rolls over into its balance; the rest of the ended window expires."""
    source = next(each for each in balances if each.id == balance.rolls_from)
    moved = ZERO
    if balance.rollover is not None:
        moved = rolled_over(balance.rollover, source.amount or ZERO, left[source.id], currency, balance.unit)
    left[source.id] = subtract(left[source.id], moved)
    left[balance.id] = moved
    return moved
