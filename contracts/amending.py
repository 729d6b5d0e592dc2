"""What an amendment makes of a deal: terms are added, ended and changed from an instant on. Pure.

Nothing before that instant changes: what was agreed stays in the deal and ends there, so that closed periods are still
worked out from it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from catalog.documents import Document, DocumentError, read
from contracts.deal import (
    NOTHING_AGREED,
    Access,
    BalanceThreshold,
    Charge,
    Commit,
    Credit,
    Deal,
    Instant,
    Key,
    Override,
    QuantityChange,
    SpendThreshold,
    Subscription,
)
from contracts.deal_format import Catalog, DealError, Fault, faults_of, with_instants

F = TypeVar("F", Commit, Credit)
BY_KEY = ("commits", "credits", "recurring_credits", "recurring_commits", "subscriptions", "charges")
BY_INDEX = ("overrides", "discounts", "minimums")
# Settings of the whole contract, not terms that are added.
NOT_ADDED = ("usage_filter", "spend_threshold", "balance_threshold")


class Ended(Document, frozen=True, kw_only=True):
    """Terms that end when the amendment takes effect: by key, or by place in the contract from 0."""

    commits: tuple[Key, ...] = ()
    credits: tuple[Key, ...] = ()
    recurring_credits: tuple[Key, ...] = ()
    recurring_commits: tuple[Key, ...] = ()
    subscriptions: tuple[Key, ...] = ()
    charges: tuple[Key, ...] = ()
    entitlements: tuple[Key, ...] = ()
    overrides: tuple[int, ...] = ()
    discounts: tuple[int, ...] = ()
    minimums: tuple[int, ...] = ()


class Quantity(Document, frozen=True, kw_only=True):
    """The quantity of a subscription from an instant on (none: when the amendment takes effect), and who has its seats
    (none: as before).
    """

    subscription: Key
    quantity: Decimal
    at: Instant | None = None
    seats: tuple[str, ...] | None = None

    def check(self) -> None:
        if self.seats is not None and len(self.seats) > self.quantity:
            raise ValueError(f"seats: {len(self.seats)} seats are named, the quantity is {self.quantity}")


class Changes(Document, frozen=True, kw_only=True):
    """An amendment. What is added starts when it takes effect unless it says later; a threshold of null is taken
    away.
    """

    add: Deal = NOTHING_AGREED
    end: Ended = Ended()
    quantities: tuple[Quantity, ...] = ()
    net_days: Annotated[int, Meta(ge=0, le=3650)] | None = None
    spend_threshold: SpendThreshold | UnsetType | None = UNSET
    balance_threshold: BalanceThreshold | UnsetType | None = UNSET


NO_CHANGES = Changes()


def parse_changes(written: object, zone: ZoneInfo) -> Changes:
    """Read the changes of an amendment. Raises DealError."""
    try:
        changes: Changes = read(Changes, with_instants(written, zone))
    except DocumentError as error:
        raise DealError([Fault(error.path, error.code, error.message)]) from error
    faults = [
        Fault(f"add.{name}", "unknown_field", "is not added; give it beside add")
        for name in NOT_ADDED
        if getattr(changes.add, name) != getattr(NOTHING_AGREED, name)
    ]
    if faults:
        raise DealError(faults)
    return changes


def amended(deal: Deal, changes: Changes, at: datetime, catalog: Catalog | None = None) -> Deal:
    """The deal with changes that take effect at an instant. Raises DealError with paths of the changes."""
    faults: list[Fault] = []
    kept = _Ending(deal, at, faults).without(changes.end)
    kept = _with_quantities(kept, changes.quantities, at, faults)
    result = replace(kept, **{name: (*getattr(kept, name), *new) for name, new in _added(changes.add, at, faults)})
    for name in ("spend_threshold", "balance_threshold"):
        value = getattr(changes, name)
        if value is not UNSET:
            result = replace(result, **{name: value})
    faults = faults or [_placed(fault, kept) for fault in faults_of(result, catalog)]
    if faults:
        raise DealError(faults)
    return result


def cut_short(deal: Deal, at: datetime) -> Deal:
    """The deal of a contract that ends early: balances close then, later fees, purchases and windows are not."""
    ending = _Ending(deal, at, [])
    short = replace(
        deal,
        commits=ending.funds("commits", [each.key for each in deal.commits], early=True),
        credits=ending.funds("credits", [each.key for each in deal.credits], early=True),
        charges=tuple(each for each in deal.charges if each.at < at),
    )
    return replace(short, overrides=_still_meant(short, deal))


class _Ending:
    """Ends terms of a deal at an instant; what has not begun by then is taken out."""

    def __init__(self, deal: Deal, at: datetime, faults: list[Fault]) -> None:
        self.deal, self.at, self.faults = deal, at, faults

    def without(self, ended: Ended) -> Deal:
        parts: dict[str, tuple[Any, ...]] = {}
        for name in BY_INDEX:
            parts[name] = self._by_index(name, getattr(ended, name))
        for name in ("recurring_credits", "recurring_commits", "subscriptions"):
            keys = self._known(name, getattr(ended, name))
            parts[name] = self._dated(name, [each.key in keys for each in getattr(self.deal, name)])
        parts["commits"] = self.funds("commits", ended.commits)
        parts["credits"] = self.funds("credits", ended.credits)
        parts["charges"] = self._charges(ended.charges)
        features = self._known("entitlements", ended.entitlements, "feature")
        parts["entitlements"] = tuple(each for each in self.deal.entitlements if each.feature not in features)
        kept = replace(self.deal, **parts)
        return replace(kept, overrides=_still_meant(kept, self.deal))

    def _known(self, name: str, keys: Sequence[str], key_name: str = "key") -> set[str]:
        known = {getattr(each, key_name) for each in getattr(self.deal, name)}
        for place, key in enumerate(keys):
            if key not in known:
                self.faults.append(Fault(f"end.{name}[{place}]", "unknown", f"the contract has no {key} there"))
        return set(keys)

    def _by_index(self, name: str, indexes: Sequence[int]) -> tuple[Any, ...]:
        terms = getattr(self.deal, name)
        for place, index in enumerate(indexes):
            if not 0 <= index < len(terms):
                message = f"the contract has {len(terms)} {name}, counted from 0"
                self.faults.append(Fault(f"end.{name}[{place}]", "unknown", message))
        return self._dated(name, [index in indexes for index in range(len(terms))])

    def _dated(self, name: str, chosen: Sequence[bool]) -> tuple[Any, ...]:
        found = []
        for index, (term, ends) in enumerate(zip(getattr(self.deal, name), chosen, strict=True)):
            if not ends:
                found.append(term)
            elif term.ending_before is not None and term.ending_before <= self.at:
                self.faults.append(Fault(f"end.{name}", "ended", f"{name}[{index}] has ended by then"))
            elif term.starting_at is None or term.starting_at < self.at:
                found.append(replace(term, ending_before=self.at))
        return tuple(found)

    def _charges(self, keys: Sequence[str]) -> tuple[Charge, ...]:
        known = self._known("charges", keys)
        found = []
        for charge in self.deal.charges:
            if charge.key not in known:
                found.append(charge)
            elif charge.at < self.at and charge.every is None:
                self.faults.append(Fault("end.charges", "ended", f"{charge.key} is charged before that"))
            elif charge.at < self.at:
                found.append(replace(charge, ending_before=self.at))
        return tuple(found)

    def funds(self, name: str, keys: Sequence[str], early: bool = False) -> tuple[Any, ...]:
        """Windows that are open close then, later ones and later purchases are taken out."""
        known = self._known(name, keys)
        found = [self._closed(each, name, early) if each.key in known else each for each in getattr(self.deal, name)]
        return tuple(each for each in found if each is not None)

    def _closed(self, funds: F, name: str, early: bool) -> F | None:
        windows = [each for each in funds.access if each.starting_at is None or each.starting_at < self.at]
        if not windows:
            return None
        if funds.access[: len(windows)] != tuple(windows):
            # A window is known by its place: those that stay must keep theirs.
            windows = list(funds.access)
        closed = tuple(self._closed_window(each) for each in windows)
        if closed == funds.access and not early:
            self.faults.append(Fault(f"end.{name}", "ended", f"{funds.key} has ended by then"))
        if isinstance(funds, Commit):
            bills = tuple(bill for bill in funds.invoices if bill.at < self.at or funds.kind == "postpaid")
            return replace(funds, access=closed, invoices=bills)
        return replace(funds, access=closed)

    def _closed_window(self, access: Access) -> Access:
        if access.ending_before is not None and access.ending_before <= self.at:
            return access
        if access.starting_at is not None and access.starting_at >= self.at:
            return replace(access, amount=Decimal(0))
        return replace(access, ending_before=self.at)


def _still_meant(deal: Deal, before: Deal) -> tuple[Override, ...]:
    """The overrides; those of commits that are gone go with them, or they would be about everything."""
    gone = _commits(before) - _commits(deal)
    found = []
    for override in deal.overrides:
        left = tuple(key for key in override.for_commits if key not in gone)
        if left or not override.for_commits:
            found.append(override if left == override.for_commits else replace(override, for_commits=left))
    return tuple(found)


def _commits(deal: Deal) -> set[str]:
    return {each.key for each in (*deal.commits, *deal.recurring_commits)}


def _with_quantities(deal: Deal, quantities: Iterable[Quantity], at: datetime, faults: list[Fault]) -> Deal:
    subscriptions = {each.key: each for each in deal.subscriptions}
    for index, wanted in enumerate(quantities):
        path, subscription = f"quantities[{index}]", subscriptions.get(wanted.subscription)
        moment = wanted.at or at
        if subscription is None:
            faults.append(Fault(f"{path}.subscription", "unknown", f"there is no subscription {wanted.subscription}"))
        elif moment < at:
            faults.append(Fault(f"{path}.at", "past", "is before the amendment takes effect"))
        else:
            try:
                subscriptions[wanted.subscription] = _with_quantity(subscription, moment, wanted)
            except ValueError as error:
                faults.append(Fault(f"{path}.seats", "value", str(error).removeprefix("seats: ")))
    return replace(deal, subscriptions=tuple(subscriptions.values()))


def _with_quantity(subscription: Subscription, at: datetime, wanted: Quantity) -> Subscription:
    others = [change for change in subscription.changes if change.at != at]
    changes = sorted([*others, QuantityChange(at=at, quantity=wanted.quantity)], key=lambda change: change.at)
    seats = subscription.seats if wanted.seats is None else wanted.seats
    return replace(subscription, changes=tuple(changes), seats=seats)


def _added(add: Deal, at: datetime, faults: list[Fault]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for name in (*BY_KEY, *BY_INDEX, "entitlements"):
        yield name, tuple(_begun(each, f"add.{name}[{i}]", at, faults) for i, each in enumerate(getattr(add, name)))


def _begun(term: Any, path: str, at: datetime, faults: list[Fault]) -> Any:
    """A term that starts with the amendment if it says nothing else."""
    for field, bills in (("at", [term]), ("invoices", getattr(term, "invoices", ()))):
        for index, bill in enumerate(bills):
            if getattr(bill, "at", at) < at:
                place = f"{path}.at" if field == "at" else f"{path}.invoices[{index}].at"
                faults.append(Fault(place, "past", "is before the amendment takes effect"))
    if isinstance(term, Commit | Credit):
        windows = enumerate(term.access)
        return replace(term, access=tuple(_started(each, f"{path}.access[{i}]", at, faults) for i, each in windows))
    return _started(term, path, at, faults) if hasattr(term, "starting_at") else term


def _started(term: Any, path: str, at: datetime, faults: list[Fault]) -> Any:
    if term.starting_at is not None and term.starting_at < at:
        faults.append(Fault(f"{path}.starting_at", "past", "is before the amendment takes effect"))
        return term
    if term.starting_at is not None:
        return term
    if term.ending_before is not None and term.ending_before <= at:
        faults.append(Fault(f"{path}.ending_before", "past", "is before the amendment takes effect"))
        return term
    return replace(term, starting_at=at)


def _placed(fault: Fault, kept: Deal) -> Fault:
    """A fault of the whole deal, at the added term it is about."""
    section, bracket, rest = fault.path.partition("[")
    number, _, rest = rest.partition("]")
    known = len(getattr(kept, section, ()) or ()) if bracket else 0
    if bracket and number.isdigit() and int(number) >= known:
        return Fault(f"add.{section}[{int(number) - known}]{rest}", fault.code, fault.message)
    return fault
