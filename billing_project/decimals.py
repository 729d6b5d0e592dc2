"""How decimals are written for people and files. Pure."""

from decimal import Decimal


def plain(value: Decimal) -> str:
    """A decimal with no exponent and no trailing zeros, every other digit kept: 5E-8 is `0.00000005`."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
