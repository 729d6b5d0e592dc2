"""Amounts, quantities and prices as people read them. Pure."""

from collections.abc import Iterator
from decimal import Decimal

from billing_project.decimals import plain
from catalog.money import EXACT, minor_unit, round_amount
from catalog.prices import (
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PercentTier,
    PerUnit,
    Price,
    Tier,
    Tiered,
    Volume,
    WrittenPrice,
)


def exact_text(value: Decimal) -> str:
    """Every digit, with thousands separated: 5,460,117,900 or 0.00000005."""
    whole, _, fraction = plain(value).partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}" + (f".{fraction}" if fraction else "")


def amount_text(amount: Decimal, currency: str) -> str:
    """An amount at the minor unit of its currency: 1,234.50 USD, 1,235 JPY."""
    return f"{round_amount(amount, currency):,f} {currency}"


def unit_price_text(amount: Decimal, currency: str) -> str:
    """A price at full precision, with at least the currency's own places: 2.50 USD, 0.00000005 USD."""
    unit = minor_unit(currency)
    if amount == amount.quantize(unit, context=EXACT):
        return amount_text(amount, currency)
    return f"{exact_text(amount)} {currency}"


def price_text(price: Price, currency: str) -> str:
    """A price in one line."""
    if isinstance(price, Tiered):
        shares = "; ".join(f"{_band(share.up_to)} × {exact_text(share.multiplier)}" for share in price.shares)
        return f"{price_text(price.price, currency)}; {shares}"
    return _model_text(price, currency) + "".join(_bounds(price.minimum, price.maximum, currency))


def _model_text(price: WrittenPrice, currency: str) -> str:
    match price:
        case PerUnit(unit_amount, free_units):
            return f"{unit_price_text(unit_amount, currency)} per unit{_free(free_units)}"
        case Package(size, amount, free_units):
            return f"{unit_price_text(amount, currency)} per started {exact_text(size)}{_free(free_units)}"
        case Flat(amount):
            return f"{unit_price_text(amount, currency)} per period"
        case Graduated(tiers):
            return f"Graduated: {'; '.join(_tier(tier, currency) for tier in tiers)}"
        case Volume(tiers):
            return f"Volume: {'; '.join(_tier(tier, currency) for tier in tiers)}"
        case Percentage():
            return _percentage(price, currency)
        case GraduatedPercentage(percent_tiers):
            return f"Graduated: {'; '.join(_share(tier, currency) for tier in percent_tiers)}"
        case Dynamic(multiplier):
            return f"The metered amount × {exact_text(multiplier)}"


def _free(units: Decimal) -> str:
    return f", first {exact_text(units)} free" if units else ""


def _bounds(least: Decimal | None, most: Decimal | None, currency: str, of: str = "") -> Iterator[str]:
    if least is not None:
        yield f", at least {unit_price_text(least, currency)}{of}"
    if most is not None:
        yield f", at most {unit_price_text(most, currency)}{of}"


def _tier(tier: Tier, currency: str) -> str:
    each = unit_price_text(tier.unit_amount, currency)
    each += f" per started {exact_text(tier.size)}" if tier.size else ""
    return f"{_band(tier.up_to)} {each}{_plus(tier.flat_amount, currency)}"


def _share(tier: PercentTier, currency: str) -> str:
    return f"{_band(tier.up_to)} {exact_text(tier.percent)}%{_plus(tier.flat_amount, currency)}"


def _band(up_to: Decimal | None) -> str:
    return "beyond" if up_to is None else f"up to {exact_text(up_to)}"


def _plus(amount: Decimal, currency: str) -> str:
    return f" + {unit_price_text(amount, currency)}" if amount else ""


def _percentage(price: Percentage, currency: str) -> str:
    each = f" + {unit_price_text(price.fixed_amount, currency)} per event" if price.fixed_amount else ""
    free = [
        f"{exact_text(price.free_events)} events" if price.free_events else "",
        unit_price_text(price.free_amount, currency) if price.free_amount else "",
    ]
    first = f", first {' or '.join(filter(None, free))} free" if any(free) else ""
    bounds = _bounds(price.minimum_per_event, price.maximum_per_event, currency, " per event")
    return f"{exact_text(price.percent)}%{each}{first}{''.join(bounds)}"
