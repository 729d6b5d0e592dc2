"""What the page of an invoice, of a live draft and the printed document show."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from contracts.billing_periods import period_at
from contracts.models import BillingPeriod, Contract
from contracts.period_text import period_text
from invoicing import documents
from invoicing.admin import asking
from invoicing.admin.lines import shown_lines, shown_unrated, statement_lines
from invoicing.admin.queue import compare, shown_change, shown_trend
from invoicing.admin.shadow_page import shadows_of
from invoicing.admin.steps import open_steps
from invoicing.draft_rows import Built, draft_invoice
from invoicing.drafts import build, current, with_terms
from invoicing.models import AddedLine, CreditNote, Invoice, Status


def invoice_page(invoice: Invoice) -> dict[str, Any]:
    """Lines and totals as written, or of a draft as they are now."""
    if invoice.status == Status.DRAFT:
        now = current([invoice])[invoice.pk]
        built = Built(invoice.contract, now, invoice.period, invoice.scheduled_at, invoice.payer)
        return _shown(draft_invoice(built), statement_lines(now)) | {"invoice": invoice, "live": True}
    return _shown(invoice, list(invoice.lines.order_by("position"))) | {"live": False}


def history(invoice: Invoice, user: User) -> dict[str, Any]:
    """What became of an invoice, and which steps the user may take now."""
    compare([invoice])
    notes = invoice.credit_notes.select_related("requested_by", "issued_by").prefetch_related("lines__line")
    return {
        "steps": open_steps(invoice, user),
        "asks": asking.open_asks(invoice, user),
        "taken": invoice.steps.select_related("actor").order_by("-pk"),
        "payments": invoice.payments.select_related("recorded_by", "reversed_by").order_by("pk"),
        "may_reverse": asking.may(asking.REVERSE, invoice, user),
        "notes": [(note, _may_issue(note, user)) for note in notes.order_by("pk")],
        "may_credit": asking.may(asking.ISSUE_NOTE, invoice, user),
        "written": invoice.added_lines.filter(kind=AddedLine.Kind.MANUAL).select_related("author").order_by("pk"),
        "may_remove": asking.may(asking.REMOVE_LINE, invoice, user),
        "open_amount": invoice.open_amount,
        "change_text": shown_change(invoice.total.amount, invoice.total_before),  # type: ignore[attr-defined]
        "trend": shown_trend(invoice.totals, str(invoice.total.currency)),  # type: ignore[attr-defined]
        "has_shadow": bool(shadows_of(invoice.contract)),
        "replacement": Invoice.objects.filter(replaces=invoice).first(),
    }


def _may_issue(note: CreditNote, user: User) -> bool:
    return not (settings.FOUR_EYES and note.requested_by_id == user.pk)


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


def document(invoice: Invoice) -> documents.ShownDocument:
    """The invoice as the customer gets it; a draft as it is now."""
    if invoice.status != Status.DRAFT:
        return documents.shown_invoice(invoice)
    now = current([invoice])[invoice.pk]
    built = Built(invoice.contract, now, invoice.period, invoice.scheduled_at, invoice.payer)
    return documents.shown_invoice(draft_invoice(built), statement_lines(now))


def _live(billing_period: BillingPeriod) -> dict[str, Any]:
    (built,) = build([billing_period])
    return _shown(draft_invoice(built), statement_lines(built.statement)) | {"live": True}


def _shown(invoice: Invoice, lines: list[Any]) -> dict[str, Any]:
    zone = invoice.contract.zone
    return {
        "invoice": invoice,
        "lines": shown_lines(lines, invoice.contract),
        "currency": str(invoice.total.currency),
        "subtotal": invoice.subtotal.amount,
        "total": invoice.total.amount,
        "attention": invoice.attention,
        "unrated": shown_unrated(invoice.unrated, invoice.contract),
        "span": period_text(invoice.starting_at, invoice.ending_before, zone),
        "zone": zone.key,
    }
