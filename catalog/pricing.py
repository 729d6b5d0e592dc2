"""Price models: a quantity goes in, a charge with its tier detail comes out.

Pure. A charge is exact; rounding to a cent happens once, at the line. Prices as people and files write them
(`{"model": "per_unit", "unit_amount": "0.002"}`) are read and written by `catalog.price_format`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal

from catalog.money import EXACT, ONE, ZERO, add, divide, multiply, subtract


@dataclass(frozen=True, slots=True)
class Tier:
    """A band of quantity up to and including `up_to` (None: no bound); `size` makes it count started packages of that
    many.
    """

    up_to: Decimal | None
    unit_amount: Decimal = ZERO
    flat_amount: Decimal = ZERO
    size: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PerUnit:
    """Every unit at one price, after the free units."""

    unit_amount: Decimal
    free_units: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Package:
    """Started packages of `size` units at `amount` each, after the free units."""

    size: Decimal
    amount: Decimal
    free_units: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Graduated:
    """Each unit at the price of its own tier."""

    tiers: tuple[Tier, ...]


@dataclass(frozen=True, slots=True)
class Volume:
    """All units at the price of the tier the total falls in."""

    tiers: tuple[Tier, ...]


@dataclass(frozen=True, slots=True)
class Flat:
    """One amount per billing period, whatever the quantity."""

    amount: Decimal


ROUNDINGS = {"up": ROUND_UP, "down": ROUND_DOWN, "half_up": ROUND_HALF_UP}

Price = PerUnit | Package | Graduated | Volume | Flat


@dataclass(frozen=True, slots=True)
class TierCharge:
    """What one tier contributes: the quantity in it, the price of a unit, the flat part, and their exact amount."""

    quantity: Decimal
    unit_amount: Decimal
    flat_amount: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Charge:
    """The exact amount for a quantity, and the tiers it came from (one for an untiered price)."""

    amount: Decimal
    tiers: tuple[TierCharge, ...]

    @property
    def unit_amount(self) -> Decimal | None:
        """The one price of a unit, where there is one: the whole quantity at the same price and no flat part."""
        prices = {tier.unit_amount for tier in self.tiers if tier.quantity}
        flat = any(tier.flat_amount for tier in self.tiers)
        return prices.pop() if len(prices) == 1 and not flat else None


def charge(price: Price, quantity: Decimal, prior: Decimal | None = None) -> Charge:
    """The charge for `quantity` more units after `prior` units of the same billing period (None: nothing charged
    before).

    It is the charge for all units so far less the charge for the prior ones, tier by tier, so that a period cut
    anywhere adds up to the period charged at once. A total below zero is charged as zero.
    """
    tiers = _tiers(price, add([prior or ZERO, quantity]))
    # Zero units charged before still hold the flat fee of the first tier: only None means that the fee is still due.
    if prior is not None:
        tiers = [_less(now, then) for now, then in zip(tiers, _tiers(price, prior), strict=True)]
    used = tuple(tier for tier in tiers if tier.quantity or tier.amount)
    return Charge(add(tier.amount for tier in used), used)


def charges_without_usage(price: Price) -> bool:
    """Whether a period with no usage still has a line: a flat price, or a flat fee in the first tier."""
    match price:
        case Flat():
            return True
        case Graduated(tiers) | Volume(tiers):
            return tiers[0].flat_amount != ZERO
        case _:
            return False


def _less(now: TierCharge, then: TierCharge) -> TierCharge:
    return TierCharge(
        quantity=subtract(now.quantity, then.quantity),
        unit_amount=now.unit_amount,
        flat_amount=subtract(now.flat_amount, then.flat_amount),
        amount=subtract(now.amount, then.amount),
    )


def _tiers(price: Price, total: Decimal) -> list[TierCharge]:
    """The charge for a total, one entry per tier of the price, unused tiers as zeros."""
    quantity = max(total, ZERO)
    match price:
        case PerUnit(unit_amount, free_units):
            return [_units(_beyond(quantity, free_units), unit_amount)]
        case Package(size, amount, free_units):
            return [_units(started_packages(_beyond(quantity, free_units), size), amount)]
        case Flat(amount):
            return [TierCharge(ZERO, ZERO, amount, amount)]
        case Graduated(tiers):
            return _graduated(tiers, quantity)
        case Volume(tiers):
            return _volume(tiers, quantity)


def started_packages(quantity: Decimal, size: Decimal) -> Decimal:
    """How many packages of `size` are needed for a quantity; a started one counts whole."""
    # Not by `divide`: a quotient rounded at 40 places could fall onto the whole number it is just above.
    whole, rest = EXACT.divmod(quantity, size)
    return add([whole, ONE]) if rest else whole


def _beyond(quantity: Decimal, free_units: Decimal) -> Decimal:
    return max(subtract(quantity, free_units), ZERO)


def _units(quantity: Decimal, unit_amount: Decimal, flat_amount: Decimal = ZERO) -> TierCharge:
    return TierCharge(quantity, unit_amount, flat_amount, add([multiply(quantity, unit_amount), flat_amount]))


def _in_tier(tier: Tier, quantity: Decimal) -> TierCharge:
    if tier.size is None:
        return _units(quantity, tier.unit_amount, tier.flat_amount)
    packages = multiply(started_packages(quantity, tier.size), tier.unit_amount)
    return TierCharge(quantity, tier.unit_amount, tier.flat_amount, add([packages, tier.flat_amount]))


UNUSED = TierCharge(ZERO, ZERO, ZERO, ZERO)


def _graduated(tiers: Sequence[Tier], quantity: Decimal) -> list[TierCharge]:
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


def _volume(tiers: Sequence[Tier], quantity: Decimal) -> list[TierCharge]:
    reached = next(index for index, tier in enumerate(tiers) if tier.up_to is None or quantity <= tier.up_to)
    return [_in_tier(tier, quantity) if index == reached else UNUSED for index, tier in enumerate(tiers)]


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
        return converted.quantize(ONE.scaleb(-self.places), ROUNDINGS[self.rounding], context=EXACT)
