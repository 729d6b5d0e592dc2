"""Voiding an issued invoice: what it drew goes back, and what it was for is billed anew under another number."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import QuerySet

from billing_project.errors import RuleError
from contracts.ledger import owner_named, post
from contracts.models import LedgerEntry, lock_families
from invoicing.deciding_late import carry_over
from invoicing.drafts import drawn_balance
from invoicing.journal import post_void
from invoicing.models import FROZEN, OPEN, Invoice, Recharge, Status
from invoicing.models.outbox import EventType
from invoicing.outbox import announce_invoice
from invoicing.permissions import locked, remember, require
from invoicing.rebuilding import rebuild

if TYPE_CHECKING:
    from django.contrib.auth.models import User

COPIED = ("kind", "customer", "payer", "contract", "period", "scheduled_at", "starting_at", "ending_before", "net_days")


def void(invoice: int, actor: "User", reason: str) -> Invoice:
    """Void an issued invoice nobody has paid; returns the invoice in review that takes its place, built anew from terms
    and usage as they are now. A threshold invoice has none (it is returned itself): the next look at the threshold
    bills it again, the end of the period the rest. Nor has a recharge that waits for its payment.

    Raises RuleError when something was paid or credited, for then a credit note is the way, and when the issued invoice
    of the period subtracts it.
    """
    require(actor, "invoicing.void_invoice")
    if not reason.strip():
        raise RuleError("Say why, for those who look later.", path="reason")
    with transaction.atomic():
        row = locked(invoice, (Status.ISSUED, Status.UNCOLLECTIBLE))
        if row.paid_amount or row.credited_amount:
            raise RuleError(
                f"{row} is partly paid or credited: give a credit note for the rest of it instead.", code="not_voidable"
            )
        if row.kind == Invoice.Kind.THRESHOLD:
            _check_not_subtracted(row)
        _return_draws(row)
        post_void(row)
        row.status = Status.VOID
        row.save(update_fields=["status"])
        remember(row, "voided", actor, reason)
        announce_invoice(EventType.INVOICE_VOIDED, row)
        if row.kind == Invoice.Kind.THRESHOLD:
            rebuild(list(_drafts_of_period(row)))
            return row
        if Recharge.objects.filter(invoice=row, status=Recharge.Status.WAITING).exists():
            return row  # nothing was given for it; the next look recharges anew
        instead = _built_anew(row)
        carry_over(row, instead)
        remember(instead, "replaces", actor, f"{row.number}: {reason}")
    return instead


def _return_draws(invoice: Invoice) -> None:
    # One at a time for each family, as at issue.
    lock_families([invoice.contract.customer])
    for number, draw in enumerate(invoice.draws):
        source = f"invoice:{invoice.pk}:{number}:void"
        amount = Decimal(draw["amount"])
        owner, balance, segment = drawn_balance(draw, invoice.contract.key)
        kind = LedgerEntry.Kind.VOID_RETURN
        post(owner_named(owner), balance, kind, amount, invoice.starting_at, source, segment)


def _check_not_subtracted(invoice: Invoice) -> None:
    final = Invoice.objects.filter(period=invoice.period_id, kind=Invoice.Kind.USAGE, status__in=FROZEN)
    issued = final.exclude(status=Status.VOID).first()
    if issued is not None:
        raise RuleError(f"{issued} subtracts it: void that one first.", code="not_voidable")


def _drafts_of_period(invoice: Invoice) -> QuerySet[Invoice]:
    rows = Invoice.objects.filter(period=invoice.period_id, kind=Invoice.Kind.USAGE, status__in=OPEN)
    return (
        rows.select_related("period__contract__customer", "period__contract__rate_card")
        .select_related("contract__customer", "contract__rate_card")
        .select_for_update(of=("self",))
    )


def _built_anew(invoice: Invoice) -> Invoice:
    copied: Mapping[str, Any] = {name: getattr(invoice, name) for name in COPIED}
    instead = Invoice(**copied, status=Status.IN_REVIEW, replaces=invoice)
    instead.subtotal = instead.total = invoice.total * 0
    instead.save()
    rebuild([instead])
    return instead
