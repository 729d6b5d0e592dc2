"""Approving what needs nobody's look, by rules finance has set."""

from collections.abc import Sequence
from decimal import Decimal

from django.utils import timezone

from invoicing.flags import change_percent, totals_before
from invoicing.models import AutoApproval, Invoice, InvoiceStep, Status


def auto_approve(invoices: Sequence[Invoice]) -> int:
    """Approve those in review that a rule lets pass; returns how many. The rows must be locked and freshly built."""
    rules = list(AutoApproval.objects.filter(active=True))
    if not rules:
        return 0
    before = totals_before(invoices)
    passed = [(invoice, rule) for invoice in invoices if (rule := _passing(invoice, rules, before.get(invoice.pk)))]
    Invoice.objects.filter(pk__in=[invoice.pk for invoice, _ in passed]).update(
        status=Status.APPROVED, approved_at=timezone.now()
    )
    InvoiceStep.objects.bulk_create(
        [InvoiceStep(invoice=invoice, step="approved", reason=f"By {rule}.") for invoice, rule in passed]
    )
    return len(passed)


def _passing(invoice: Invoice, rules: Sequence[AutoApproval], before: Decimal | None) -> AutoApproval | None:
    if invoice.attention or invoice.hold_reason or invoice.unrated:
        return None
    return next((rule for rule in rules if _passes(invoice, rule, before)), None)


def _passes(invoice: Invoice, rule: AutoApproval, before: Decimal | None) -> bool:
    total = invoice.total.amount
    if rule.currency != str(invoice.total.currency) or not 0 <= total <= rule.largest_total:
        return False
    if rule.largest_change_percent is None:
        return True
    if before is None:
        return False
    change = change_percent(total, before)
    return not total if change is None else change.copy_abs() <= rule.largest_change_percent
