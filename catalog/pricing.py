"""What a price charges: a quantity goes in, a charge with its tier detail comes out.

Pure. A charge is exact; rounding to a cent happens once, at the line. Every model of `catalog.prices` has a total for
a quantity since the start of the billing period, tier by tier; what a slice of the period costs is the difference of
two totals, so cutting a period changes no amount.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal
from typing import Any

from msgspec import Struct

from catalog.money import EXACT, ONE, ZERO, add, divide, multiply, plus, restored, subtract
from catalog.prices import (
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    MultiplierTier,
    Package,
    Percentage,
    PercentTier,
    PerUnit,
    Price,
    Tier,
    Tiered,
    Volume,
    as_fraction,
    looks_at_each_event,
)

ROUNDINGS = {"up": ROUND_UP, "down": ROUND_DOWN, "half_up": ROUND_HALF_UP}


class Events(Struct, frozen=True, gc=False):
    """The events behind a quantity, where the price looks at each: how many, and (if it looks that far) their values
    in order of time.
    """

    count: int = 0
    values: tuple[Decimal, ...] = ()

    def __add__(self, later: "Events") -> "Events":
        return Events(self.count + later.count, self.values + later.values)


NO_EVENTS = Events()


class TierCharge(Struct, frozen=True, gc=False):
    """What one tier contributes: the quantity in it, the price of a unit, the flat part, and their exact amount."""

    quantity: Decimal
    unit_amount: Decimal
    flat_amount: Decimal
    amount: Decimal


class Charge(Struct, frozen=True, gc=False):
    """The exact amount for a quantity, and the tiers it came from (one for an untiered price)."""

    amount: Decimal
    tiers: tuple[TierCharge, ...]

    @property
    def unit_amount(self) -> Decimal | None:
        """The one price of a unit, where there is one: the whole quantity at the same price and no flat part."""
        found = None
        for tier in self.tiers:
            if tier.flat_amount or (tier.quantity and found is not None and tier.unit_amount != found):
                return None
            if tier.quantity:
                found = tier.unit_amount
        return found


def charge(
    price: Price,
    quantity: Decimal,
    prior: Decimal | None = None,
    events: Events = NO_EVENTS,
    prior_events: Events = NO_EVENTS,
) -> Charge:
    """The charge for `quantity` more units after `prior` units of the same billing period (None: nothing charged
    before).

    It is the charge for all units so far less the charge for the prior ones, tier by tier, so that a period cut
    anywhere adds up to the period charged at once. A total below zero is charged as zero.
    """
    if prior is None:
        tiers = tier_charges(price, quantity, events)
    else:
        # Zero units charged before still hold the flat fee of the first tier: only None means the fee is still due.
        now = tier_charges(price, add([prior, quantity]), prior_events + events)
        then = tier_charges(price, prior, prior_events)
        tiers = [_less(*pair) for pair in zip(now, then, strict=True)]
    used = tuple([tier for tier in tiers if tier.quantity or tier.amount])
    return Charge(add([tier.amount for tier in used]), used)


def charges_without_usage(price: Price) -> bool:
    """Whether a period with no usage still has a line: a flat price, a flat fee in the first tier, or a minimum."""
    if price.minimum:
        return True
    match price:
        case Flat():
            return True
        case Graduated(tiers=tiers) | Volume(tiers=tiers):
            return tiers[0].flat_amount != ZERO
        case GraduatedPercentage(tiers=percent_tiers):
            return percent_tiers[0].flat_amount != ZERO
        case Tiered(price=inner):
            return charges_without_usage(inner)
        case _:
            return False


def _less(now: TierCharge, then: TierCharge) -> TierCharge:
    return TierCharge(
        quantity=subtract(now.quantity, then.quantity),
        unit_amount=now.unit_amount,
        flat_amount=subtract(now.flat_amount, then.flat_amount),
        amount=subtract(now.amount, then.amount),
    )


def tier_charges(price: Price, total: Decimal, events: Events = NO_EVENTS) -> list[TierCharge]:
    """The charge for a total since the start of the billing period, one entry per tier of the price, unused tiers as
    zeros.
    """
    return _TOTALS[type(price)](price, max(total, ZERO), events)


def _per_unit(price: PerUnit, quantity: Decimal, _: Events) -> list[TierCharge]:
    return [_units(_beyond(quantity, price.free_units), price.unit_amount)]


def _package(price: Package, quantity: Decimal, _: Events) -> list[TierCharge]:
    return [_units(started_packages(_beyond(quantity, price.free_units), price.size), price.amount)]


def _flat(price: Flat, _quantity: Decimal, _: Events) -> list[TierCharge]:
    return [TierCharge(ZERO, ZERO, price.amount, price.amount)]


def _dynamic(price: Dynamic, quantity: Decimal, _: Events) -> list[TierCharge]:
    return [_units(quantity, price.multiplier)]


def _graduated(price: Graduated, quantity: Decimal, _: Events) -> list[TierCharge]:
    return _by_band(price.tiers, quantity)


def _graduated_percentage(price: GraduatedPercentage, quantity: Decimal, _: Events) -> list[TierCharge]:
    return _by_band([_as_tier(tier) for tier in price.tiers], quantity)


def _volume(price: Volume, quantity: Decimal, _: Events) -> list[TierCharge]:
    reached = next(index for index, tier in enumerate(price.tiers) if tier.up_to is None or quantity <= tier.up_to)
    return [_in_tier(tier, quantity) if index == reached else UNUSED for index, tier in enumerate(price.tiers)]


def _percentage(price: Percentage, quantity: Decimal, events: Events) -> list[TierCharge]:
    rate = as_fraction(price.percent)
    if not looks_at_each_event(price):
        return [_units(quantity, rate, multiply(price.fixed_amount, Decimal(events.count)))]
    charges = _event_charges(price, rate, events.values)
    total = add(each.amount for each in charges)
    return [TierCharge(add(each.quantity for each in charges), rate, add(each.flat_amount for each in charges), total)]


def _event_charges(price: Percentage, rate: Decimal, values: Sequence[Decimal]) -> list[TierCharge]:
    """Each event priced alone: its part past the free allowance at the percentage, its fixed fee, within its bounds."""
    charges = []
    running = ZERO
    for number, value in enumerate(values):
        left = _free_left(price, number, running)
        running = add([running, value])
        # An event worth nothing is free while the allowance lasts, not after it.
        if left > 0 and value <= left:
            charges.append(UNUSED)
            continue
        free = max(min(value, left), ZERO)
        one = _units(subtract(value, free), rate, price.fixed_amount)
        charges.append(TierCharge(one.quantity, rate, price.fixed_amount, _between(price, one.amount)))
    return charges


def _free_left(price: Percentage, number: int, running: Decimal) -> Decimal:
    """How much of event `number` (from 0) may be free, after events worth `running`."""
    if not price.free_events and not price.free_amount:
        return ZERO
    if price.free_events and number >= price.free_events:
        return ZERO
    return max(subtract(price.free_amount, running), ZERO) if price.free_amount else Decimal("Infinity")


def _between(price: Percentage, amount: Decimal) -> Decimal:
    if price.minimum_per_event is not None:
        amount = max(amount, price.minimum_per_event)
    return amount if price.maximum_per_event is None else min(amount, price.maximum_per_event)


def _tiered(price: Tiered, quantity: Decimal, events: Events) -> list[TierCharge]:
    """The inner price's total, band by band of the shares: what the units of a band add to it, times its multiplier."""
    if isinstance(price.price, Percentage) and looks_at_each_event(price):
        return [_tiered_events(price.price, price.shares, events.values)]
    charges = []
    floor: Decimal | None = None
    for share in price.shares:
        top = quantity if share.up_to is None else min(quantity, share.up_to)
        reached = tier_charges(price.price, max(top, floor or ZERO), events)
        before = [UNUSED] * len(reached) if floor is None else tier_charges(price.price, floor, events)
        charges += [_times(_less(*pair), share.multiplier) for pair in zip(reached, before, strict=True)]
        floor = max(top, floor or ZERO)
    return charges


