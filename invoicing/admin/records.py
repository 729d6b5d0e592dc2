"""What came in and what was credited, as lists to read; the rules of automatic approval."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateFilter
from unfold.decorators import display

from billing_project.admin import ModelAdmin, ReadOnlyAdmin, plain
from catalog.price_text import amount_text
from invoicing.admin.document_pages import credit_note_urls
from invoicing.models import AutoApproval, CreditNote, Invoice, Payment, Recharge


def _link(invoice: Invoice, anchor: str = "") -> SafeString:
    url = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
    return format_html('<a class="text-link" href="{}{}">{}</a>', url, anchor, invoice)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin[Payment]):
    list_display = ["received", "of_invoice", "customer", "shown_amount", "method", "reference", "recorded_by"]
    list_display_links = None
    list_filter = [("method", ChoicesDropdownFilter), ("received_at", RangeDateFilter)]
    list_select_related = ["invoice__customer", "recorded_by"]
    search_fields = ["reference", "invoice__number", "invoice__customer__name", "source"]
    ordering = ["-received_at", "-pk"]

    @admin.display(description="Received", ordering="received_at")
    def received(self, payment: Payment) -> str:
        return f"{payment.received_at:%-d %b %Y}"

    @admin.display(description="Invoice", ordering="invoice__number")
    def of_invoice(self, payment: Payment) -> str:
        return _link(payment.invoice)

    @admin.display(description="Customer", ordering="invoice__customer__name")
    def customer(self, payment: Payment) -> str:
        return str(payment.invoice.customer)

    @admin.display(description="Amount", ordering="amount")
    def shown_amount(self, payment: Payment) -> str:
        return amount_text(payment.amount, str(payment.invoice.total.currency))

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        found = self.get_object(request, object_id)
        if found is None or not self.has_view_permission(request, found):
            return super().change_view(request, object_id, *args, **kwargs)
        return HttpResponseRedirect(reverse("admin:invoicing_invoice_change", args=[found.invoice_id]))


@admin.register(CreditNote)
class CreditNoteAdmin(ReadOnlyAdmin[CreditNote]):
    list_display = ["name", "of_invoice", "customer", "shown_total", "reason", "requested_by", "asked", "state"]
    list_filter = [("status", ChoicesDropdownFilter), ("requested_at", RangeDateFilter)]
    list_select_related = ["invoice__customer", "requested_by"]
    search_fields = ["number", "reason", "invoice__number", "invoice__customer__name"]

    def get_urls(self) -> list[URLPattern]:
        return [*credit_note_urls(self.admin_site.admin_view, self._may_view), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditNote]:
        return super().get_queryset(request).order_by("-pk")

    def _may_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Its invoice, where it is issued or rejected."""
        found = self.get_object(request, object_id)
        if found is None or not self.has_view_permission(request, found):
            return super().change_view(request, object_id, *args, **kwargs)
        url = reverse("admin:invoicing_invoice_change", args=[found.invoice_id])
        return HttpResponseRedirect(f"{url}#credit-notes")

    @admin.display(description="Number", ordering="number")
    def name(self, note: CreditNote) -> str:
        return note.number or "at issue"

    @admin.display(description="Invoice", ordering="invoice__number")
    def of_invoice(self, note: CreditNote) -> str:
        return _link(note.invoice, "#credit-notes")

    @admin.display(description="Customer", ordering="invoice__customer__name")
    def customer(self, note: CreditNote) -> str:
        return str(note.invoice.customer)

    @admin.display(description="Total", ordering="total")
    def shown_total(self, note: CreditNote) -> str:
        return amount_text(note.total, str(note.invoice.total.currency))

    @admin.display(description="Asked for", ordering="requested_at")
    def asked(self, note: CreditNote) -> str:
        return f"{note.requested_at:%-d %b %Y}"

    @display(  # type: ignore[untyped-decorator]
        description="Status",
        ordering="status",
        label={"Requested": "warning", "Issued": "success", "Rejected": "danger"},
    )
    def state(self, note: CreditNote) -> str:
        return note.get_status_display()


@admin.register(Recharge)
class RechargeAdmin(ReadOnlyAdmin[Recharge]):
    list_display = ["balance", "of_contract", "at", "shown_left", "shown_amount", "shown_charge", "of_invoice", "state"]
    list_display_links = None
    list_filter = [("status", ChoicesDropdownFilter), ("at", RangeDateFilter)]
    list_select_related = ["contract__customer", "invoice"]
    search_fields = ["contract__key", "contract__customer__name", "invoice__number"]

    @admin.display(description="Contract", ordering="contract__key")
    def of_contract(self, made: Recharge) -> str:
        url = reverse("admin:contracts_contract_change", args=[made.contract_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, made.contract)

    @admin.display(description="Was left")
    def shown_left(self, made: Recharge) -> str:
        return amount_text(made.left, made.unit or made.contract.currency)

    @admin.display(description="Added")
    def shown_amount(self, made: Recharge) -> str:
        return amount_text(made.amount, made.unit or made.contract.currency)

    @admin.display(description="Charged")
    def shown_charge(self, made: Recharge) -> str:
        return amount_text(made.charge, made.contract.currency)

    @admin.display(description="Invoice")
    def of_invoice(self, made: Recharge) -> str:
        return _link(made.invoice) if made.invoice else "none"

    @display(  # type: ignore[untyped-decorator]
        description="Status",
        ordering="status",
        label={"Waits for payment": "warning", "Usable": "success", "Never paid": "danger"},
    )
    def state(self, made: Recharge) -> str:
        return made.get_status_display()


@admin.register(AutoApproval)
class AutoApprovalAdmin(ModelAdmin[AutoApproval]):
    list_display = ["name", "currency", "shown_total", "shown_change", "active"]
    list_filter = ["active"]
    fields = ["currency", "largest_total", "largest_change_percent", "active"]

    @admin.display(description="Rule")
    def name(self, rule: AutoApproval) -> str:
        return f"Rule {rule.pk}"

    @admin.display(description="Up to", ordering="largest_total")
    def shown_total(self, rule: AutoApproval) -> str:
        return amount_text(rule.largest_total, rule.currency)

    @admin.display(description="Change against the last", ordering="largest_change_percent")
    def shown_change(self, rule: AutoApproval) -> str:
        return "any" if rule.largest_change_percent is None else f"up to {plain(rule.largest_change_percent)}%"
