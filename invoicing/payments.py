"""Payments of issued invoices, in full or in parts, and what becomes of those that never come."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone

from billing_project.decimals import plain
from billing_project.errors import ConflictError, RuleError
from catalog.money import ZERO, add, negate, round_amount
from catalog.price_text import amount_text
from invoicing.journal import is_written_off, post_payment, post_reversal, post_write_off
from invoicing.models import Invoice, Payment, Status
from invoicing.models.outbox import EventType
from invoicing.outbox import announce_invoice
from invoicing.permissions import locked, remember, require

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PAYABLE = (Status.ISSUED, Status.UNCOLLECTIBLE)
LIVING = (*PAYABLE, Status.PAID)


@dataclass(frozen=True, slots=True)
class Received:
    """An amount that came in, in the invoice's currency; `source` is the same when the same money is told again."""

    amount: Decimal
    received_at: datetime
    source: str
    method: Payment.Method = Payment.Method.BANK_TRANSFER
    reference: str = ""


def record_payment(invoice: int, received: Received, actor: "User | None") -> Payment:
    """Record money for an issued invoice; when nothing is open any more it is paid. Without an actor Stripe told us.

    Recording the same `source` again changes nothing. Raises RuleError for an amount that is not above zero, has
    fractions of a minor unit or is more than what is open, ConflictError for an invoice that takes no payments.
    """
    if actor is not None:
        require(actor, "invoicing.record_payment")
    with transaction.atomic():
        row = locked(invoice, LIVING)
        known = Payment.objects.filter(source=received.source).first()
        if known is not None:
            return _same(known, row, received)
        if row.status == Status.PAID:
            raise ConflictError(f"{row} is paid already.")
        _check_amount(received.amount, row)
        payment = Payment.objects.create(
            invoice=row,
            amount=received.amount,
            method=received.method,
            reference=received.reference,
            received_at=received.received_at,
            source=received.source,
            recorded_by=actor,
        )
        post_payment(payment, written_off=row.status == Status.UNCOLLECTIBLE)
        money = amount_text(received.amount, str(row.total.currency))
        remember(row, "payment", actor, f"{money} {received.reference}".strip())
        row.paid_amount = add([row.paid_amount, received.amount])
        settle(row)
    return payment


def reverse_payment(payment: int, actor: "User | None", reason: str) -> Payment:
    """Take back a payment that bounced or was paid back: an entry below zero; the invoice is open again."""
    if actor is not None:
        require(actor, "invoicing.record_payment")
    with transaction.atomic():
        given = Payment.objects.select_related("invoice").get(pk=payment)
        row = locked(given.invoice_id, LIVING)
        known = Payment.objects.filter(reverses=given).first()
        if known is not None:
            return known
        if given.reverses_id is not None:
            raise RuleError("This entry took a payment back: record a new payment instead.", path="payment")
        back = Payment.objects.create(
            invoice=row,
            amount=negate(given.amount),
            method=given.method,
            reference=given.reference,
            received_at=timezone.now(),
            source=f"reversal:{given.pk}",
            reverses=given,
            recorded_by=actor,
        )
        post_reversal(given, back)
        remember(row, "payment reversed", actor, reason)
        row.paid_amount = add([row.paid_amount, back.amount])
        settle(row)
    return back


def record_refund(invoice: int, received: Received) -> Payment:
    """Record what Stripe paid back of a payment, wholly or in part, as an entry below zero; `amount` is above zero.

    Recording the same `source` again changes nothing. The invoice is open again unless a credit note covers it.
    """
    with transaction.atomic():
        row = locked(invoice, LIVING)
        known = Payment.objects.filter(source=received.source).first()
        if known is not None:
            return known
        if not ZERO < received.amount <= row.paid_amount:
            raise RuleError(f"{plain(row.paid_amount)} was paid of {row}: no more can go back.", path="amount")
        back = Payment.objects.create(
            invoice=row,
            amount=negate(received.amount),
            method=received.method,
            reference=received.reference,
            received_at=received.received_at,
            source=received.source,
        )
        post_payment(back, written_off=is_written_off(row))
        money = amount_text(received.amount, str(row.total.currency))
        remember(row, "refund", None, f"{money} {received.reference}".strip())
        row.paid_amount = add([row.paid_amount, back.amount])
        settle(row)
    return back


def write_off(invoice: int, actor: "User", reason: str) -> Invoice:
    """Give up an issued invoice: it is uncollectible. A payment that comes after all is still taken."""
    require(actor, "invoicing.void_invoice")
    _require_reason(reason)
    with transaction.atomic():
        row = locked(invoice, (Status.ISSUED,))
        post_write_off(row, timezone.now())
        row.status = Status.UNCOLLECTIBLE
        row.save(update_fields=["status"])
        remember(row, "written off", actor, reason)
    return row


def settle(invoice: Invoice) -> None:
    """Save what was paid and credited, and move the status along: paid when nothing is open, issued when something is
    again. The row must be locked.
    """
    paid = invoice.open_amount <= 0 and invoice.status in PAYABLE
    if paid:
        invoice.status, invoice.paid_at = Status.PAID, timezone.now()
    elif invoice.open_amount > 0 and invoice.status == Status.PAID:
        invoice.status = Status.UNCOLLECTIBLE if is_written_off(invoice) else Status.ISSUED
        invoice.paid_at = None
    invoice.save(update_fields=["status", "paid_at", "paid_amount", "credited_amount"])
    if paid:
        # Paid again after a payment was taken back, it is told again.
        announce_invoice(EventType.INVOICE_PAID, invoice, f":{timezone.now().isoformat()}")


def _same(known: Payment, invoice: Invoice, received: Received) -> Payment:
    if (known.invoice_id, known.amount) != (invoice.pk, received.amount):
        raise RuleError(
            f"{received.source} is recorded already, as {plain(known.amount)} for {known.invoice}.", path="source"
        )
    return known


def _check_amount(amount: Decimal, invoice: Invoice) -> None:
    currency = str(invoice.total.currency)
    if amount <= 0 or amount != round_amount(amount, currency):
        raise RuleError(f"Give an amount above zero in whole minor units of {currency}.", path="amount")
    if amount > invoice.open_amount:
        raise RuleError(
            f"{plain(invoice.open_amount)} {currency} is open on {invoice}: record at most that, and the rest on the "
            "invoice it is for.",
            path="amount",
        )


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise RuleError("Say why, for those who look later.", path="reason")
