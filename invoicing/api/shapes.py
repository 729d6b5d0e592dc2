"""What the API answers, where it is no entry of a billing file. Amounts and quantities are exact, as text."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from catalog.documents import Document
from catalog.prices import WrittenPrice
from contracts.amending import Changes
from contracts.deal import EVERYTHING, Billing, ContractDocument, Deal, Instant, Key, Scope
from contracts.shared_terms import SharedCredit
from invoicing.billing_file.schema import CustomerEntry, EventEntry, ProductEntry, RateCardEntry, RateEntry

Amount = Annotated[str, Meta(description="Exact, as text, in major units.")]
At = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class Span(Struct, kw_only=True):
    """Half-open."""

    starting_at: At
    ending_before: At


class ContractShown(ContractDocument, frozen=True, kw_only=True):
    """A contract as it is written, with what is only read."""

    currency: str
    template: str | None
    renews: str | None
    status: Literal["draft", "awaiting_approval", "upcoming", "running", "ended"]


class AliasesEntry(Struct, kw_only=True, forbid_unknown_fields=True):
    """Keys under which events name the customer too."""

    aliases: tuple[Key, ...]


class Aliases(Struct, kw_only=True):
    """What was added, and how many events nobody was billed for became the customer's."""

    customer: str
    added: list[str]
    events: int


class RatesEntry(Struct, kw_only=True, forbid_unknown_fields=True):
    """Rates to add to a card, or to end: a rate is known by its product, group values and start."""

    rates: tuple[RateEntry, ...]


class TierShown(Struct, kw_only=True):
    quantity: str
    unit_amount: Amount
    flat_amount: Amount
    amount: Amount


class Explanation(Struct, kw_only=True):
    """Why a line is what it is: enough to compute it again. `rate` names the row its price came from, `share` the part
    of the price's charge the line is for, `prior_quantity` where its tiers go on.
    """

    meter: str
    aggregation: str
    rate: str
    price: WrittenPrice | None
    prior_quantity: str | None
    share: str | None
    segment: str
    subscription: str


class StatementLine(Struct, kw_only=True):
    """A line. `amount` is rounded to the minor unit, `amount_exact` is not; `balance` pays for it or is drawn."""

    product: str
    kind: str
    name: str
    group: dict[str, str | None]
    starting_at: At
    ending_before: At
    quantity: str
    billed_quantity: str
    unit_amount: Amount | None
    amount: Amount
    amount_exact: Amount
    balance: str | None
    tiers: list[TierShown]
    source: str
    unit: str
    events: int


class ExplainedLine(StatementLine, kw_only=True):
    position: int
    explanation: Explanation


class UnratedUsage(Struct, kw_only=True):
    """Usage that has no price."""

    product: str
    group: dict[str, str | None]
    quantity: str


class TaxByRate(Struct, kw_only=True):
    """What is due by one rate of tax; `base` is the amount before tax, `category` the code of UNCL 5305."""

    key: str
    name: str
    category: str
    percent: Amount
    base: Amount
    amount: Amount
    country: str
    inclusive: bool
    note: str


class StatementTotals(Struct, kw_only=True):
    customer: str
    payer: str
    contract: str
    kind: str
    status: str
    shadow: bool
    currency: str
    period: Span
    issue_at: At
    subtotal: Amount
    discount: Amount
    credits_applied: Amount
    tax: Amount
    taxes: list[TaxByRate]
    already_invoiced: Amount
    total: Amount
    unrated: list[UnratedUsage]


class Statement(StatementTotals, kw_only=True):
    """A statement as `simulate` shows it: what an invoice would say, written or not."""

    lines: list[StatementLine]


class InvoiceSummary(StatementTotals, kw_only=True):
    """An invoice without its lines. The totals of a draft are those last written."""

    id: int
    number: str | None
    net_days: int
    attention: list[str]
    created_at: At
    issued_at: At | None
    due_at: At | None
    paid_at: At | None


class InvoiceShown(InvoiceSummary, kw_only=True):
    """An invoice with its lines. A draft follows usage and terms: it is shown as it is now."""

    lines: list[ExplainedLine]


class Left(Struct, kw_only=True):
    """What is left of prepaid commits and credits open now, in the contract's currency or a pricing unit."""

    unit: str
    amount: Amount


class Spend(Struct, kw_only=True):
    """The running billing period so far: `used` is what was charged, less `discount`, less what balances `covered`, is
    `spent`. All null outside the contract.
    """

    contract: str
    currency: str
    period: Span | None
    used: Amount | None
    discount: Amount | None
    covered: Amount | None
    spent: Amount | None
    left: list[Left]
    statement: Statement | None


class LedgerLine(Struct, kw_only=True):
    """A change of a balance: what is posted, and what the statements not issued yet will post."""

    kind: str
    at: At
    amount: Amount
    segment: str


