"""The least and the most a product costs per line and billing period (`minimum` and `maximum` of its price). Pure.

They come after discounts. A maximum takes the excess off the charges that go past it, in order of time; a minimum adds
one line for what is missing, also where nothing was used.
"""

from collections.abc import Sequence
from decimal import Decimal

from msgspec.structs import replace

from catalog.money import ZERO, add, negate, subtract
from contracts.lines import Payable, adjustment, rounded
from contracts.rating import by_group


def apply_bounds(charges: Sequence[Payable], currency: str) -> list[Payable]:
    """The charges within their bounds."""
    if not any(_bounded(payable) for payable in charges):
        return list(charges)
    result: list[Payable] = []
    for group in by_group(charges).values():
        if any(_bounded(payable) for payable in group):
            group = _with_minimum(_within_maximum(group, currency), currency)
            # A price that is charged for nothing used has no usage to show but its minimum.
            group = [payable for payable in group if payable.line.amount or payable.line.quantity]
        result += group
    return result


def _bounded(payable: Payable) -> bool:
    price = payable.line.price
    return price is not None and (price.minimum is not None or price.maximum is not None)


def _within_maximum(group: Sequence[Payable], currency: str) -> list[Payable]:
    running = ZERO
    result = []
    for payable in group:
        running = add([running, payable.net])
        most = payable.line.price.maximum if payable.line.price else None
        excess = ZERO if most is None else subtract(running, rounded(most, currency, payable.line.unit))
        if excess > 0:
            payable = payable.with_adjustment(adjustment("discount", "Maximum", payable, negate(excess)))
            running = subtract(running, excess)
        result.append(payable)
    return result


def _with_minimum(group: Sequence[Payable], currency: str) -> list[Payable]:
    """The last price of the period says what the least is."""
    last = group[-1]
    least = last.line.price.minimum if last.line.price else None
    missing = _missing(least, group, currency)
    if missing <= 0:
        return list(group)
    line = adjustment("minimum", f"Minimum for {last.line.name}", last, missing)
    line = replace(line, source=last.line.source, rate=last.line.rate)
    return [*group, Payable(line, last.product)]


def _missing(least: Decimal | None, group: Sequence[Payable], currency: str) -> Decimal:
    if least is None:
        return ZERO
    return subtract(rounded(least, currency, group[-1].line.unit), add(payable.net for payable in group))
