"""Credit notes: asked for by one person, issued by another, frozen under a number of their own series."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from billing_project.decimals import plain
from billing_project.errors import ConflictError, RuleError
from catalog.money import ZERO, add, divide, multiply, round_amount, subtract
from invoicing.journal import post_credit_note
from invoicing.models import FROZEN, CreditNote, CreditNoteLine, Invoice, InvoiceLine, Status
from invoicing.models.outbox import EventType
from invoicing.numbering import next_number
from invoicing.outbox import announce, told_of
from invoicing.payments import settle
from invoicing.permissions import locked, remember, require
from invoicing.taxation import (
    HUNDRED,
    Credited,
    CreditedBefore,
    TaxTotal,
    credited_taxes,
    read_taxes,
    written_taxes,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import User

CREDITABLE = (Status.ISSUED, Status.PAID)
NOT_CREDITED = ("tax", "draw", "discount", "already_invoiced")


def request_credit_note(
    invoice: int, amounts: Mapping[int, Decimal], reason: str, actor: "User | None", cause: str | None = None
) -> CreditNote:
    """Ask for a credit note over `amounts` by the position of the line, before tax. Its tax is credited in proportion.

    Raises RuleError that names the line when more is asked for than is left of it, or than is left of the invoice.
    """
    if actor is not None:
        require(actor, "invoicing.credit_invoice")
    if not reason.strip():
        raise RuleError("Say why: the customer reads it on the credit note.", path="reason")
    with transaction.atomic():
        row = locked(invoice, CREDITABLE)
        known = CreditNote.objects.filter(cause=cause).first() if cause else None
        if known is not None:
            return known
        lines = _checked(row, amounts)
        subtotal = add(amount for _, amount in lines)
        taxes = _taxes(row, lines)
        tax = add(each.amount for each in taxes)
        left = left_of_invoice(row)
        if add([subtotal, tax]) > left:
            raise RuleError(
                f"{plain(left)} of {row} is left to credit; this would be {plain(add([subtotal, tax]))} with tax.",
                path="lines",
            )
        note = CreditNote.objects.create(
            invoice=row,
            reason=reason,
            subtotal=subtotal,
            tax=tax,
            taxes=written_taxes(taxes),
            total=add([subtotal, tax]),
            requested_by=actor,
            cause=cause,
        )
        CreditNoteLine.objects.bulk_create(
            [CreditNoteLine(credit_note=note, line=line, amount=amount) for line, amount in lines]
        )
        remember(row, "credit note requested", actor, reason)
    return note


def issue_credit_note(note: int, actor: "User") -> CreditNote:
    """Issue a credit note that somebody else asked for: it takes the next number and reduces what is open."""
    require(actor, "invoicing.credit_invoice")
    with transaction.atomic():
        # The invoice first: payments lock it too, and two orders would deadlock.
        row = locked(CreditNote.objects.values_list("invoice", flat=True).get(pk=note), CREDITABLE)
        asked = _locked_note(note)
        if settings.FOUR_EYES and asked.requested_by_id == actor.pk:
            raise RuleError("You asked for this credit note yourself: somebody else must issue it.", code="four_eyes")
        asked.status, asked.issued_by, asked.issued_at = CreditNote.Status.ISSUED, actor, timezone.now()
        asked.bill_to, asked.seller = row.bill_to, dict(settings.SELLER)
        asked.number = next_number(settings.CREDIT_NOTE_NUMBER_PREFIX)
        asked.save()
        post_credit_note(asked)
        told = {"number": asked.number, "total": plain(asked.total), "reason": asked.reason, "invoice": told_of(row)}
        announce(EventType.CREDIT_NOTE_ISSUED, told, f"credit-note:{asked.pk}")
        remember(row, "credited", actor, f"{asked.number}: {asked.reason}")
        row.credited_amount = add([row.credited_amount, asked.total])
        settle(row)
    return asked


def reject_credit_note(note: int, actor: "User", reason: str) -> CreditNote:
    """Say no to a credit note that was asked for."""
    require(actor, "invoicing.credit_invoice")
    with transaction.atomic():
        # The invoice first, as at issue.
        row = locked(CreditNote.objects.values_list("invoice", flat=True).get(pk=note), FROZEN)
        asked = _locked_note(note)
        asked.status = CreditNote.Status.REJECTED
        asked.save(update_fields=["status"])
        remember(row, "credit note rejected", actor, reason)
    return asked


def left_to_credit(invoice: Invoice) -> dict[int, Decimal]:
    """What may still be credited of each line, by position, before tax: its amount less what was asked for."""
    asked = dict(
        CreditNoteLine.objects.filter(line__invoice=invoice)
        .exclude(credit_note__status=CreditNote.Status.REJECTED)
        .values_list("line__position")
        .annotate(Sum("amount"))
        .order_by()
    )
    lines = invoice.lines.exclude(kind__in=NOT_CREDITED).filter(unit="", amount__gt=0)
    return {line.position: subtract(line.amount, asked.get(line.position, ZERO)) for line in lines}


def left_of_invoice(invoice: Invoice) -> Decimal:
    """What may still be credited of an invoice, with tax: its total less what was asked for."""
    notes = invoice.credit_notes.exclude(status=CreditNote.Status.REJECTED)
    return subtract(invoice.total.amount, notes.aggregate(total=Sum("total"))["total"] or ZERO)


def _checked(invoice: Invoice, amounts: Mapping[int, Decimal]) -> list[tuple[InvoiceLine, Decimal]]:
    if not amounts:
        raise RuleError("Name at least one line and how much of it is credited.", path="lines")
    left = left_to_credit(invoice)
    lines = {line.position: line for line in invoice.lines.filter(position__in=amounts)}
    currency = str(invoice.total.currency)
    for position, amount in amounts.items():
        path = f"lines[{position}]"
        if position not in left:
            raise RuleError("This invoice has no line here that can be credited.", path=path)
        if amount <= 0 or amount != round_amount(amount, currency):
            raise RuleError(f"Give an amount above zero in whole minor units of {currency}.", path=path)
        if amount > left[position]:
            raise RuleError(f"{plain(left[position])} {currency} of this line is left to credit.", path=path)
    return [(lines[position], amounts[position]) for position in sorted(amounts)]


def taxes_of(invoice: Invoice) -> tuple[TaxTotal, ...]:
    """The tax of an invoice by rate; older ones know only its sum."""
    if invoice.taxes or not invoice.tax:
        return read_taxes(invoice.taxes)
    base = subtract(subtract(invoice.subtotal.amount, invoice.discount), invoice.credits_applied)
    percent = multiply(HUNDRED, divide(invoice.tax, base)) if base else ZERO
    return (TaxTotal("", "Tax", "S", percent, base, invoice.tax),)


def _taxes(invoice: Invoice, lines: Sequence[tuple[InvoiceLine, Decimal]]) -> tuple[TaxTotal, ...]:
    """What is credited of each rate of tax, with what was asked for before."""
    bases: dict[str, Decimal] = {}
    taxes: dict[str, Decimal] = {}
    for note in invoice.credit_notes.exclude(status=CreditNote.Status.REJECTED):
        for tax in _credited_before(note):
            bases[tax.key] = add([bases.get(tax.key, ZERO), tax.base])
            taxes[tax.key] = add([taxes.get(tax.key, ZERO), tax.amount])
    parts = [Credited(line.tax_key, amount) for line, amount in lines]
    return credited_taxes(parts, taxes_of(invoice), CreditedBefore(bases, taxes), str(invoice.total.currency))


def _credited_before(note: CreditNote) -> tuple[TaxTotal, ...]:
    if note.taxes or not note.tax:
        return read_taxes(note.taxes)
    return (TaxTotal("", "Tax", "S", ZERO, note.subtotal, note.tax),)


def _locked_note(note: int) -> CreditNote:
    row = CreditNote.objects.select_related("invoice").select_for_update(of=("self",)).get(pk=note)
    if row.status != CreditNote.Status.REQUESTED:
        raise ConflictError(f"{row} is {row.get_status_display().lower()} already.")
    return row
