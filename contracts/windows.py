"""What the windows of balances post by themselves: their amount when they start, what becomes of the rest at their end.

Everything here happens under the lock of the customer's family, and once: each entry has its own source.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db.models import Q, Sum

from billing_project.decimals import plain
from billing_project.errors import RuleError
from catalog.money import ZERO, add, negate, subtract
from contracts.balances import (
    POSTPAID,
    Balance,
    BalanceId,
    balances_of,
    of_contract,
    of_customer,
    rolled_over,
    shared_balances,
)
from contracts.ledger import Owner, add_entry, entries_of
from contracts.models import Contract, Customer, LedgerEntry
from contracts.renewals import renewed_balances
from contracts.shared_terms import may_draw

Kind = LedgerEntry.Kind
Place = tuple[str, str]  # key, segment
NAMED_BY = ("balance", "segment", "source")
MOMENT = timedelta(microseconds=1)
NEVER_AGAIN = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Billed:
    """How far a contract is billed: all usage before `closed` is on an invoice, all before `issued` on one that is not
    open any more.
    """

    contract: Contract
    closed: datetime
    issued: datetime


class Windows:
    """The windows of one owner's balances that start before `until`, and what is posted of them. `billed` are the
    contracts that draw on them; sources of draws begin with `drawing`.
    """

    def __init__(self, owner: Owner, billed: Iterable[Billed], until: datetime, drawing: str) -> None:
        self.owner = owner
        self._drawing = drawing
        self._billed = list(billed)
        horizon = max([until, *(each.issued + MOMENT for each in self._billed if each.issued < NEVER_AGAIN)])
        self._balances = {each.id: each for each in self._found(horizon)}
        self._heirs = {each.rolls_from: (owner, each) for each in self._balances.values() if each.rolls_from}
        self._going_on()
        self._left: dict[Place, Decimal] = {}
        self._expired: dict[Place, Decimal] = {}
        self._known: set[tuple[Place, str]] = set()
        self._read()

    def post_starts(self, until: datetime) -> None:
        """Post the amount of every window that starts before `until`. What rolls over is posted when its window
        ends.
        """
        for each in self._balances.values():
            if each.starting_at is None or each.starting_at < until:
                self._start(each)

    def draw(self, balance: BalanceId, amount: Decimal, at: datetime, source: str) -> None:
        """Post a draw. Raises RuleError when the balance would fall below zero, or is not known yet because what rolls
        into it waits for open invoices.
        """
        _, key, segment = balance
        place = (key, segment)
        if (place, source) in self._known:
            return
        drawn_on = self._balances.get(balance)
        if drawn_on is not None and drawn_on.rolls_from is not None:
            self._roll_now(self._balances[drawn_on.rolls_from])
        left = self._left.get(place, ZERO)
        if left < amount:
            message = f"{key} has {plain(left)} left; {plain(negate(amount))} would take it below zero."
            raise RuleError(message, path="amount")
        self._add(place, Kind.DRAW, negate(amount), at, source)

    def post_ends(self) -> None:
        """Roll over or let expire what is left of every window in which all usage is billed and issued; a postpaid one
        is trued up.
        """
        ended = [each for each in self._balances.values() if self._is_over(each, waiting_for_usage=True)]
        # A window ends before what it leaves can end: in order of time one pass is enough.
        for each in sorted(ended, key=lambda one: one.ending_before or NEVER_AGAIN):
            self._end(each)

    def _found(self, horizon: datetime) -> list[Balance]:
        if isinstance(self.owner, Customer):
            return shared_balances(self.owner.shared_funds, of_customer(self.owner.key), horizon, None)
        contract = self.owner
        deal, owner = contract.parsed_deal, of_contract(contract.key)
        return balances_of(deal, contract.calendar, contract.currency, horizon, owner=owner)

    def _going_on(self) -> None:
        """The windows that another contract goes on with end with this one."""
        old = self.owner
        renewal = _renewal(old)
        if renewal is None or not isinstance(old, Contract):
            return
        pairs = renewed_balances(
            old.parsed_deal, old.calendar, old.currency, of_contract(old.key), of_contract(renewal.key)
        )
        for source, heir in pairs:
            self._balances[source.id] = source
            self._heirs[source.id] = renewal, heir

    def _read(self) -> None:
        sums = {"left": Sum("amount"), "expired": Sum("amount", filter=Q(kind=Kind.EXPIRATION))}
        rows = entries_of(self.owner).values_list("balance", "segment").annotate(**sums).order_by()
        for key, segment, left, expired in rows:
            self._left[key, segment] = left
            self._expired[key, segment] = negate(expired or ZERO)
        known = entries_of(self.owner).filter(Q(source__startswith="window:") | Q(source__startswith=self._drawing))
        self._known = {((key, segment), source) for key, segment, source in known.values_list(*NAMED_BY)}

    def _is_over(self, balance: Balance, *, waiting_for_usage: bool) -> bool:
        """Whether no contract can draw on it any more: none has an invoice open, nor usage that is on none."""
        end = balance.ending_before
        if end is None:
            return False
        drawing = [each for each in self._billed if self._draws(each.contract, balance)]
        return all(each.issued >= end and (each.closed >= end or not waiting_for_usage) for each in drawing)

    def _draws(self, contract: Contract, balance: Balance) -> bool:
        if isinstance(self.owner, Contract):
            return contract.pk == self.owner.pk
        if contract.shadow or (balance.ending_before and contract.starting_at >= balance.ending_before):
            return False
        terms = self.owner.shared_funds.terms
        return any(term.key == balance.key and may_draw(term, contract.key, contract.currency) for term in terms)

    def _start(self, balance: Balance) -> None:
        if balance.rolls_from is None and balance.amount is not None:
            self._post(balance, Kind.START, balance.amount, balance.starting_at or self._first(), "start")

    def _first(self) -> datetime:
        """When a window without a start starts: with the contract, or the first that draws on it."""
        if isinstance(self.owner, Contract):
            return self.owner.starting_at
        return min((each.contract.starting_at for each in self._billed), default=self.owner.created_at)

    def _end(self, balance: Balance) -> None:
        self._start(balance)
        self._roll(balance)
        kind = Kind.TRUE_UP if balance.kind == POSTPAID else Kind.EXPIRATION
        left = self._left.get(_place(balance), ZERO)
        # What a voided invoice returned ends once more.
        ends = sum(place == _place(balance) and source.startswith("window:end") for place, source in self._known)
        source = f"end-{ends}" if ends else "end"
        self._post(balance, kind, negate(left), balance.ending_before or NEVER_AGAIN, source)

    def _roll_now(self, source: Balance) -> None:
        """Roll over what is left of a window because the next invoice draws on it; usage that is on no invoice yet
        comes too late for it.
        """
        if (_place(source), "window:rollover") in self._known or self._is_over(source, waiting_for_usage=False):
            self._start(source)
            self._roll(source)
            return
        raise RuleError(
            f"What rolls over from {source.key} waits for open invoices of the time before: issue these first.",
            path="balance",
        )

    def _roll(self, balance: Balance) -> None:
        place = _place(balance)
        if balance.id not in self._heirs or balance.rollover is None or balance.amount is None:
            return
        heir_owner, heir = self._heirs[balance.id]
        end, left = balance.ending_before or NEVER_AGAIN, self._left.get(place, ZERO)
        # A renewal agreed after its contract was over: what expired by then comes back to roll over.
        expired = self._expired.get(place, ZERO) if (place, "window:end") in self._known else ZERO
        if (place, "window:rollover") in self._known:
            return
        moved = rolled_over(
            balance.rollover, balance.amount, add([left, expired]), self._currency(balance), balance.unit
        )
        self._post(balance, Kind.EXPIRATION, max(subtract(moved, left), ZERO), end, "revived")
        if self._post(balance, Kind.ROLLOVER, negate(moved), end, "rollover"):
            add_entry(heir_owner, heir.key, Kind.ROLLOVER, moved, end, "window:rolled-in", heir.segment)
            if heir_owner is self.owner:
                self._left[_place(heir)] = add([self._left.get(_place(heir), ZERO), moved])

    def _currency(self, balance: Balance) -> str:
        if isinstance(self.owner, Contract):
            return self.owner.currency
        return next(term.currency for term in self.owner.shared_funds.terms if term.key == balance.key)

    def _post(self, balance: Balance, kind: str, amount: Decimal, at: datetime, source: str) -> bool:
        """Post the entry a window has once in its life; a second run, or nothing to post, changes nothing."""
        if not amount or (_place(balance), f"window:{source}") in self._known:
            return False
        self._add(_place(balance), kind, amount, at, f"window:{source}")
        return True

    def _add(self, place: Place, kind: str, amount: Decimal, at: datetime, source: str) -> None:
        add_entry(self.owner, place[0], kind, amount, at, source, place[1])
        self._known.add((place, source))
        self._left[place] = add([self._left.get(place, ZERO), amount])


def _place(balance: Balance) -> Place:
    return balance.key, balance.segment


def _renewal(owner: Owner) -> Contract | None:
    if isinstance(owner, Contract) and owner.ending_before is not None:
        return Contract.objects.filter(renews=owner).first()
    return None
