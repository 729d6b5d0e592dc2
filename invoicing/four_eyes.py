"""Nobody approves what they wrote themselves."""

from typing import TYPE_CHECKING

from django.conf import settings

from billing_project.errors import RuleError
from contracts.models import Contract
from invoicing.models import Invoice

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def check_four_eyes(invoice: Invoice, actor: "User") -> None:
    """Raises RuleError when the actor wrote a line of the invoice or changed its contract since its last approval."""
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


def _changed_contract(invoice: Invoice, actor: "User") -> bool:
    changes = Contract.pgh_event_model.objects.filter(  # type: ignore[attr-defined]
        pgh_obj_id=invoice.contract_id, pgh_context__metadata__user=actor.pk
    )
    approved = Invoice.objects.filter(contract=invoice.contract_id, approved_at__isnull=False).exclude(pk=invoice.pk)
    last = approved.order_by("-approved_at").values_list("approved_at", flat=True).first()
    return bool((changes.filter(pgh_created_at__gt=last) if last else changes).exists())
