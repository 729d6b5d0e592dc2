"""Which balance pays for which line, and how much of it. Pure.

Lines are paid in their order, each by the balances open in its slice in burn-down order. While a commit pays, its own
price applies. A line that a balance cannot pay whole is split: the covered part, what the balance paid, and the rest,
which goes on to the next balance and in the end to the customer. No balance falls below zero.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from billing_project.decimals import plain
from catalog.bands import bands, quantity_for
from catalog.group_values import group_key
from catalog.money import ONE, ZERO, add, divide, multiply, negate, restored, subtract, whole_units
from contracts.balances import POSTPAID, Balance, BalanceId, left_at_start, roll
from contracts.lines import Line, Payable, Pricing, parts_of, rounded
from contracts.rating import priced_line
from contracts.scopes import covers, products_named

KIND_ORDER = {"usage": 0, "minimum": 1, "conversion": 2, "subscription": 3, "percent_of_spend": 4, "correction": 5}
NEVER = datetime.max.replace(tzinfo=UTC)
ALWAYS = datetime.min.replace(tzinfo=UTC)


class Draw(Struct, frozen=True, gc=False):
    """What a line took from a balance: the ledger entry that issuing the statement posts."""

    balance: str
    segment: str
    kind: str
    amount: Decimal
    line: Line
    owner: str = ""

    @property
    def id(self) -> BalanceId:
        return self.owner, self.balance, self.segment


def burn_down_order(balance: Balance) -> tuple[object, ...]:
    """The order in which balances are used."""
    group = 0 if balance.rolls_from is not None else 2 if balance.kind == POSTPAID else 1
    named = products_named(balance.scope)
    return (
        group,
        balance.priority,
        bool(balance.cost_basis),
        named is None,
        named or 0,
        len(balance.scope.where),
        balance.ending_before or NEVER,
        balance.starting_at or ALWAYS,
        balance.contracts is None,
        balance.contracts or 0,
        balance.shared,
        balance.key,
        balance.segment,
        balance.owner,
    )


def paid_order(payable: Payable) -> tuple[object, ...]:
    """The order in which lines are paid: kind, earlier slice, higher unit price, name."""
    line = payable.line
    return (
        KIND_ORDER.get(line.kind, len(KIND_ORDER)),
        line.period.starting_at,
        negate(_unit_price(line)),
        line.name,
        line.product,
        group_key(line.group),
    )


def _unit_price(line: Line) -> Decimal:
    if line.unit_amount is not None:
        return line.unit_amount
    return divide(line.amount_exact, line.billed_quantity) if line.billed_quantity else line.amount_exact


class Purse:
    """The balances of a statement and what is left of each while its lines are paid."""

    def __init__(self, balances: Sequence[Balance], starting_at: datetime, currency: str) -> None:
        self.currency = currency
        self.balances = sorted(balances, key=burn_down_order)
        self.left = left_at_start(balances, starting_at, currency)

    def open_to(self, payable: Payable) -> list[Balance]:
        """The balances that may pay for a line, in burn-down order, used up or not."""
        line = payable.line
        if not self.balances or line.kind not in KIND_ORDER:
            return []
        found = [balance for balance in self.balances if _may_pay(balance, payable)]
        for balance in found:
            # Its amount is what remains of the window before: known now, for lines are paid in order of time.
            if balance.id not in self.left:
                roll(balance, self.balances, self.left, self.currency)
        return found

    def can_pay(self, balance: Balance) -> Decimal:
        """What is left, in whole minor units of the currency."""
        left = self.left[balance.id]
        return left if balance.unit else whole_units(left, self.currency)

    def draw(self, balance: Balance, amount: Decimal) -> None:
        self.left[balance.id] = subtract(self.left[balance.id], amount)


def _may_pay(balance: Balance, payable: Payable) -> bool:
    line = payable.line
    return (
        balance.unit == line.unit
        and balance.open_at(line.period.starting_at)
        and covers(balance.scope, payable.product, line.group)
    )


def pay(payables: Iterable[Payable], purse: Purse) -> tuple[list[Payable], list[Draw]]:
    """Pay lines in their order. What comes back: the lines, split where a balance ended, and every draw."""
    parts: list[Payable] = []
    draws: list[Draw] = []
    for payable in sorted(payables, key=paid_order) if purse.balances else payables:
        parts += _pay_one(payable, purse, draws)
    return parts, draws


def _pay_one(payable: Payable, purse: Purse, draws: list[Draw]) -> list[Payable]:
    parts: list[Payable] = []
    rest: Payable | None = payable
    balances = purse.open_to(payable) if payable.net > 0 else []
    for balance in balances:
        left = purse.can_pay(balance)
        if rest is None or rest.net <= 0:
            break
        if left <= 0:
            continue
        covered, rest = _cover(rest, balance, left, purse.currency)
        parts.append(covered)
        # At its own price a slice may cost less than nothing (a volume tier reached): nothing is given back for it.
        if covered.net >= 0:
            purse.draw(balance, covered.net)
            draws.append(_draw(balance, covered))
    if rest is not None:
        parts.append(_past(rest, balances, purse))
    return parts


def _draw(balance: Balance, covered: Payable) -> Draw:
    return Draw(balance.key, balance.segment, balance.kind, covered.net, covered.line, balance.owner)


def draw_line(draw: Draw, name: str) -> Line:
    """The visible line of a draw: it takes off what the balance paid."""
    line = draw.line
    return Line(
        kind="draw",
        product=line.product,
        name=name,
        group=line.group,
        period=line.period,
        amount=negate(draw.amount),
        amount_exact=negate(draw.amount),
        balance=draw.balance,
        segment=draw.segment,
        unit=line.unit,
        source=name,
    )


def _past(rest: Payable, balances: Sequence[Balance], purse: Purse) -> Payable:
    """What no balance paid for; past a commit with an overage multiplier it costs that much more."""
    ended = [each for each in balances if each.overage_multiplier is not None and purse.can_pay(each) <= 0]
    if not ended or rest.pricing is None or rest.net <= 0:
        return rest
    multiplier = ended[0].overage_multiplier or ONE
    return _priced(rest, rest.pricing.times(multiplier, f"{plain(multiplier)} past {ended[0].key}"), purse.currency)


def _cover(payable: Payable, balance: Balance, left: Decimal, currency: str) -> tuple[Payable, Payable | None]:
    """The part a balance pays for, at the price that applies while it does, and the rest (None: nothing is left)."""
    offered = payable
    if payable.pricing is not None:
        pricing = payable.pricing.paid_by(balance.payer, payable.line.period)
        offered = payable if pricing is payable.pricing else _priced(payable, pricing, currency)
    if offered.net <= left:
        return _named(offered, balance), None
    if offered is payable:
        covered, rest = _split_amount(payable, left, currency)
    else:
        covered, rest = _split_quantity(payable, offered, left, currency)
    return _named(covered, balance), rest


def _named(payable: Payable, balance: Balance) -> Payable:
    return replace(payable, line=replace(payable.line, balance=balance.key, segment=balance.segment))


def _priced(payable: Payable, pricing: Pricing, currency: str) -> Payable:
    """The same charge at another price; its adjustments keep their proportion to it."""
    line = payable.line
    charged = pricing.charged()
    exact = charged.amount if line.share is None else restored(multiply(charged.amount, line.share))
    new = priced_line(currency, line.kind, pricing, charged, line.period, line.quantity, line.events)
    new = replace(new, amount=rounded(exact, currency, new.unit), amount_exact=exact, share=line.share)
    return replace(payable, line=new, pricing=pricing, adjustments=_in_proportion(payable, new.amount, currency))


def _in_proportion(payable: Payable, amount: Decimal, currency: str) -> tuple[Line, ...]:
    """The adjustments of a charge as they are for another amount of it."""
    if not payable.adjustments or not payable.line.amount:
        return payable.adjustments
    total = add(line.amount for line in payable.adjustments)
    wanted = rounded(divide(multiply(total, amount), payable.line.amount), currency, payable.line.unit)
    return _adjusted_to(payable.adjustments, wanted, currency)


def _adjusted_to(adjustments: Sequence[Line], total: Decimal, currency: str) -> tuple[Line, ...]:
    """The same adjustments, in the same proportion, with another total."""
    weights = [line.amount.copy_abs() for line in adjustments]
    if not any(weights):
        return tuple(adjustments)
    parts = parts_of(total, weights, currency, adjustments[0].unit)
    return tuple(replace(line, amount=part, amount_exact=part) for line, part in zip(adjustments, parts, strict=True))


def _split_amount(payable: Payable, left: Decimal, currency: str) -> tuple[Payable, Payable]:
    """Covered and not, at the same price: the balance pays exactly what is left, the rest is the rounded whole less
    that.
    """
    line = payable.line
    gross = left
    if payable.adjustments:
        gross = rounded(divide(multiply(line.amount, left), payable.net), currency, line.unit)
    covered_adjustments = _adjusted_to(payable.adjustments, subtract(left, gross), currency)
    rest_adjustments = tuple(
        replace(whole, amount=subtract(whole.amount, part.amount), amount_exact=subtract(whole.amount, part.amount))
        for whole, part in zip(payable.adjustments, covered_adjustments, strict=True)
    )
    quantity = _quantity_for_amount(payable, gross)
    covered, rest = _at_quantity(payable, quantity, divide(gross, line.amount))
    covered_line = replace(covered.line, amount=gross, amount_exact=gross)
    rest_line = replace(rest.line, amount=subtract(line.amount, gross), amount_exact=subtract(line.amount_exact, gross))
    return (
        replace(covered, line=covered_line, adjustments=covered_adjustments),
        replace(rest, line=rest_line, adjustments=rest_adjustments),
    )


def _split_quantity(payable: Payable, offered: Payable, left: Decimal, currency: str) -> tuple[Payable, Payable]:
    """Covered at the balance's price, the rest at its own with tiers carried on: as much quantity is covered as what is
    left pays for.
    """
    gross = divide(multiply(offered.line.amount, left), offered.net)
    fraction = divide(gross, offered.line.amount)
    covered, _ = _at_quantity(offered, _quantity_for_amount(offered, gross), fraction)
    _, rest = _at_quantity(payable, _quantity_for_amount(offered, gross), fraction)
    # The balance pays what it has left to the last unit: the covered part is rounded to it, not the other way round.
    amount = rounded(gross, currency, payable.line.unit)
    covered_line = replace(covered.line, amount=amount, amount_exact=amount)
    covered = replace(
        covered, line=covered_line, adjustments=_adjusted_to(offered.adjustments, subtract(left, amount), currency)
    )
    rest_line = replace(rest.line, amount=rounded(rest.line.amount_exact, currency, payable.line.unit))
    rest = replace(rest, line=rest_line)
    return covered, replace(rest, adjustments=_in_proportion(payable, rest_line.amount, currency))


def _quantity_for_amount(payable: Payable, gross: Decimal) -> Decimal | None:
    """How much of the quantity an amount pays for; None where quantity and amount cannot be told apart."""
    pricing = payable.pricing
    if pricing is None or payable.line.share is not None or pricing.quantity <= 0:
        return None
    price_bands = bands(pricing.agreed.price)
    if price_bands is None:
        return None
    return quantity_for(price_bands, gross, max(pricing.prior or ZERO, ZERO), pricing.quantity)


def _at_quantity(payable: Payable, quantity: Decimal | None, fraction: Decimal) -> tuple[Payable, Payable]:
    """A charge in two: the first `quantity` and the rest; without a quantity, two shares of the same charge."""
    pricing, line = payable.pricing, payable.line
    if pricing is None or quantity is None:
        return _shared(payable, fraction), _shared(payable, subtract(ONE, fraction))
    first = replace(pricing, quantity=quantity)
    second = replace(
        pricing, prior=add([pricing.prior or ZERO, quantity]), quantity=subtract(pricing.quantity, quantity)
    )
    metered = divide(multiply(line.quantity, quantity), pricing.quantity)
    return (
        _repriced(payable, first, metered, line.events),
        _repriced(payable, second, subtract(line.quantity, metered), 0),
    )


def _repriced(payable: Payable, pricing: Pricing, metered: Decimal, events: int) -> Payable:
    charged = pricing.charged()
    line = replace(
        payable.line,
        quantity=metered,
        events=events,
        billed_quantity=pricing.quantity,
        prior_quantity=pricing.prior,
        unit_amount=charged.unit_amount,
        amount_exact=charged.amount,
        tiers=charged.tiers,
    )
    return replace(payable, line=line, pricing=pricing)


def _shared(payable: Payable, fraction: Decimal) -> Payable:
    """A share of a charge: quantity and amount in proportion; what is priced (and its events) is still the whole."""
    line = payable.line
    line = replace(
        line,
        quantity=multiply(line.quantity, fraction),
        amount_exact=restored(multiply(line.amount_exact, fraction)),
        share=multiply(ONE if line.share is None else line.share, fraction),
    )
    return replace(payable, line=line)