def _tiered_events(price: Percentage, shares: Sequence[MultiplierTier], values: Sequence[Decimal]) -> TierCharge:
    """Events priced one by one, each times the multiplier of the band its value falls in; one that crosses a bound
    times their mean, weighted by its value in each.
    """
    rate = as_fraction(price.percent)
    running = ZERO
    charges = []
    for value, one in zip(values, _event_charges(price, rate, values), strict=True):
        charges.append(_times(one, _mean_multiplier(shares, running, value)))
        running = add([running, value])
    return TierCharge(
        quantity=add(each.quantity for each in charges),
        unit_amount=rate,
        flat_amount=add(each.flat_amount for each in charges),
        amount=add(each.amount for each in charges),
    )


def _mean_multiplier(shares: Sequence[MultiplierTier], start: Decimal, value: Decimal) -> Decimal:
    top = add([start, value])
    if value <= 0:
        return next(share.multiplier for share in shares if share.up_to is None or top <= share.up_to)
    weighted = []
    for share in shares:
        end = top if share.up_to is None else min(top, max(share.up_to, start))
        weighted.append(multiply(subtract(end, start), share.multiplier))
        start = end
    return divide(add(weighted), value)


def _times(tier: TierCharge, multiplier: Decimal) -> TierCharge:
    return TierCharge(
        quantity=tier.quantity,
        unit_amount=multiply(tier.unit_amount, multiplier),
        flat_amount=multiply(tier.flat_amount, multiplier),
        amount=restored(multiply(tier.amount, multiplier)),
    )


