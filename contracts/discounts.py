"""Discounts: percentages compound in the order they are written, then amounts; nothing falls below zero. Pure.

A discount is worked out on the rounded charges it is about, so that it can be checked from the statement, and is split
over them by largest remainder: one discount line per charge.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

from billing_project.decimals import plain
from catalog.money import ZERO, add, multiply, negate
from catalog.prices import as_fraction
from contracts.deal import Discount
from contracts.lines import Payable, adjustment, parts_of, rounded
from contracts.scopes import covers

DISCOUNTED = ("usage", "subscription", "percent_of_spend")


def apply_discounts(charges: Sequence[Payable], discounts: Sequence[Discount], currency: str) -> list[Payable]:
    """The charges with a discount line for every discount that is about them."""
    result = list(charges)
    for discount in sorted(discounts, key=lambda each: each.percent is None):
        units = {payable.line.unit for payable in result if discount.percent is not None} or {""}
        for unit in sorted(units):
            _discount(result, discount, currency, unit)
    return result


def discount_name(discount: Discount) -> str:
    if discount.name:
        return discount.name
    return "Discount" if discount.percent is None else f"Discount {plain(discount.percent)}%"


def _discount(charges: list[Payable], discount: Discount, currency: str, unit: str) -> None:
    meant = [
        index for index, payable in enumerate(charges) if payable.line.unit == unit and _is_about(discount, payable)
    ]
    # A charge below zero (a quantity that fell) is discounted like any other; it must not make the rest cheaper.
    _take(charges, [index for index in meant if charges[index].net > 0], discount, currency, unit)
    if discount.percent is not None:
        _take(charges, [index for index in meant if charges[index].net < 0], discount, currency, unit)


def _take(charges: list[Payable], meant: Sequence[int], discount: Discount, currency: str, unit: str) -> None:
    nets = [charges[index].net for index in meant]
    if not nets:
        return
    off = rounded(_off(discount)(add(nets)), currency, unit)
    if not off:
        return
    for index, part in zip(meant, parts_of(negate(off), [net.copy_abs() for net in nets], currency, unit), strict=True):
        if part:
            line = adjustment("discount", discount_name(discount), charges[index], part)
            charges[index] = charges[index].with_adjustment(line)


def _off(discount: Discount) -> Callable[[Decimal], Decimal]:
    if discount.percent is not None:
        fraction = as_fraction(discount.percent)
        return lambda total: multiply(total, fraction)
    amount = discount.amount or ZERO
    return lambda total: min(total, amount)


def _is_about(discount: Discount, payable: Payable) -> bool:
    """Without a scope: usage and recurring fees, not one-time fees that were negotiated by themselves."""
    line = payable.line
    if line.kind not in DISCOUNTED and not (line.kind == "fixed" and discount.scope.products):
        return False
    return discount.holds_at(line.period.starting_at) and covers(discount.scope, payable.product, line.group)
