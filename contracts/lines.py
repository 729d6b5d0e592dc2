"""Lines of a statement, and what a line still needs to be known while it is worked on. Pure.

These are made by the hundred thousand, so they are msgspec structs: made and changed in a fraction of the time.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from catalog.group_values import Group, group_key
from catalog.money import EXACT, ZERO, add, divide, multiply, round_amount, split
from catalog.prices import Price, Tiered, scaled
from catalog.pricing import NO_EVENTS, Charge, Events, TierCharge, charge
from contracts.deal import Override
from contracts.products import ProductTerms
from contracts.terms import Agreed, Payer, Rate, agreed_price
from meters.periods import Period


class Line(Struct, frozen=True, gc=False):
    """One line: `quantity` as metered, `billed_quantity` after conversion, `amount` rounded to the cent,
    `amount_exact` not.

    `prior_quantity` is the billed quantity of the same product and group earlier in the period, None on its first
    line: tiers carry on from it. `rate` names the row the price came from; `source` says the same for people.
    `balance` (and its `segment`) is the commit or credit that pays for the line or is drawn by it; `unit` is the custom
    pricing unit the amounts are in, empty for the statement's currency. `share` is the part of the price's charge the
    line is for, less than one where it was prorated or split by amount: such a line shows its own quantity and amounts,
    and events, billed quantity and tiers of the whole charge. `tax_key` names the tax rate that holds for it;
    `gross_amount` is what it came to before a tax that its price included was taken out, else None.
    """

    kind: str
    product: str
    name: str
    group: Group
    period: Period
    meter: str = ""
    aggregation: str = ""
    events: int = 0
    quantity: Decimal = ZERO
    billed_quantity: Decimal = ZERO
    prior_quantity: Decimal | None = None
    unit_amount: Decimal | None = None
    amount: Decimal = ZERO
    amount_exact: Decimal = ZERO
    tiers: tuple[TierCharge, ...] = ()
    source: str = ""
    rate: str = ""
    price: Price | None = None
    unit: str = ""
    balance: str | None = None
    segment: str = ""
    share: Decimal | None = None
    subscription: str = ""
    tax_key: str = ""
    gross_amount: Decimal | None = None


class Pricing(Struct, frozen=True, gc=False):
    """How a line's quantity is priced, so that the same quantity can be priced again when a commit pays."""

    product: ProductTerms
    group: Group
    rate: Rate | None
    overrides: tuple[Override, ...]
    agreed: Agreed
    prior: Decimal | None
    quantity: Decimal
    events: Events = NO_EVENTS
    prior_events: Events = NO_EVENTS

    def charged(self) -> Charge:
        return charge(self.agreed.price, self.quantity, self.prior, self.events, self.prior_events)

    def paid_by(self, payer: Payer, period: Period) -> "Pricing":
        """The same quantity at the price that applies while `payer` pays."""
        agreed = agreed_price(self.product, self.group, self.rate, period.starting_at, self.overrides, payer)
        if agreed is None or agreed == self.agreed or agreed.unit != self.agreed.unit:
            return self
        return replace(self, agreed=agreed)

    def times(self, multiplier: Decimal, why: str) -> "Pricing":
        """The same quantity at its price times a multiplier."""
        price = self.agreed.price
        changed: Price
        if isinstance(price, Tiered):
            changed = Tiered(scaled(price.price, multiplier), price.shares)
        else:
            changed = scaled(price, multiplier)
        return replace(self, agreed=replace(self.agreed, price=changed, source=f"{self.agreed.source} × {why}"))


class Payable(Struct, frozen=True, gc=False):
    """A charge that discounts, bounds, credits and commits work on.

    `adjustments` are the discount lines that belong to it; `pricing` is None where there is only an amount.
    """

    line: Line
    product: ProductTerms
    pricing: Pricing | None = None
    adjustments: tuple[Line, ...] = ()

    @property
    def net(self) -> Decimal:
        """What the charge comes to after its adjustments."""
        return (
            add([self.line.amount, *(line.amount for line in self.adjustments)])
            if self.adjustments
            else self.line.amount
        )

    def with_adjustment(self, line: Line) -> "Payable":
        return replace(self, adjustments=(*self.adjustments, line))


def rounded(amount: Decimal, currency: str, unit: str) -> Decimal:
    """A line amount: whole minor units of a currency; a custom pricing unit has none, its amounts stay exact."""
    return amount if unit else round_amount(amount, currency)


def parts_of(amount: Decimal, weights: Sequence[Decimal], currency: str, unit: str) -> list[Decimal]:
    """An amount split in proportion to weights, the parts adding up to it."""
    if not unit:
        return split(amount, weights, currency)
    total = add(weights)
    parts = [divide(multiply(amount, weight), total) for weight in weights[:-1]]
    return [*parts, EXACT.subtract(amount, add(parts))]


def adjustment(kind: str, name: str, payable: Payable, amount: Decimal, exact: Decimal | None = None) -> Line:
    """A line that changes what a charge comes to: a discount, or what is missing to a minimum."""
    line = payable.line
    return Line(
        kind=kind,
        product=line.product,
        name=name,
        group=line.group,
        period=line.period,
        amount=amount,
        amount_exact=amount if exact is None else exact,
        unit=line.unit,
        source=name,
    )


def shown(payables: Iterable[Payable]) -> list[Line]:
    """Charges in order of product and group, each product's slices in order of time, then their adjustments."""
    ordered = sorted(payables, key=lambda payable: shown_order(payable.line))
    return [*(payable.line for payable in ordered), *(line for payable in ordered for line in payable.adjustments)]


def shown_order(line: Line) -> tuple[int, str, str, str, Period]:
    place = KINDS_SHOWN.index(line.kind) if line.kind in KINDS_SHOWN else len(KINDS_SHOWN)
    return (place, line.name, line.product, group_key(line.group), line.period)


KINDS_SHOWN = ("usage", "subscription", "percent_of_spend", "fixed", "commit_purchase", "minimum", "conversion")
