"""Amounts, quantities and instants as results show them. Pure."""

from datetime import UTC, datetime
from decimal import Decimal

from billing_project.decimals import plain
from catalog.money import EXACT, minor_unit


def money(amount: Decimal, currency: str) -> str:
    """An amount in major units with all places of the currency, and more where it has more."""
    unit = minor_unit(currency)
    text = plain(amount)
    places = -int(unit.as_tuple().exponent)
    if len(text.partition(".")[2]) >= places:
        return text
    return f"{amount.quantize(unit, context=EXACT):f}"


def quantity(amount: Decimal) -> str:
    return "0" if not amount else plain(amount)


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
