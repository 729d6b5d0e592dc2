"""The negotiated parts of a contract as one document: the billing file's contract object.

Pure. The same structs read files and forms, give the JSON Schema, are stored with the contract, compared between
versions and copied from templates, and are what the engine works on. `contracts.deal_format` reads and checks a whole
deal and says what is wrong by path; each struct here only checks itself.
"""

from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from catalog.documents import Document
from catalog.money import ONE
from catalog.prices import MultiplierTier, WrittenPrice, check_tiers
from contracts.durations import is_day

Key = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\s\x00]([^\x00]*[^\s\x00])?$")]
Instant = Annotated[
    datetime, Meta(tz=True, description="ISO 8601; a bare date is local midnight in the contract's time zone.")
]
Every = Literal["day", "week", "month", "quarter", "year"]


class Scope(Document, frozen=True):
    """What a term is about. Products by key or by any of their tags; nothing named means all. `where` narrows it to
    group values.
    """

    products: tuple[Key, ...] = ()
    tags: tuple[str, ...] = ()
    where: dict[str, str | int | bool] = {}


EVERYTHING = Scope()


class Dated(Document, frozen=True, kw_only=True):
    """Something with a first instant and a first instant after it; none means without bound."""

    starting_at: Instant | None = None
    ending_before: Instant | None = None

    def check(self) -> None:
        if self.starting_at and self.ending_before and self.ending_before <= self.starting_at:
            raise ValueError("ending_before: must be after starting_at")

    def holds_at(self, instant: datetime) -> bool:
        return (self.starting_at is None or self.starting_at <= instant) and (
            self.ending_before is None or instant < self.ending_before
        )


class Access(Dated, frozen=True):
    """An amount that may be used in a window."""

    amount: Decimal


class Bill(Document, frozen=True):
    """An amount that is billed at an instant."""

    amount: Decimal
    at: Instant


class Rollover(Document, frozen=True):
    """What is left at the end of a window moves into the next: at most this fraction of the original amount, or this
    fraction of what remains.
    """

    fraction: Decimal
    of: Literal["original", "remaining"] = "original"

    def check(self) -> None:
        if self.fraction > ONE:
            raise ValueError("fraction: must be between 0 and 1, such as 0.5 for half")


class Funds(Document, frozen=True, kw_only=True):
    """What commits and credits share: a lower `priority` is used first; `unit` names a custom pricing unit."""

    key: Key
    name: str = ""
    priority: Annotated[int, Meta(ge=0, le=1_000_000)] = 100
    scope: Scope = EVERYTHING
    rollover: Rollover | None = None
    unit: str = ""


class Commit(Funds, frozen=True, kw_only=True):
    """Money promised. Prepaid: `invoices` bill it, `access` lets it be used. Postpaid: usage is billed normally, and
    what is missing at a window's end is billed then (to its one `invoices` amount, else to the amount accessible).

    While it pays, its rate applies; past it, usage in its scope costs its rate times `overage_multiplier`.
    """

    kind: Literal["prepaid", "postpaid"] = "prepaid"
    access: tuple[Access, ...]
    invoices: tuple[Bill, ...] = ()
    rate: Literal["list", "commit"] = "list"
    overage_multiplier: Decimal | None = None

    def check(self) -> None:
        if not self.access:
            raise ValueError("access: name at least one amount and when it can be used")
        if self.kind == "postpaid":
            self._check_postpaid()

    def _check_postpaid(self) -> None:
        if len(self.invoices) > 1 or (self.invoices and len(self.access) > 1):
            raise ValueError("invoices: a postpaid commit is billed by one true-up at the end of its window")
        if self.rollover:
            raise ValueError("rollover: nothing is left of a postpaid commit, its true-up bills the rest")
        for index, access in enumerate(self.access):
            if access.ending_before is None:
                raise ValueError(f"access[{index}].ending_before: a postpaid commit needs an end, when it is trued up")


class Credit(Funds, frozen=True, kw_only=True):
    """Money given, never billed."""

    access: tuple[Access, ...]

    def check(self) -> None:
        if not self.access:
            raise ValueError("access: name at least one amount and when it can be used")


class RecurringCredit(Funds, frozen=True, kw_only=True):
    """A credit given anew each period of `every` (none: the contract's billing period); each can be used for
    `periods` of them. Short first and last periods are prorated unless `proration` says otherwise. `per_seat_of` names
    a subscription: the amount is for each of its seats when the period starts.
    """

    amount: Decimal
    every: Every | None = None
    starting_at: Instant | None = None
    ending_before: Instant | None = None
    proration: Literal["none", "first", "last", "first_and_last"] = "first_and_last"
    periods: Annotated[int, Meta(ge=1, le=1200)] = 1
    per_seat_of: Key | None = None

    def check(self) -> None:
        if self.starting_at and self.ending_before and self.ending_before <= self.starting_at:
            raise ValueError("ending_before: must be after starting_at")


