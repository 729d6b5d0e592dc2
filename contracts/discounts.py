"""Discounts: percentages compound in the order they are written, then amounts; nothing falls below zero. Pure.

A discount is worked out on the rounded charges it is about, so that it can be checked from the statement, and is split
over them by largest remainder: one discount line per charge.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from billing_project.decimals import plain
from catalog.money import ZERO, add, divide, multiply, negate, round_amount, split
from catalog.prices import as_fraction
from contracts.deal import Discount
from contracts.lines import Payable, adjustment, parts_of, rounded
from contracts.scopes import covers
from contracts.units import UnitRate, in_currency, rate_at

DISCOUNTED = ("usage", "subscription", "percent_of_spend")
Units = Mapping[str, Sequence[UnitRate]]


def apply_discounts(
    charges: Sequence[Payable], discounts: Sequence[Discount], currency: str, units: Units | None = None
) -> list[Payable]:
    """The charges with a discount line for every discount that is about them. `units`: what pricing units cost."""
    result = list(charges)
    for discount in discounts:
        if discount.percent is not None:
            _take_percent(result, discount, discount.percent, currency)
    for discount in discounts:
        if discount.amount is not None:
            _take_amount(result, discount, discount.amount, currency, units or {})
    return result


def discount_name(discount: Discount) -> str:
    if discount.name:
        return discount.name
    return "Discount" if discount.percent is None else f"Discount {plain(discount.percent)}%"


def _take_percent(charges: list[Payable], discount: Discount, percent: Decimal, currency: str) -> None:
    fraction = as_fraction(percent)
    for unit in sorted({payable.line.unit for payable in charges}):
        meant = [index for index in _meant(charges, discount) if charges[index].line.unit == unit]
        # A charge below zero (a quantity that fell) is discounted like any other; it must not make the rest cheaper.
        for sign in (1, -1):
            signed = [index for index in meant if charges[index].net * sign > 0]
            nets = [charges[index].net for index in signed]
            off = rounded(multiply(add(nets), fraction), currency, unit)
            if off:
                parts = parts_of(negate(off), [net.copy_abs() for net in nets], currency, unit)
                _note(charges, discount, zip(signed, parts, strict=True))


def _take_amount(charges: list[Payable], discount: Discount, amount: Decimal, currency: str, units: Units) -> None:
    """An amount is in the currency; off a charge in a pricing unit comes what it is worth in that unit."""
    worth = {index: _worth(charges[index], currency, units) for index in _meant(charges, discount)}
    worth = {index: net for index, net in worth.items() if net > 0}
    off = round_amount(min(add(worth.values()), amount), currency)
    if not off:
        return
    parts = split(off, list(worth.values()), currency)
    _note(
        charges,
        discount,
        ((index, _off(charges[index], part, units)) for index, part in zip(worth, parts, strict=True)),
    )


def _meant(charges: Sequence[Payable], discount: Discount) -> list[int]:
    return [index for index, payable in enumerate(charges) if _is_about(discount, payable)]


def _worth(payable: Payable, currency: str, units: Units) -> Decimal:
    """What a charge comes to in whole minor units of the currency."""
    line = payable.line
    return round_amount(in_currency(payable.net, line.unit, line.period.starting_at, units), currency)


def _off(payable: Payable, part: Decimal, units: Units) -> Decimal:
    """What an amount takes off a charge, in the unit of the charge."""
    line = payable.line
    if not line.unit:
        return negate(part)
    return negate(min(divide(part, rate_at(line.unit, line.period.starting_at, units)), payable.net))


def _note(charges: list[Payable], discount: Discount, parts: Iterable[tuple[int, Decimal]]) -> None:
    for index, part in parts:
        if part != ZERO:
            line = adjustment("discount", discount_name(discount), charges[index], part)
            charges[index] = charges[index].with_adjustment(line)


def _is_about(discount: Discount, payable: Payable) -> bool:
    """Without a scope: usage and recurring fees, not one-time fees that were negotiated by themselves."""
    line = payable.line
    if line.kind not in DISCOUNTED and not (line.kind == "fixed" and discount.scope.products):
        return False
    return discount.holds_at(line.period.starting_at) and covers(discount.scope, payable.product, line.group)
