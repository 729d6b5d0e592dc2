"""What the page of an invoice, of a live draft and the printed document show."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from contracts.billing_periods import period_at
from contracts.models import BillingPeriod, Contract
from contracts.period_text import day_text, period_text
from invoicing.admin.lines import shown_lines, shown_unrated, statement_lines
from invoicing.draft_rows import Built, bill_to, draft_invoice
from invoicing.drafts import build, current, with_terms
from invoicing.models import Invoice, Status


def invoice_page(invoice: Invoice) -> dict[str, Any]:
    """Lines and totals as written, or of a draft as they are now."""
    if invoice.status == Status.DRAFT:
        now = current([invoice])[invoice.pk]
        built = Built(invoice.contract, now, invoice.period, invoice.scheduled_at, invoice.payer)
        return _shown(draft_invoice(built), statement_lines(now)) | {"invoice": invoice, "live": True}
    return _shown(invoice, list(invoice.lines.order_by("position"))) | {"live": False}


def running_period(request: HttpRequest, context: dict[str, Any], contract: int) -> HttpResponse:
    agreed = get_object_or_404(Contract, pk=contract)
    running = period_at(agreed, timezone.now())
    if running is None:
        return render(request, "invoicing/live_draft.html", {**context, "contract": agreed, "title": "Live draft"})
    return period(request, context, running.pk)


def period(request: HttpRequest, context: dict[str, Any], key: int) -> HttpResponse:
    get_object_or_404(BillingPeriod, pk=key)
    billing_period = with_terms(key)
    invoice = billing_period.invoices.exclude(status=Status.VOID).first()
    if invoice is not None:
        return redirect("admin:invoicing_invoice_change", invoice.pk)
    shown = {**context, **_live(billing_period), "contract": billing_period.contract, "title": "Live draft"}
    return render(request, "invoicing/live_draft.html", shown)


def document(request: HttpRequest, invoice: Invoice) -> HttpResponse:
    """The invoice as the customer gets it; an open one as a draft, without a number."""
    shown = invoice_page(invoice)
    zone = invoice.contract.zone
    parties = {"seller": invoice.seller, "bill_to": invoice.bill_to}
    if not invoice.frozen:
        parties = {"seller": settings.SELLER, "bill_to": bill_to(invoice)}
    days = {
        "issued_on": day_text(invoice.issued_at, zone) if invoice.issued_at else "",
        "due_on": day_text(invoice.due_at, zone) if invoice.due_at else "",
    }
    return render(request, "invoicing/invoice.html", {**shown, **parties, **days, "draft": not invoice.frozen})


def _live(billing_period: BillingPeriod) -> dict[str, Any]:
    (built,) = build([billing_period])
    return _shown(draft_invoice(built), statement_lines(built.statement)) | {"live": True}


def _shown(invoice: Invoice, lines: list[Any]) -> dict[str, Any]:
    zone = invoice.contract.zone
    return {
        "invoice": invoice,
        "lines": shown_lines(lines, zone),
        "currency": str(invoice.total.currency),
        "subtotal": invoice.subtotal.amount,
        "total": invoice.total.amount,
        "attention": invoice.attention,
        "unrated": shown_unrated(invoice.unrated, invoice.contract),
        "span": period_text(invoice.starting_at, invoice.ending_before, zone),
        "zone": zone.key,
    }
