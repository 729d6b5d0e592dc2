"""What billed periods come to with all usage known, less what was billed of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from catalog.group_values import Group
from catalog.money import ZERO, add, subtract
from contracts.lines import Line
from invoicing.as_known import statement_again
from invoicing.models import Invoice, InvoiceLine, LateUsage
from meters.periods import Period

# Paid by balances, due on the rest, or no matter of usage: a correction is drawn and taxed where it is billed.
NOT_CORRECTED = ("draw", "tax", "already_invoiced", "manual", "correction")


@dataclass(frozen=True, slots=True)
class Place:
    """What is corrected by one line: a product's group in a slice; without a product, a line by its name."""

    product: str
    name: str
    group: Group
    period: Period


@dataclass(slots=True)
class Sum:
    quantity: Decimal = ZERO
    amount: Decimal = ZERO
    name: str = ""

    def add(self, quantity: Decimal, amount: Decimal) -> None:
        self.quantity, self.amount = add([self.quantity, quantity]), add([self.amount, amount])


@dataclass(frozen=True, slots=True)
class Difference:
    """What a place comes to more than is known of it."""

    place: Place
    name: str
    quantity_before: Decimal
    quantity_after: Decimal
    amount: Decimal


@dataclass(slots=True)
class _Sums:
    found: dict[Place, Sum] = field(default_factory=lambda: defaultdict(Sum))

    def take(self, line: Line | InvoiceLine, group: Group, period: Period) -> None:
        if line.kind in NOT_CORRECTED:
            return
        found = self.found[_place(line.product, line.name, group, period)]
        counted = line.quantity if line.kind == "usage" else ZERO
        # What is in a pricing unit comes to money by its conversion, a line of its own.
        # A correction holds the tax that its price includes, as the lines did.
        amount = line.amount if line.gross_amount is None else line.gross_amount
        found.add(counted, ZERO if line.unit else amount)
        if not found.name or line.kind == "usage":
            found.name = line.name


def differences(invoices: Sequence[Invoice]) -> dict[int, list[Difference]]:
    """By issued usage invoice, what its period comes to by the terms of its approval and all usage known now, less its
    lines and what was found late of it before. Expects the period with contract, customer and rate card.

    Every invoice was approved at another instant, so its terms are read anew: only for invoices with late usage.
    """
    billed = _billed(invoices)
    return {
        invoice.pk: list(_differences(billed[invoice.pk], _now(invoice)))
        for invoice in invoices
        if invoice.period is not None
    }


def _now(invoice: Invoice) -> dict[Place, Sum]:
    sums = _Sums()
    if invoice.period is not None:
        for line in statement_again(invoice.period, approved_at(invoice)).lines:
            sums.take(line, line.group, line.period)
    return sums.found


def approved_at(invoice: Invoice) -> datetime | None:
    return invoice.approved_at or invoice.issued_at


def _billed(invoices: Sequence[Invoice]) -> Mapping[int, dict[Place, Sum]]:
    """The lines of invoices, and what was found of their periods since."""
    billed: dict[int, _Sums] = defaultdict(_Sums)
    for line in InvoiceLine.objects.filter(invoice__in=invoices).order_by("invoice", "position"):
        billed[line.invoice_id].take(line, _group(line.group), Period(line.starting_at, line.ending_before))
    found = LateUsage.objects.filter(period__in=[each.period_id for each in invoices])
    by_period = {invoice.period_id: invoice.pk for invoice in invoices}
    for row in found.exclude(decision=LateUsage.Decision.SUPERSEDED).order_by("pk"):
        period = Period(row.starting_at, row.ending_before)
        sums = billed[by_period[row.period_id]].found[_place(row.product, row.name, _group(row.group), period)]
        sums.add(subtract(row.quantity_after, row.quantity_before), row.amount)
        sums.name = sums.name or row.name
    return {invoice: sums.found for invoice, sums in billed.items()} | {
        invoice.pk: {} for invoice in invoices if invoice.pk not in billed
    }


def _differences(before: Mapping[Place, Sum], after: Mapping[Place, Sum]) -> Iterable[Difference]:
    nothing = Sum()
    for place in sorted({*before, *after}, key=lambda each: (each.period, each.product, each.name, str(each.group))):
        old, new = before.get(place, nothing), after.get(place, nothing)
        amount = subtract(new.amount, old.amount)
        if amount or new.quantity != old.quantity:
            yield Difference(place, new.name or old.name, old.quantity, new.quantity, amount)


def _place(product: str, name: str, group: Group, period: Period) -> Place:
    return Place(product, "" if product else name, tuple(sorted(group)), period)


def _group(stored: Mapping[str, str | None]) -> Group:
    return tuple(stored.items())
