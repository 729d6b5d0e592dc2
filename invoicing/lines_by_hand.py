"""Lines written by hand on an invoice before its approval."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from django.db import transaction

from billing_project.errors import RuleError
from catalog.money import ONE, multiply, round_amount
from invoicing.models import AddedLine, Invoice, Status
from invoicing.permissions import locked, remember, require
from invoicing.rebuilding import rebuild

if TYPE_CHECKING:
    from django.contrib.auth.models import User

STILL_OPEN = (Status.DRAFT, Status.IN_REVIEW)


@dataclass(frozen=True, slots=True)
class Written:
    """A line as somebody writes it; the amount is quantity times unit amount, rounded half-up."""

    name: str
    unit_amount: Decimal
    reason: str
    quantity: Decimal = ONE
    product: str = ""


def add_line(invoice: int, written: Written, actor: "User") -> AddedLine:
    """Add a line to an invoice before its approval. Who wrote it may not approve it."""
    require(actor, "invoicing.add_line")
    for name in ("name", "reason"):
        if not getattr(written, name).strip():
            raise RuleError(f"Give the line a {name}.", path=name)
    exact = multiply(written.quantity, written.unit_amount)
    with transaction.atomic():
        row = locked(invoice, STILL_OPEN)
        if row.kind == Invoice.Kind.THRESHOLD:
            raise RuleError("A threshold invoice takes no lines: add it to the invoice of the period.", path="invoice")
        amount = round_amount(exact, str(row.total.currency))
        if not amount:
            raise RuleError("The line comes to nothing: give another quantity or unit amount.", path="unit_amount")
        line = AddedLine.objects.create(
            invoice=row,
            product=written.product,
            name=written.name,
            quantity=written.quantity,
            unit_amount=written.unit_amount,
            amount=amount,
            amount_exact=exact,
            reason=written.reason,
            author=actor,
        )
        rebuild([row])
        remember(row, "line added", actor, f"{written.name}: {written.reason}")
    return line


def remove_line(line: int, actor: "User", reason: str) -> Invoice:
    """Take a line written by hand off an invoice that is not approved yet."""
    require(actor, "invoicing.add_line")
    with transaction.atomic():
        added = AddedLine.objects.get(pk=line, kind=AddedLine.Kind.MANUAL)
        row = locked(added.invoice_id, STILL_OPEN)
        remember(row, "line removed", actor, f"{added.name}: {reason}")
        added.delete()
        rebuild([row])
    return row
