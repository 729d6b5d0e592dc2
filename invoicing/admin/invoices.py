"""Invoices: the list, the page of one with its buttons, its live draft and its document."""

from functools import partial
from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from billing_project.admin import ReadOnlyAdmin
from catalog.price_text import amount_text
from contracts.period_text import day_text, period_text
from invoicing.admin import asking, pages, steps
from invoicing.admin.bulk_page import bulk_page
from invoicing.admin.document_pages import document_urls
from invoicing.admin.filters import (
    AgeFilter,
    CurrencyFilter,
    LastDayFilter,
    NeedsLookFilter,
    OwedByFilter,
    ShadowFilter,
)
from invoicing.admin.month_page import close_page, month_page
from invoicing.admin.queue import ORDER, compare, list_url, neighbours, shown_change, shown_trend, tabs
from invoicing.admin.receivables_page import receivables_page
from invoicing.admin.stripe import stripe_box
from invoicing.admin.waterfall_page import waterfall_page
from invoicing.bulk_steps import begin
from invoicing.models import Invoice, Status
from invoicing.tax_terms import by_stripe

LABELS = {
    Status.DRAFT.label: "info",
    Status.IN_REVIEW.label: "warning",
    Status.APPROVED.label: "primary",
    Status.ISSUED.label: "success",
    Status.PAID.label: "success",
    Status.VOID.label: "danger",
    Status.UNCOLLECTIBLE.label: "danger",
}