class RecurringCommit(RecurringCredit, frozen=True, kw_only=True):
    """A prepaid commit bought anew each period, for `invoice_amount` (none: its amount)."""

    invoice_amount: Decimal | None = None
    rate: Literal["list", "commit"] = "list"
    overage_multiplier: Decimal | None = None


class OverrideTerms(Dated, frozen=True, kw_only=True, tag_field="kind"):
    """What every override has: where and when it applies, to the list or the commit rate; with `for_commits` only
    while one of these pays.
    """

    scope: Scope = EVERYTHING
    target: Literal["list", "commit"] = "list"
    for_commits: tuple[Key, ...] = ()


class Multiplier(OverrideTerms, frozen=True, kw_only=True, tag="multiplier"):
    """The rate, times a factor. Of several, the lowest `priority` number applies, else the lowest multiplier."""

    multiplier: Decimal
    priority: int | None = None


class TieredMultiplier(OverrideTerms, frozen=True, kw_only=True, tag="tiered"):
    """The rate, times a factor that depends on the quantity used in the billing period."""

    tiers: tuple[MultiplierTier, ...]
    priority: int | None = None

    def check(self) -> None:
        OverrideTerms.check(self)
        check_tiers(self.tiers)


class Overwrite(OverrideTerms, frozen=True, kw_only=True, tag="overwrite"):
    """Another price instead of the rate. Its `where` names every pricing key of the product."""

    price: WrittenPrice
    unit: str = ""


Override = Multiplier | TieredMultiplier | Overwrite


class Discount(Dated, frozen=True, kw_only=True):
    """A percentage off, or an amount off each usage invoice."""

    percent: Decimal | None = None
    amount: Decimal | None = None
    name: str = ""
    scope: Scope = EVERYTHING

    def check(self) -> None:
        Dated.check(self)
        if (self.percent is None) == (self.amount is None):
            raise ValueError("percent: give either a percent or an amount")
        if self.percent is not None and self.percent > 100:
            raise ValueError("percent: must not be above 100")


class QuantityChange(Document, frozen=True):
    """The quantity of a subscription from an instant on."""

    at: Instant
    quantity: Decimal


class Subscription(Dated, frozen=True, kw_only=True):
    """A recurring fee per seat (or anything counted), at the product's rate at the start of each of its periods."""

    key: Key
    product: Key
    quantity: Decimal = ONE
    billed: Literal["advance", "arrears"] = "advance"
    every: Every | None = None
    prorated: bool = True
    increases: Literal["at_once", "next_invoice"] = "at_once"
    decreases: Literal["next_period", "at_once"] = "next_period"
    changes: tuple[QuantityChange, ...] = ()
    seats: tuple[str, ...] = ()

    def check(self) -> None:
        Dated.check(self)
        instants = [change.at for change in self.changes]
        for index, (earlier, later) in enumerate(pairwise(instants), start=1):
            if later <= earlier:
                raise ValueError(f"changes[{index}].at: must be after the change before it")
        if len(set(self.seats)) != len(self.seats):
            raise ValueError("seats: a seat is named twice")
        most = max([self.quantity, *(change.quantity for change in self.changes)])
        if len(self.seats) > most:
            raise ValueError(f"seats: {len(self.seats)} seats are named, the quantity is {most}")


class Charge(Document, frozen=True, kw_only=True):
    """A fee at an instant, and with `every` again each period until `ending_before`."""

    key: Key
    product: Key
    amount: Decimal
    quantity: Decimal = ONE
    at: Instant
    every: Every | None = None
    ending_before: Instant | None = None

    def check(self) -> None:
        if self.ending_before and self.ending_before <= self.at:
            raise ValueError("ending_before: must be after at")


class Minimum(Dated, frozen=True, kw_only=True):
    """The least a billing period costs: of what is in scope, or of the whole usage invoice."""

    amount: Decimal
    scope: Scope = EVERYTHING


class SpendThreshold(Document, frozen=True):
    """An invoice is issued at once when unbilled usage reaches this amount; a gate stops where one is not paid."""

    above_zero: ClassVar[frozenset[str]] = frozenset({"amount"})
    amount: Decimal = Decimal(100)
    gate: Literal["none", "payment"] = "none"


