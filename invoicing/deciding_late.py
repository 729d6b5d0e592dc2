"""What becomes of late usage: people's decisions, and invoices that are voided."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone

from billing_project.decimals import plain
from billing_project.errors import ConflictError, RuleError
from catalog.money import divide, multiply, negate, round_amount, subtract
from invoicing.corrections import TAKES_LINES, bill_next, line_of
from invoicing.credit_notes import left_to_credit, request_credit_note
from invoicing.models import CreditNote, Invoice, InvoiceLine, LateUsage
from invoicing.permissions import require
from invoicing.rebuilding import rebuild

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Decision = LateUsage.Decision
CHOICES = (Decision.NEXT_INVOICE, Decision.CREDIT_NOTE, Decision.WRITE_OFF, Decision.PENDING)


def decide(late_usage: int, decision: str, actor: "User", reason: str = "") -> LateUsage:
    """Say what becomes of late usage. What is on an open invoice is taken off it again.

    Raises ConflictError when it is billed or credited already; RuleError when a credit note cannot be given for it.
    """
    require(actor, "invoicing.decide_late_usage")
    if decision not in CHOICES:
        raise RuleError(f"Decide for one of {', '.join(CHOICES)}.", path="decision")
    if decision == Decision.WRITE_OFF and not reason.strip():
        raise RuleError("Say why it is written off.", path="reason")
    with transaction.atomic():
        row = _locked(late_usage)
        _check_undecided(row)
        if row.added_line is not None and decision != Decision.NEXT_INVOICE:
            _take_off([row])
        row.credit_note = _credit_note(row, actor, reason) if decision == Decision.CREDIT_NOTE else None
        row.decision, row.decided_by, row.decided_at = decision, actor, timezone.now()
        row.reason = reason.strip()
        row.save()
        if decision == Decision.NEXT_INVOICE:
            bill_next(row.invoice.contract.key)
            row.refresh_from_db()
    return row


def _locked(late_usage: int) -> LateUsage:
    """The row, and before it the invoices it is about: the order of every other step."""
    about = LateUsage.objects.values_list("invoice", "added_line__invoice").get(pk=late_usage)
    list(Invoice.objects.filter(pk__in=[pk for pk in about if pk]).order_by("pk").select_for_update(of=("self",)))
    rows = LateUsage.objects.select_related("invoice__contract", "added_line__invoice", "credit_note")
    row = rows.select_for_update(of=("self",)).get(pk=late_usage)
    if row.added_line is not None and row.added_line.invoice_id not in about:
        raise ConflictError(f"{row} was put on {row.added_line.invoice} just now: look again.")
    return row


def _check_undecided(row: LateUsage) -> None:
    if row.decision == Decision.SUPERSEDED:
        raise ConflictError(f"{row} is superseded: its invoice was voided.")
    if row.added_line is not None and row.added_line.invoice.status not in TAKES_LINES:
        raise ConflictError(f"{row} is billed on {row.added_line.invoice} already.")
    if row.credit_note is not None and row.credit_note.status != CreditNote.Status.REJECTED:
        raise ConflictError(f"{row} is credited by {row.credit_note} already.")


def _take_off(rows: Iterable[LateUsage]) -> None:
    """Take rows off the open invoices they are on; those must be locked."""
    changed: set[int] = set()
    for row in rows:
        line, row.added_line = row.added_line, None
        row.save(update_fields=["added_line"])
        if line is not None:
            changed.add(line.invoice_id)
            line.delete()
    invoices = Invoice.objects.filter(pk__in=changed)
    if changed:
        rebuild(
            list(
                invoices.select_related("period__contract__customer", "period__contract__rate_card").select_related(
                    "contract__customer", "contract__rate_card"
                )
            )
        )


def _credit_note(row: LateUsage, actor: "User", reason: str) -> CreditNote:
    if row.amount >= 0:
        raise RuleError("Only less usage can be credited; bill this on the next invoice.", path="decision")
    asked_before = CreditNote.objects.filter(cause__regex=rf"^{row.cause}(:|$)").count()
    cause = f"{row.cause}:{asked_before + 1}" if asked_before else row.cause
    words = reason.strip() or f"{row.name}: less usage than was billed"
    return request_credit_note(row.invoice_id, _amounts(row), words, actor, cause)


def _amounts(row: LateUsage) -> dict[int, Decimal]:
    """Of which lines how much is credited: lines of the product's group, those of the slice first."""
    left = left_to_credit(row.invoice)
    lines = [
        line for line in row.invoice.lines.filter(product=row.product, position__in=left) if line.group == row.group
    ]
    wanted = _before_tax(negate(row.amount), lines, row.invoice)
    amounts: dict[int, Decimal] = {}
    for line in sorted(lines, key=lambda each: (each.starting_at != row.starting_at, each.position)):
        part = min(wanted, left[line.position])
        if part > 0:
            amounts[line.position] = part
            wanted = subtract(wanted, part)
    if wanted:
        raise RuleError(
            f"{plain(wanted)} more than is left to credit of {row.name} on {row.invoice}: put it on the next invoice.",
            path="decision",
        )
    return amounts


def _before_tax(amount: Decimal, lines: Sequence[InvoiceLine], invoice: Invoice) -> Decimal:
    """Credit notes are over amounts before tax; late usage of prices that include it is not."""
    for line in lines:
        if line.gross_amount:
            return round_amount(divide(multiply(amount, line.amount), line.gross_amount), str(invoice.total.currency))
    return amount


def carry_over(voided: Invoice, instead: Invoice) -> None:
    """After a void: what replaces the invoice bills all usage of its period, and the late usage it billed itself.

    Late usage of the period that is on an approved or issued invoice stays there: the replacement bills it once more,
    and the next search takes that back.
    """
    own = LateUsage.objects.filter(period=voided.period_id).exclude(decision=Decision.SUPERSEDED)
    rows = list(own.select_related("added_line__invoice").select_for_update(of=("self",)))
    ended = [row for row in rows if row.added_line is None or row.added_line.invoice.status in TAKES_LINES]
    _take_off(row for row in ended if row.added_line is not None)
    _supersede(ended)
    billed = LateUsage.objects.filter(added_line__invoice=voided).exclude(decision=Decision.SUPERSEDED)
    moved = list(billed.select_related("invoice__contract").select_for_update(of=("self",)))
    _supersede(moved)
    for row in moved:
        row.pk, row.decision, row.added_line = None, Decision.NEXT_INVOICE, None
        row._state.adding = True
        row.save()
        row.added_line = line_of(row, instead)
        row.save(update_fields=["added_line"])
    if moved:
        rebuild([instead])


def _supersede(rows: Iterable[LateUsage]) -> None:
    LateUsage.objects.filter(pk__in=[row.pk for row in rows]).update(decision=Decision.SUPERSEDED)
