"""The states of an invoice and who may move it: draft -> in review -> approved -> issued.

Every step locks the row and looks at its state under the lock, and is written down with who took it and why. What
becomes of an issued invoice is in `payments`, `voiding` and `credit_notes`.
"""

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from billing_project.errors import ConflictError, RuleError
from contracts.balances import of_contract, of_customer
from contracts.models import Contract, Families, below, lock_families
from contracts.windows import MOMENT, Windows
from invoicing.billed import how_far_billed
from invoicing.draft_rows import bill_to, same_as_written
from invoicing.drafts import current, drawn_balance
from invoicing.four_eyes import check_four_eyes
from invoicing.journal import issue_entries, post_issue
from invoicing.models import Invoice, Status
from invoicing.numbering import next_number
from invoicing.outbox import announce_issue
from invoicing.payments import settle
from invoicing.permissions import locked, remember, require
from invoicing.rebuilding import rebuild
from invoicing.stripe_tax import ask_tax

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
            ask_tax(row)
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
        # What a rule approved was not asked for yet.
        ask_tax(row)
        _post_draws(row)
        row.status, row.issued_by, row.issued_at = Status.ISSUED, actor, now
        row.due_at = now + timedelta(days=row.net_days)
        row.bill_to = bill_to(row)
        row.seller, row.purchase_order = dict(settings.SELLER), row.contract.purchase_order
        # Worked out before and only written after: series and books are locked from here to the commit.
        entries = issue_entries(row)
        row.number = next_number(settings.INVOICE_NUMBER_PREFIX)
        row.save(
            update_fields=[
                "status",
                "issued_by",
                "issued_at",
                "due_at",
                "bill_to",
                "seller",
                "purchase_order",
                "number",
            ]
        )
        remember(row, "issued", actor, reason)
        post_issue(row, entries)
        announce_issue(row)
        # With nothing to pay it is paid at once.
        settle(row)
    return row


def _post_draws(invoice: Invoice) -> None:
    """Post to the ledger what an invoice draws, and the windows that start and end with its period."""
    contract = invoice.contract
    # One at a time for each family, until the commit: what two invoices may draw together is decided here.
    lock_families([contract.customer])
    sharing = [each for each in Families([contract.customer]).line(contract.customer_id) if each.funds]
    drawing = Q(pk__in=[contract.pk, contract.renews_id]) | Q(customer__in=below(each.pk for each in sharing))
    billed = how_far_billed(Contract.objects.filter(drawing), invoice.pk)
    until = invoice.ending_before if invoice.scheduled_at is None else invoice.scheduled_at + MOMENT
    source = f"invoice:{invoice.pk}:"
    if contract.renews is not None:
        Windows(contract.renews, billed, until, source).post_ends()
    windows = {of_contract(contract.key): Windows(contract, billed, until, source)}
    windows |= {of_customer(each.key): Windows(each, billed, until, source) for each in sharing}
    for each in windows.values():
        each.post_starts(until)
    for number, draw in enumerate(invoice.draws):
        balance = drawn_balance(draw, contract.key)
        try:
            windows[balance[0]].draw(balance, Decimal(draw["amount"]), invoice.starting_at, f"{source}{number}")
        except (RuleError, KeyError) as error:
            message = (
                str(error) if isinstance(error, RuleError) else f"{balance[1]} is not open to {contract} any more."
            )
            raise ConflictError(
                f"{message} Return the invoice to review: it is then built anew from what is left."
            ) from error
    for each in windows.values():
        each.post_ends()
