"""Template filters for money and quantities."""

from decimal import Decimal

from django import template

from catalog.price_text import amount_text, exact_text, unit_price_text

register = template.Library()


@register.filter
def exact(value: Decimal | str) -> str:
    """`{{ line.quantity|exact }}`"""
    return exact_text(Decimal(value))


@register.filter
def number(value: Decimal | str, currency: object) -> str:
    """An amount where the currency stands in the heading."""
    return amount_text(Decimal(value), str(currency)).rpartition(" ")[0]


@register.filter
def amount(value: Decimal | str, currency: object) -> str:
    """`{{ line.amount|amount:"USD" }}`"""
    return amount_text(Decimal(value), str(currency))


@register.filter
def unit_price(value: Decimal | str, currency: object) -> str:
    """`{{ line.unit_amount|unit_price:"USD" }}`"""
    return unit_price_text(Decimal(value), str(currency))
