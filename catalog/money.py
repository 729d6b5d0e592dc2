"""Rounding and splitting of money: the only places where a cent is decided.

Pure. Amounts are Decimals in major units (dollars, not cents) of a currency named by its ISO 4217 code.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal, Inexact, localcontext
from functools import cache, reduce

import moneyed

ZERO = Decimal(0)
ONE = Decimal(1)

# Wide enough that sums and products of anything the meters accept are exact; only quotients are ever rounded, by
# `divide`.
EXACT = Context(prec=400, rounding=ROUND_HALF_UP)
QUOTIENT_UNIT = Decimal("1e-40")
# Where amounts made from quotients are still known: what is priced from one, and what became of it in the end.
RESTORED_UNIT = Decimal("1e-30")
KNOWN_UNIT = Decimal("1e-25")


@cache
def minor_unit(currency: str) -> Decimal:
    """The smallest amount of a currency: 0.01 USD, 1 JPY, 0.001 KWD. Raises ValueError for an unknown code."""
    try:
        places = len(str(moneyed.get_currency(currency).sub_unit)) - 1
    except moneyed.CurrencyDoesNotExist as error:
        raise ValueError(f"{currency!r} is not an ISO 4217 currency code") from error
    return ONE.scaleb(-places)


def round_amount(amount: Decimal, currency: str) -> Decimal:
    """Round half-up (away from zero) to the currency's minor unit: the rule for every line amount."""
    # What quotients lost on the way must not decide over half a cent.
    known = amount.quantize(KNOWN_UNIT, ROUND_HALF_UP, context=EXACT)
    return known.quantize(minor_unit(currency), ROUND_HALF_UP, context=EXACT)


def restored(amount: Decimal) -> Decimal:
    """An amount as it was before a quotient in it was rounded at 40 places: 160 seconds at 0.1125 an hour are 0.005,
    not 0.00499…9 that would lose its cent.
    """
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent <= -40:
        return amount.quantize(RESTORED_UNIT, ROUND_HALF_UP, context=EXACT)
    return amount


def whole_units(amount: Decimal, currency: str) -> Decimal:
    """What an amount can pay: its whole minor units, the rest cut off."""
    return amount.quantize(minor_unit(currency), ROUND_DOWN, context=EXACT)


# The context's own functions: called a hundred times for an invoice, a function around each is a tenth of a statement.
plus, subtract, multiply, negate = EXACT.add, EXACT.subtract, EXACT.multiply, EXACT.minus


def add(amounts: Iterable[Decimal]) -> Decimal:
    return reduce(EXACT.add, amounts, ZERO)


def divide(amount: Decimal, by: Decimal) -> Decimal:
    """The quotient: exact where it ends, else rounded half-up at 40 decimal places. Raises ZeroDivisionError."""
    if by == ONE:
        return amount
    context = EXACT.copy()
    context.clear_flags()
    quotient = context.divide(amount, by)
    return quotient.quantize(QUOTIENT_UNIT, context=context) if context.flags[Inexact] else quotient


def split(amount: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """Split an amount in proportion to weights by largest remainder, so the parts always add up to it.

    `amount` must be whole minor units; weights must not be negative and not all zero (ValueError). Of equal
    remainders the earlier part gets the odd unit.
    """
    unit = minor_unit(currency)
    total = add(weights)
    if total <= 0 or min(weights) < 0:
        raise ValueError("split needs weights that are not negative and not all zero")
    with localcontext(EXACT):
        if amount % unit:
            raise ValueError(f"{amount} is not a whole number of {currency} minor units")
        shares = [divide(amount * weight, total) for weight in weights]
        parts = [share.quantize(unit, ROUND_DOWN) for share in shares]
        left = int((amount - sum(parts, ZERO)) / unit)
        remainders = sorted(range(len(parts)), key=lambda i: (-abs(shares[i] - parts[i]), i))
        for index in remainders[: abs(left)]:
            parts[index] += unit if left > 0 else -unit
    return parts
