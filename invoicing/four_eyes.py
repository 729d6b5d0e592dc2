"""Nobody approves what they wrote themselves."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings

from billing_project.errors import RuleError
from catalog.models import TaxRate
from contracts.models import Contract, Customer
from invoicing.models import Invoice

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TAX_FIELDS = ("tax_rate", "tax_treatment", "tax_note", "country", "region")


def check_four_eyes(invoice: Invoice, actor: "User") -> None:
    """Raises RuleError when the actor wrote a line of the invoice, or changed its contract or tax since the last
    approval.
    """
    if not settings.FOUR_EYES:
        return
    if invoice.added_lines.filter(author=actor).exists():
        raise RuleError("You wrote a line of this invoice: somebody else must approve it.", code="four_eyes")
    if _changed_contract(invoice, actor):
        raise RuleError(
            f"You changed contract {invoice.contract} since an invoice of it was last approved: somebody else must "
            "approve this one.",
            code="four_eyes",
        )
    changed = _changed_tax(invoice, actor)
    if changed:
        raise RuleError(
            f"You changed {changed} since an invoice of {invoice.contract} was last approved: somebody else must "
            "approve this one.",
            code="four_eyes",
        )


def _changed_tax(invoice: Invoice, actor: "User") -> str:
    """What of the invoice's tax the actor changed: a rate, or the tax of whom it is addressed to."""
    last = _last_approval(invoice)
    keys = [tax["key"] for tax in invoice.taxes]
    rates = TaxRate.pgh_event_model.objects.filter(  # type: ignore[attr-defined]
        key__in=keys, pgh_context__metadata__user=actor.pk
    )
    rate = (rates.filter(pgh_created_at__gt=last) if last else rates).first()
    if rate is not None:
        return f"tax rate {rate.key}"
    payer = invoice.paid_by
    rows = Customer.pgh_event_model.objects.filter(pgh_obj_id=payer.pk)  # type: ignore[attr-defined]
    before: tuple[Any, ...] = (None, "", "", "", "")
    for row in rows.select_related("pgh_context").order_by("pgh_id"):
        tax = tuple(getattr(row, name) for name in TAX_FIELDS)
        by_actor = row.pgh_context is not None and row.pgh_context.metadata.get("user") == actor.pk
        if tax != before and by_actor and (last is None or row.pgh_created_at > last):
            return f"the tax of {payer}"
        before = tax
    return ""


def _changed_contract(invoice: Invoice, actor: "User") -> bool:
    changes = Contract.pgh_event_model.objects.filter(  # type: ignore[attr-defined]
        pgh_obj_id=invoice.contract_id, pgh_context__metadata__user=actor.pk
    )
    last = _last_approval(invoice)
    return bool((changes.filter(pgh_created_at__gt=last) if last else changes).exists())


def _last_approval(invoice: Invoice) -> datetime | None:
    approved = Invoice.objects.filter(contract=invoice.contract_id, approved_at__isnull=False).exclude(pk=invoice.pk)
    return approved.order_by("-approved_at").values_list("approved_at", flat=True).first()