class BalanceShown(Struct, kw_only=True):
    """A commit or credit, what is left of all its windows, and how it came. One that contracts share has no contract;
    its customer is the one that shares it.
    """

    customer: str
    contract: str | None
    balance: str
    kind: Literal["prepaid_commit", "postpaid_commit", "credit"]
    unit: str
    remaining: Amount
    ledger: list[LedgerLine]


class EntitlementShown(Struct, kw_only=True):
    """Whether a feature may be used now. `reason` says why not: disabled, limit_reached, no_balance, unpaid (a
    threshold invoice of a contract with a payment gate was refused or is overdue).
    """

    feature: str
    kind: Literal["boolean", "static", "metered"]
    has_access: bool
    reason: str
    value: str | int | bool | None
    limit: str | None
    used: str | None
    remaining: str | None
    overage: str | None
    soft: bool | None
    resets_at: At | None


class AmendmentShown(Struct, kw_only=True):
    """A change of a contract. What is `beyond` the guardrails waits until a second person approves it."""

    id: int
    kind: Literal["amend", "edit", "end", "keep"]
    status: Literal["waiting", "applied", "rejected"]
    effective_at: At | None
    beyond: list[str]
    reason: str


class Amended(Struct, kw_only=True):
    """The change, and the contract as it stands with it (or, while it waits, without)."""

    amendment: AmendmentShown
    contract: ContractShown


class AmendEntry(Document, frozen=True, kw_only=True):
    """Terms added, ended and changed from an instant on (none: now); nothing before changes."""

    at: Instant | None = None
    changes: Changes
    reason: str = ""


class RenewEntry(Document, frozen=True, kw_only=True):
    """The successor's key, and how long it lasts: to an instant, for a `term` such as P1Y, or as long as before."""

    key: Key
    ending_before: Instant | None = None
    term: str = ""
    changes: Changes | None = None
    reason: str = ""


class EndEntry(Document, frozen=True, kw_only=True):
    """When the contract ends."""

    at: Instant
    reason: str = ""


class QuantityEntry(Document, frozen=True, kw_only=True):
    """The quantity of a subscription from an instant on (none: now); `seats` names who has one (none: as before)."""

    quantity: Decimal
    at: Instant | None = None
    seats: tuple[str, ...] | None = None
    reason: str = ""


class GrantEntry(Document, frozen=True, kw_only=True):
    """A credit that can be used from an instant on (none: now)."""

    key: Key
    amount: Decimal
    starting_at: Instant | None = None
    ending_before: Instant | None = None
    name: str = ""
    priority: Annotated[int, Meta(ge=0, le=1_000_000)] = 100
    scope: Scope = EVERYTHING
    unit: str = ""
    reason: str = ""


class CustomerGrantEntry(GrantEntry, frozen=True, kw_only=True):
    """A credit that the customer's contracts share, and those of customers below it: all in `currency` (which may be
    left out where there is one), or those named in `contracts`. `contract` gives it to that contract instead.
    """

    contracts: tuple[Key, ...] = ()
    currency: str = ""
    contract: Key | None = None


class Granted(Struct, kw_only=True):
    """The credit as the customer's contracts share it."""

    customer: str
    credit: SharedCredit


class SignUpEntry(Deal, frozen=True, kw_only=True):
    """A contract on the terms of a template; what else is given goes before the template's."""

    template: Key
    key: Key
    customer: Key
    starting_at: Instant | None = None
    ending_before: Instant | None = None
    name: str = ""
    timezone: str | None = None
    billing: Billing | None = None
    net_days: int | None = None


class TemplateShown(Struct, kw_only=True):
    """A package to sign up for: terms as in a contract, with durations from its start instead of dates."""

    key: str
    name: str
    rate_card: str
    currency: str
    document: dict[str, Any]


class PreviewEntry(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to work out: a contract as it might be (new, or instead of the one with its key), usage that has not
    happened, or both; `at` is an instant of the billing period looked at (none: now).
    """

    contract: ContractDocument | None = None
    customer: str | None = None
    events: tuple[EventEntry, ...] = ()
    at: At | None = None


class PreviewHead(Document, frozen=True, kw_only=True):
    """What a preview is of, but for the contract and the events."""

    customer: Key | None = None
    at: Instant | None = None


class Preview(Struct, kw_only=True):
    """The statements of the billing period as they would be. `counted` events of the request are part of it."""

    at: At
    statements: list[Statement]
    counted: int
    skipped: list[str]


DOCUMENTED: tuple[Any, ...] = (
    CustomerEntry,
    ProductEntry,
    RateCardEntry,
    RateEntry,
    ContractDocument,
    ContractShown,
    Deal,
    AliasesEntry,
    Aliases,
    RatesEntry,
    StatementLine,
    Statement,
    InvoiceSummary,
    InvoiceShown,
    Spend,
    BalanceShown,
    EntitlementShown,
    Changes,
    Amended,
    AmendEntry,
    RenewEntry,
    EndEntry,
    QuantityEntry,
    GrantEntry,
    CustomerGrantEntry,
    Granted,
    SignUpEntry,
    TemplateShown,
    PreviewEntry,
    Preview,
)
