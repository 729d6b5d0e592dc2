"""Amounts, quantities and prices as people read them. Pure."""

from decimal import Decimal

from billing_project.decimals import plain
from catalog.money import EXACT, minor_unit, round_amount
from catalog.pricing import Flat, Graduated, Package, PerUnit, Price, Tier, Volume


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
    match price:
        case PerUnit(unit_amount, free_units):
            return f"{unit_price_text(unit_amount, currency)} per unit{_free(free_units)}"
        case Package(size, amount, free_units):
            each = f"{unit_price_text(amount, currency)} per started {exact_text(size)}"
            return f"{each}{_free(free_units)}"
        case Flat(amount):
            return f"{unit_price_text(amount, currency)} per period"
        case Graduated(tiers):
            return f"Graduated: {_tiers(tiers, currency)}"
        case Volume(tiers):
            return f"Volume: {_tiers(tiers, currency)}"


def _free(units: Decimal) -> str:
    return f", first {exact_text(units)} free" if units else ""


def _tiers(tiers: tuple[Tier, ...], currency: str) -> str:
    return "; ".join(_tier(tier, currency) for tier in tiers)


def _tier(tier: Tier, currency: str) -> str:
    band = "any more" if tier.up_to is None else f"up to {exact_text(tier.up_to)}"
    each = unit_price_text(tier.unit_amount, currency)
    each += f" per started {exact_text(tier.size)}" if tier.size else ""
    return f"{band} {each}" + (f" + {unit_price_text(tier.flat_amount, currency)}" if tier.flat_amount else "")