def _in_queue(request: HttpRequest) -> bool:
    return request.GET.get("status__exact") == Status.IN_REVIEW


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyAdmin[Invoice]):
    list_display = ["customer", "number", "span", "shown_total", "number_of_lines", "flags", "state"]
    list_display_links = ["customer", "number"]
    list_filter = [
        ("status", ChoicesDropdownFilter),
        NeedsLookFilter,
        ("customer", AutocompleteSelectFilter),
        OwedByFilter,
        CurrencyFilter,
        AgeFilter,
        ShadowFilter,
        ("ending_before", LastDayFilter),
    ]
    list_select_related = ["customer", "contract"]
    list_before_template = "invoicing/tabs.html"
    list_per_page = 50
    search_fields = ["number", "customer__name", "customer__key", "contract__key"]
    actions = ["approve_selected", "issue_selected"]
    change_form_template = "invoicing/invoice_page.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Invoice]:
        return super().get_queryset(request).annotate(line_count=Count("lines"))

    def get_list_display(self, request: HttpRequest) -> Any:
        if _in_queue(request):
            return ["customer", "span", "shown_total", "before", "change", "trend", "flags"]
        if request.GET.get("status__exact") == Status.ISSUED:
            return ["customer", "number", "span", "shown_total", "still_open", "due", "state"]
        return super().get_list_display(request)

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        return ["customer"] if _in_queue(request) else super().get_list_display_links(request, list_display)

    def get_ordering(self, request: HttpRequest) -> Any:
        return ORDER if _in_queue(request) else super().get_ordering(request)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        if _in_queue(request):
            compare(found.result_list)
        return found

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        shown = {"tabs": tabs(request.GET), "in_queue": _in_queue(request)}
        return super().changelist_view(request, {**(extra_context or {}), **shown})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        invoice = self.get_object(request, object_id)
        shown = {}
        if invoice is not None:
            before, after = neighbours(invoice)
            user = cast("User", request.user)
            shown = {**pages.invoice_page(invoice), **pages.history(invoice, user), "before": before, "after": after}
            shown["stripe"] = stripe_box(invoice)
            shown["tax_to_ask"] = by_stripe(invoice.paid_by) and not invoice.frozen and not invoice.taxes
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})
        return response

    def get_urls(self) -> list[URLPattern]:
        pages_of_one = [
            path(
                f"<int:invoice>/{step.name}/",
                self.admin_site.admin_view(partial(self.step_view, step=step)),
                name=f"invoicing_invoice_{step.name}",
            )
            for step in steps.STEPS
        ]
        forms = [self._ask_url(ask) for ask in (*asking.ASKS, *asking.OF_PARTS)]
        return [
            *pages_of_one,
            *forms,
            path("receivables/", self.admin_site.admin_view(self.receivables), name="invoicing_receivables"),
            path("month/", self.admin_site.admin_view(self.month), name="invoicing_month"),
            path("month/close/", self.admin_site.admin_view(self.close_month), name="invoicing_month_close"),
            path("bulk/<int:bulk>/", self.admin_site.admin_view(self.bulk), name="invoicing_bulk"),
            path("waterfall/", self.admin_site.admin_view(self.waterfall), name="invoicing_waterfall"),
            path("review/", self.admin_site.admin_view(self.review_queue), name="invoicing_review_queue"),
            *document_urls(self.admin_site.admin_view, self._may_view),
            path("live/<int:contract>/", self.admin_site.admin_view(self.live_draft), name="invoicing_live_draft"),
            path("period/<int:period>/", self.admin_site.admin_view(self.period), name="invoicing_period"),
            *super().get_urls(),
        ]

    def step_view(self, request: HttpRequest, invoice: int, step: steps.Step) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._may_view(request)
        _, after = neighbours(get_object_or_404(Invoice, pk=invoice))
        done = steps.take(request, cast("User", request.user), step, invoice)
        return redirect("admin:invoicing_invoice_change", (done and "next" in request.POST and after) or invoice)

    def _ask_url(self, ask: asking.Ask) -> URLPattern:
        route = f"<int:invoice>/{ask.name}/" + ("<int:part>/" if ask.of else "")
        view = self.admin_site.admin_view(partial(self.ask_view, ask=ask))
        return path(route, view, name=f"invoicing_invoice_{ask.name}")

    def ask_view(self, request: HttpRequest, ask: asking.Ask, invoice: int, part: int | None = None) -> HttpResponse:
        self._may_view(request)
        return asking.ask_page(request, self.admin_site.each_context(request), ask, invoice, part)

    def review_queue(self, request: HttpRequest) -> HttpResponse:
        return redirect(list_url(Status.IN_REVIEW))

    def receivables(self, request: HttpRequest) -> HttpResponse:
        self._may_view(request)
        return receivables_page(request, self.admin_site.each_context(request))

    def month(self, request: HttpRequest) -> HttpResponse:
        self._may_view(request)
        return month_page(request, self.admin_site.each_context(request))

    def close_month(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._may_view(request)
        return close_page(request, self.admin_site.each_context(request))

    def bulk(self, request: HttpRequest, bulk: int) -> HttpResponse:
        self._may_view(request)
        return bulk_page(request, self.admin_site.each_context(request), bulk)

    def waterfall(self, request: HttpRequest) -> HttpResponseBase:
        self._may_view(request)
        return waterfall_page(request, self.admin_site.each_context(request))

    def live_draft(self, request: HttpRequest, contract: int) -> HttpResponse:
        """The running billing period of a contract."""
        self._may_view(request)
        return pages.running_period(request, self.admin_site.each_context(request), contract)

    def period(self, request: HttpRequest, period: int) -> HttpResponse:
        """The invoice of a billing period, or what it would be."""
        self._may_view(request)
        return pages.period(request, self.admin_site.each_context(request), period)

    def _may_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def has_approve_permission(self, request: HttpRequest) -> bool:
        return cast("User", request.user).has_perm(steps.APPROVE.permission)

    def has_issue_permission(self, request: HttpRequest) -> bool:
        return cast("User", request.user).has_perm(steps.ISSUE.permission)

    @admin.action(description="Approve", permissions=["approve"])
    def approve_selected(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> HttpResponse | None:
        return self._take_all(request, steps.APPROVE, queryset)

    @admin.action(description="Issue", permissions=["issue"])
    def issue_selected(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> HttpResponse | None:
        return self._take_all(request, steps.ISSUE, queryset.order_by("ending_before", "customer__name", "pk"))

    def _take_all(self, request: HttpRequest, step: steps.Step, queryset: QuerySet[Invoice]) -> HttpResponse | None:
        """At once what fits into one request; more has a page that shows how far it is."""
        user = cast("User", request.user)
        chosen = list(queryset.values_list("pk", flat=True))
        if len(chosen) > self.list_per_page:
            return redirect("admin:invoicing_bulk", begin(step.name, chosen, user).pk)
        steps.take_all(request, user, step, queryset)
        return None

    @admin.display(description="Period", ordering="ending_before")
    def span(self, invoice: Invoice) -> str:
        return period_text(invoice.starting_at, invoice.ending_before, invoice.contract.zone)

    @admin.display(description="Total", ordering="total")
    def shown_total(self, invoice: Invoice) -> str:
        return amount_text(invoice.total.amount, str(invoice.total.currency))

    @admin.display(description="Open")
    def still_open(self, invoice: Invoice) -> str:
        return amount_text(invoice.open_amount, str(invoice.total.currency))

    @admin.display(description="Due", ordering="due_at")
    def due(self, invoice: Invoice) -> str:
        if invoice.due_at is None:
            return ""
        day = day_text(invoice.due_at, invoice.contract.zone)
        late = (timezone.now() - invoice.due_at).days
        if late < 1:
            return day
        return format_html('{} <span class="ch-late">{} day{} late</span>', day, late, "" if late == 1 else "s")

    @admin.display(description="Lines", ordering="line_count")
    def number_of_lines(self, invoice: Invoice) -> int:
        return getattr(invoice, "line_count", 0)

    @admin.display(description="Last total")
    def before(self, invoice: Invoice) -> str:
        before = getattr(invoice, "total_before", None)
        return "first" if before is None else amount_text(before, str(invoice.total.currency))

    @admin.display(description="Change")
    def change(self, invoice: Invoice) -> str:
        return shown_change(invoice.total.amount, getattr(invoice, "total_before", None))

    @admin.display(description="Last six")
    def trend(self, invoice: Invoice) -> str:
        return shown_trend(getattr(invoice, "totals", []), str(invoice.total.currency))

    @admin.display(description="Needs a look", ordering="attention__len")
    def flags(self, invoice: Invoice) -> str:
        rejected = [f"Rejected: {invoice.hold_reason}"] if invoice.hold_reason else []
        return " ".join([*rejected, *invoice.attention])

    @display(description="Status", ordering="status", label=LABELS)  # type: ignore[untyped-decorator]
    def state(self, invoice: Invoice) -> str:
        return invoice.get_status_display()
