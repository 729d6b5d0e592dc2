"""The end of a statement: what was invoiced already, and the totals of the rounded lines. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from catalog.money import add, negate
from contracts.lines import Line
from meters.periods import Period

NOT_CHARGES = frozenset({"discount", "draw", "tax", "already_invoiced"})


@dataclass(frozen=True, slots=True)
class Earlier:
    """An invoice that billed part of the same period before: its number or key, and its total."""

    reference: str
    total: Decimal


@dataclass(frozen=True, slots=True)
class Totals:
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
    counted = [line for line in lines if not line.unit]
    by_kind = {
        kind: add(line.amount for line in counted if line.kind == kind)
        for kind in ("discount", "draw", "tax", "already_invoiced")
    }
    return Totals(
        subtotal=add(line.amount for line in counted if line.kind not in NOT_CHARGES),
        discount=negate(by_kind["discount"]),
        credits_applied=negate(by_kind["draw"]),
        tax=by_kind["tax"],
        already_invoiced=negate(by_kind["already_invoiced"]),
        total=add(line.amount for line in counted),
    )
