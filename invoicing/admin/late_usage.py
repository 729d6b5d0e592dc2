"""Late usage: the list, and what becomes of it."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import Case, QuerySet, When
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateFilter
from unfold.decorators import display

from billing_project.admin import ReadOnlyAdmin
from billing_project.errors import RuleError
from catalog.group_values import group_text
from catalog.price_text import amount_text, exact_text
from contracts.period_text import period_text
from invoicing.deciding_late import decide
from invoicing.models import Invoice, LateUsage

Decision = LateUsage.Decision
MOST_REFUSALS_SHOWN = 10


def _link(invoice: Invoice) -> SafeString:
    url = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
    return format_html('<a class="text-link" href="{}">{}</a>', url, invoice)


@admin.register(LateUsage)
class LateUsageAdmin(ReadOnlyAdmin[LateUsage]):
    list_display = ["of_invoice", "customer", "what", "span", "shown_quantity", "shown_amount", "state", "billed_on"]
    list_display_links = None
    list_filter = [("decision", ChoicesDropdownFilter), ("found_at", RangeDateFilter)]
    list_select_related = ["invoice__customer", "invoice__contract", "added_line__invoice", "credit_note"]
    search_fields = ["name", "product", "invoice__number", "invoice__customer__name"]
    actions = ["bill_next", "credit", "write_off", "hold"]

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["invoicing/invoice.css"]}

    def get_ordering(self, request: HttpRequest) -> Any:
        """What waits for a decision first, then the newest."""
        return [Case(When(decision=Decision.PENDING, then=0), default=1).asc(), "-pk"]

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("invoicing.decide_late_usage")

    @admin.action(description="Bill on the next invoice", permissions=["decide"])
    def bill_next(self, request: HttpRequest, rows: QuerySet[LateUsage]) -> None:
        self._decide(request, rows, Decision.NEXT_INVOICE)

    @admin.action(description="Ask for credit notes", permissions=["decide"])
    def credit(self, request: HttpRequest, rows: QuerySet[LateUsage]) -> None:
        self._decide(request, rows, Decision.CREDIT_NOTE)

    @admin.action(description="Write off", permissions=["decide"])
    def write_off(self, request: HttpRequest, rows: QuerySet[LateUsage]) -> HttpResponse | None:
        """Asks for the reason first."""
        reason = request.POST.get("reason", "").strip()
        if not reason:
            context = {**self.admin_site.each_context(request), "title": "Write off late usage", "rows": rows}
            return render(request, "invoicing/write_off_late.html", context)
        self._decide(request, rows, Decision.WRITE_OFF, reason)
        return None

    @admin.action(description="Hold until decided", permissions=["decide"])
    def hold(self, request: HttpRequest, rows: QuerySet[LateUsage]) -> None:
        self._decide(request, rows, Decision.PENDING)

    def _decide(self, request: HttpRequest, rows: QuerySet[LateUsage], decision: str, reason: str = "") -> None:
        """Each row in a transaction of its own."""
        actor, decided, refusals = request.user, 0, []
        if not isinstance(actor, User):
            return
        for row in rows:
            try:
                decide(row.pk, decision, actor, reason)
                decided += 1
            except RuleError as refusal:
                refusals.append(f"{row}: {refusal.message}")
        if decided:
            messages.success(request, f"{decided:,} decided: {Decision(decision).label.lower()}.")
        for text in refusals[:MOST_REFUSALS_SHOWN]:
            messages.error(request, text)
        if len(refusals) > MOST_REFUSALS_SHOWN:
            messages.error(request, f"... and {len(refusals) - MOST_REFUSALS_SHOWN:,} more were refused.")

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        found = self.get_object(request, object_id)
        if found is None or not self.has_view_permission(request, found):
            return super().change_view(request, object_id, *args, **kwargs)
        return HttpResponseRedirect(reverse("admin:invoicing_invoice_change", args=[found.invoice_id]))

    @admin.display(description="Invoice", ordering="invoice__number")
    def of_invoice(self, row: LateUsage) -> str:
        return _link(row.invoice)

    @admin.display(description="Customer", ordering="invoice__customer__name")
    def customer(self, row: LateUsage) -> str:
        return str(row.invoice.customer)

    @admin.display(description="Usage", ordering="name")
    def what(self, row: LateUsage) -> str:
        group = group_text(row.group)
        return f"{row.name} ({group})" if group else row.name

    @admin.display(description="Of", ordering="starting_at")
    def span(self, row: LateUsage) -> str:
        return period_text(row.starting_at, row.ending_before, row.invoice.contract.zone)

    @admin.display(description="Metered")
    def shown_quantity(self, row: LateUsage) -> str:
        return f"{exact_text(row.quantity_before)} → {exact_text(row.quantity_after)}"

    @admin.display(description="Amount", ordering="amount")
    def shown_amount(self, row: LateUsage) -> str:
        return amount_text(row.amount, str(row.invoice.total.currency))

    @display(  # type: ignore[untyped-decorator]
        description="Decision",
        ordering="decision",
        label={"To be decided": "danger", "On the next invoice": "info", "Credit note": "warning"},
    )
    def state(self, row: LateUsage) -> str:
        return str(Decision(row.decision).label)

    @admin.display(description="Billed on")
    def billed_on(self, row: LateUsage) -> str:
        if row.added_line is not None:
            return _link(row.added_line.invoice)
        if row.credit_note is not None:
            return str(row.credit_note)
        return "waits for an invoice" if row.decision == Decision.NEXT_INVOICE else ""
