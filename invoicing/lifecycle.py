"""The states of an invoice and who may move it: draft -> in review -> approved -> issued.

Every step locks the row and looks at its state under the lock, and is written down with who took it and why. What
becomes of an issued invoice is in `payments`, `voiding` and `credit_notes`.
"""

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from billing_project.errors import ConflictError, RuleError
from contracts.ledger import post, post_ends, post_starts
from contracts.models import Customer, LedgerEntry
from invoicing.close import rebuild
from invoicing.draft_rows import same_as_written
from invoicing.drafts import current
from invoicing.four_eyes import check_four_eyes
from invoicing.models import OPEN, Invoice, Status
from invoicing.numbering import next_number
from invoicing.payments import settle
from invoicing.permissions import locked, remember, require

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def approve(invoice: int, actor: "User", reason: str = "") -> Invoice:
    """Approve an invoice in review exactly as it stands.

    Raises ConflictError when usage or terms changed since it was written: it is then written anew and stays in review.
    Raises RuleError while it has usage without a rate, was rejected and not released since, or when the actor wrote
    part of what it bills; PermissionDenied without the permission.
    """
    require(actor, "invoicing.approve_invoice")
    with transaction.atomic():
        row = locked(invoice, (Status.IN_REVIEW,))
        check_four_eyes(row, actor)
        if row.hold_reason:
            raise RuleError(f"It was rejected: {row.hold_reason} Release it first.", code="rejected")
        before = row.total
        changed = not same_as_written(row, current([row])[row.pk])
        if changed:
            rebuild([row])
        elif row.unrated:
            raise RuleError(
                "Some usage on this invoice has no rate: add one to the rate card, then approve.", code="unrated"
            )
        else:
            row.status, row.approved_by, row.approved_at = Status.APPROVED, actor, timezone.now()
            row.save(update_fields=["status", "approved_by", "approved_at"])
            remember(row, "approved", actor, reason)
    if changed:
        # Raised after the commit: the rebuilt lines are what the next look must show.
        raise ConflictError(
            f"Usage or terms changed since this invoice was written: its total was {before} and is now {row.total}. "
            "Look at it again, then approve."
        )
    return row


def reject(invoice: int, actor: "User", reason: str) -> Invoice:
    """Say no to an invoice in review, and why: it waits there until somebody has mended it and releases it."""
    require(actor, "invoicing.approve_invoice")
    if not reason.strip():
        raise RuleError("Say what is wrong with it, for those who mend it.", path="reason")
    with transaction.atomic():
        row = locked(invoice, (Status.IN_REVIEW,))
        row.hold_reason = reason.strip()
        row.save(update_fields=["hold_reason"])
        remember(row, "rejected", actor, reason)
    return row


def release(invoice: int, actor: "User", reason: str = "") -> Invoice:
    """Put a rejected invoice back into the review queue, built anew."""
    require(actor, "invoicing.approve_invoice")
    with transaction.atomic():
        row = locked(invoice, (Status.IN_REVIEW,))
        row.hold_reason = ""
        row.save(update_fields=["hold_reason"])
        rebuild([row])
        remember(row, "released", actor, reason)
    return row


def return_to_review(invoice: int, actor: "User", reason: str = "") -> Invoice:
    """Take an approval back."""
    require(actor, "invoicing.approve_invoice")
    with transaction.atomic():
        row = locked(invoice, (Status.APPROVED,))
        rebuild([row])
        row.status, row.approved_by, row.approved_at = Status.IN_REVIEW, None, None
        row.save(update_fields=["status", "approved_by", "approved_at"])
        remember(row, "returned to review", actor, reason)
    return row


def issue(invoice: int, actor: "User", reason: str = "") -> Invoice:
    """Issue an approved invoice: its draws are posted, it takes the next number, copies what it shows, and is frozen.

    Raises ConflictError when a balance it draws on was used up since: return it to review, and it is built anew.
    """
    require(actor, "invoicing.issue_invoice")
    with transaction.atomic():
        row = locked(invoice, (Status.APPROVED,))
        now = timezone.now()
        _post_draws(row)
        row.status, row.issued_by, row.issued_at = Status.ISSUED, actor, now
        row.due_at = now + timedelta(days=row.net_days)
        row.bill_to = {
            "name": row.customer.name,
            "address": row.customer.address,
            "email": row.customer.email,
            "tax_id": row.customer.tax_id,
        }
        row.seller = dict(settings.SELLER)
        # Last, because the series is locked from here to the commit.
        row.number = next_number(settings.INVOICE_NUMBER_PREFIX)
        row.save(update_fields=["status", "issued_by", "issued_at", "due_at", "bill_to", "seller", "number"])
        remember(row, "issued", actor, reason)
        # With nothing to pay it is paid at once.
        settle(row)
    return row


def _post_draws(invoice: Invoice) -> None:
    """Post to the ledger what an invoice draws, and the windows that start and end with its period."""
    contract = invoice.contract
    # One at a time for each customer, until the commit: what two invoices may draw together is decided here.
    Customer.objects.select_for_update().get(pk=contract.customer_id)
    post_starts(contract, invoice.ending_before)
    for number, draw in enumerate(invoice.draws):
        amount, at = -Decimal(draw["amount"]), invoice.starting_at
        source = f"invoice:{invoice.pk}:{number}"
        try:
            post(contract, draw["balance"], LedgerEntry.Kind.DRAW, amount, at, source, draw["segment"])
        except RuleError as error:
            raise ConflictError(
                f"{error.message} Return the invoice to review: it is then built anew from what is left."
            ) from error
    waiting = Invoice.objects.filter(contract=contract, status__in=OPEN).exclude(pk=invoice.pk)
    drawing = {
        (draw["balance"], draw["segment"])
        for draws in waiting.filter(starting_at__lt=invoice.ending_before).values_list("draws", flat=True)
        for draw in draws
    }
    post_ends(contract, invoice.ending_before, drawing)
