"""How much quantity an amount pays for, where a price is a plain sum of bands. Pure."""

from decimal import Decimal

from catalog.money import ZERO, add, divide, multiply, subtract
from catalog.prices import (
    Dynamic,
    Graduated,
    GraduatedPercentage,
    Percentage,
    PerUnit,
    Price,
    Tiered,
    as_fraction,
    looks_at_each_event,
)

Band = tuple[Decimal | None, Decimal]


def bands(price: Price) -> tuple[Band, ...] | None:
    """The price of a unit in each band of quantity (up to a bound, None for the last); None where the charge is not a
    plain sum of units: started packages, flat fees, volume prices, fees per event.
    """
    match price:
        case PerUnit(unit_amount, free_units):
            return ((free_units, ZERO), (None, unit_amount)) if free_units else ((None, unit_amount),)
        case Dynamic(multiplier):
            return ((None, multiplier),)
        case Percentage(percent=percent, fixed_amount=fixed):
            return None if fixed or looks_at_each_event(price) else ((None, as_fraction(percent)),)
        case Graduated(tiers):
            plain = not any(tier.flat_amount or tier.size for tier in tiers)
            return tuple((tier.up_to, tier.unit_amount) for tier in tiers) if plain else None
        case GraduatedPercentage(shares):
            plain = not any(share.flat_amount for share in shares)
            return tuple((share.up_to, as_fraction(share.percent)) for share in shares) if plain else None
        case Tiered():
            return _tiered_bands(price)
        case _:
            return None


def quantity_for(price_bands: tuple[Band, ...], amount: Decimal, prior: Decimal, most: Decimal) -> Decimal:
    """The largest quantity, up to `most`, that costs no more than an amount after `prior` units."""
    bought = ZERO
    for up_to, unit_amount in price_bands:
        room = subtract(most, bought)
        if up_to is not None:
            room = min(room, max(subtract(subtract(up_to, prior), bought), ZERO))
        cost = multiply(room, unit_amount)
        if cost > amount:
            return add([bought, divide(amount, unit_amount)])
        bought = add([bought, room])
        amount = subtract(amount, cost)
    return bought


def _tiered_bands(price: Tiered) -> tuple[Band, ...] | None:
    inner = bands(price.price)
    if inner is None:
        return None
    edges = sorted({up_to for up_to, _ in inner if up_to is not None} | {s.up_to for s in price.shares if s.up_to})
    return tuple((edge, _unit_at(inner, price, edge)) for edge in [*edges, None])


def _unit_at(inner: tuple[Band, ...], price: Tiered, edge: Decimal | None) -> Decimal:
    """The price of the last unit up to an edge (None: of any unit past them all)."""
    unit = next(amount for up_to, amount in inner if up_to is None or (edge is not None and edge <= up_to))
    factor = next(s.multiplier for s in price.shares if s.up_to is None or (edge is not None and edge <= s.up_to))
    return multiply(unit, factor)