def started_packages(quantity: Decimal, size: Decimal) -> Decimal:
    """How many packages of `size` are needed for a quantity; a started one counts whole."""
    # Not by `divide`: a quotient rounded at 40 places could fall onto the whole number it is just above.
    whole, rest = EXACT.divmod(quantity, size)
    return add([whole, ONE]) if rest else whole


def _beyond(quantity: Decimal, free_units: Decimal) -> Decimal:
    return max(subtract(quantity, free_units), ZERO)


def _units(quantity: Decimal, unit_amount: Decimal, flat_amount: Decimal = ZERO) -> TierCharge:
    return _priced(quantity, quantity, unit_amount, flat_amount)


def _in_tier(tier: Tier, quantity: Decimal) -> TierCharge:
    counted = quantity if tier.size is None else started_packages(quantity, tier.size)
    return _priced(quantity, counted, tier.unit_amount, tier.flat_amount)


def _priced(quantity: Decimal, counted: Decimal, unit_amount: Decimal, flat_amount: Decimal) -> TierCharge:
    amount = plus(restored(multiply(counted, unit_amount)), flat_amount)
    return TierCharge(quantity, unit_amount, flat_amount, amount)


UNUSED = TierCharge(ZERO, ZERO, ZERO, ZERO)


def _as_tier(tier: PercentTier) -> Tier:
    return Tier(up_to=tier.up_to, unit_amount=as_fraction(tier.percent), flat_amount=tier.flat_amount)


def _by_band(tiers: Sequence[Tier], quantity: Decimal) -> list[TierCharge]:
    charges = []
    floor = ZERO
    for index, tier in enumerate(tiers):
        # The first tier is reached even by a quantity of zero (its flat fee is due), any other by the first unit past
        # the bound.
        if index and quantity <= floor:
            charges.append(UNUSED)
            continue
        top = quantity if tier.up_to is None else min(quantity, tier.up_to)
        charges.append(_in_tier(tier, subtract(top, floor)))
        floor = tier.up_to if tier.up_to is not None else quantity
    return charges


_TOTALS: dict[type, Callable[[Any, Decimal, Events], list[TierCharge]]] = {
    PerUnit: _per_unit,
    Package: _package,
    Graduated: _graduated,
    Volume: _volume,
    Flat: _flat,
    Percentage: _percentage,
    GraduatedPercentage: _graduated_percentage,
    Dynamic: _dynamic,
    Tiered: _tiered,
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a metered quantity becomes a billed one: times `multiply_by`, divided by `divide_by`, then rounded.

    `rounding` is up, down or half_up to `places` decimals, or empty for none.
    """

    multiply_by: Decimal = ONE
    divide_by: Decimal = ONE
    rounding: str = ""
    places: int = 0

    def convert(self, quantity: Decimal) -> Decimal:
        converted = divide(multiply(quantity, self.multiply_by), self.divide_by)
        if not self.rounding:
            return converted
        # 2/3 of a month of 744 hours are 496 of them, not the 496.00…02 that would be rounded up.
        return restored(converted).quantize(ONE.scaleb(-self.places), ROUNDINGS[self.rounding], context=EXACT)
