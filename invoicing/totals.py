"""The end of a statement: what was invoiced already, and the totals of the rounded lines. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from msgspec import Struct

from catalog.money import ZERO, add, negate
from contracts.lines import Line
from meters.periods import Period

NOT_CHARGES = frozenset({"discount", "draw", "tax", "already_invoiced"})


@dataclass(frozen=True, slots=True)
class Earlier:
    """An invoice that billed part of the same period before: its number or key, and its total."""

    reference: str
    total: Decimal


class Totals(Struct, frozen=True, gc=False):
    """`subtotal` less `discount`, less `credits_applied`, plus `tax`, less `already_invoiced` is the `total`."""

    subtotal: Decimal
    discount: Decimal
    credits_applied: Decimal
    tax: Decimal
    already_invoiced: Decimal
    total: Decimal


def already_invoiced_lines(earlier: Iterable[Earlier], period: Period) -> list[Line]:
    """A negative line for each threshold invoice of the period: what it billed, tax included."""
    return [
        Line(
            "already_invoiced",
            "",
            f"Already invoiced: {invoice.reference}",
            (),
            period,
            amount=negate(invoice.total),
            amount_exact=negate(invoice.total),
            source=invoice.reference,
        )
        for invoice in earlier
        if invoice.total
    ]


def totals(lines: Iterable[Line]) -> Totals:
    """The totals of the lines in the statement's currency; lines in a pricing unit come in by their conversion."""
    by_kind: dict[str, list[Decimal]] = defaultdict(list)
    for line in lines:
        if not line.unit:
            by_kind[line.kind if line.kind in NOT_CHARGES else ""].append(line.amount)
    sums = {kind: add(amounts) for kind, amounts in by_kind.items()}
    return Totals(
        subtotal=sums.get("", ZERO),
        discount=negate(sums.get("discount", ZERO)),
        credits_applied=negate(sums.get("draw", ZERO)),
        tax=sums.get("tax", ZERO),
        already_invoiced=negate(sums.get("already_invoiced", ZERO)),
        total=add(sums.values()),
    )