LEAST_THRESHOLD = Decimal(5)
LEAST_RECHARGE = Decimal(10)


class BalanceThreshold(Document, frozen=True, kw_only=True):
    """Filled up to `recharge_to` when it falls to `amount`, without those `excluded`; `paid_fraction` is charged."""

    above_zero: ClassVar[frozenset[str]] = frozenset({"recharge_to"})
    amount: Decimal
    recharge_to: Decimal
    unit: str = ""
    paid_fraction: Decimal = ONE
    excluded: tuple[Key, ...] = ()
    usable: Literal["at_once", "when_paid"] = "at_once"

    def check(self) -> None:
        if self.paid_fraction > ONE:
            raise ValueError("paid_fraction: must be between 0 and 1")
        if self.unit:
            if self.recharge_to <= self.amount:
                raise ValueError("recharge_to: must be above amount")
        elif self.amount < LEAST_THRESHOLD:
            raise ValueError(f"amount: must be at least {LEAST_THRESHOLD}, or the smallest charges eat the balance")
        elif self.recharge_to < self.amount + LEAST_RECHARGE:
            raise ValueError(f"recharge_to: must be at least {LEAST_RECHARGE} above amount")


class EntitlementTerms(Document, frozen=True, kw_only=True, tag_field="kind"):
    """A feature the customer may use. With `requires_balance` only while something is left of a prepaid commit or
    credit that is open: of any, or of one of those named in `balances`.
    """

    feature: Key
    requires_balance: bool = False
    balances: tuple[Key, ...] = ()

    def check(self) -> None:
        if self.balances and not self.requires_balance:
            raise ValueError("balances: says nothing unless requires_balance is true")


class Switch(EntitlementTerms, frozen=True, kw_only=True, tag="boolean"):
    """The feature is on or off."""

    enabled: bool = True


class Setting(EntitlementTerms, frozen=True, kw_only=True, tag="static"):
    """The feature has a value: a plan's name, a limit the product itself checks."""

    value: str | int | bool


class Allowance(EntitlementTerms, frozen=True, kw_only=True, tag="metered"):
    """The feature may be used up to a limit of a meter in each reset period; past a soft limit it still works."""

    meter: Key
    limit: Decimal
    soft: bool = False
    reset: Literal["never", "minute", "hour", "day", "week", "month", "quarter", "year"] = "month"
    where: dict[str, str | int | bool] = {}


Entitlement = Switch | Setting | Allowance


class Deal(Document, frozen=True, kw_only=True):
    """Everything negotiated with a customer beyond the rate card. `usage_customers` are customers below it whose usage
    this contract bills too.
    """

    usage_filter: dict[str, tuple[str, ...]] = {}
    usage_customers: tuple[Key, ...] = ()
    commits: tuple[Commit, ...] = ()
    credits: tuple[Credit, ...] = ()
    recurring_credits: tuple[RecurringCredit, ...] = ()
    recurring_commits: tuple[RecurringCommit, ...] = ()
    overrides: tuple[Override, ...] = ()
    discounts: tuple[Discount, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    charges: tuple[Charge, ...] = ()
    minimums: tuple[Minimum, ...] = ()
    spend_threshold: SpendThreshold | None = None
    balance_threshold: BalanceThreshold | None = None
    entitlements: tuple[Entitlement, ...] = ()


NOTHING_AGREED = Deal()


class Billing(Document, frozen=True):
    """How often the contract bills, and where its periods are counted from: calendar, contract, or a date."""

    every: Every = "month"
    anchor: str = "calendar"

    def check(self) -> None:
        if self.anchor not in ("calendar", "contract") and not is_day(self.anchor):
            raise ValueError(f"anchor: is {self.anchor!r}; write calendar, contract or a date such as 2026-01-15")


class ContractDocument(Deal, frozen=True, kw_only=True):
    """The billing file's contract object: the deal and the columns. What it does not say, its template may."""

    key: Key
    name: str = ""
    customer: Key
    renews: Key | None = None
    template: Key | None = None
    rate_card: Key = ""
    starting_at: Instant
    ending_before: Instant | None = None
    timezone: str | None = None
    billing: Billing = Billing()
    net_days: Annotated[int, Meta(ge=0, le=3650)] = 30
    purchase_order: Annotated[str, Meta(max_length=100)] | None = None
    shadow: bool = False

    def check(self) -> None:
        if not self.rate_card:
            raise ValueError("rate_card: is missing; name a rate card, or a template that has one")
        if self.ending_before and self.ending_before <= self.starting_at:
            raise ValueError("ending_before: must be after starting_at")
