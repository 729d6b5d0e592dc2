"""Charges of threshold invoices and recharges: each attempt, what the bank said, when the next one is, and a button."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from billing_project.admin import ReadOnlyAdmin, button
from catalog.price_text import amount_text
from invoicing.charging import charge_now
from invoicing.models import ChargeAttempt, Invoice, Status

Outcome = ChargeAttempt.Outcome
STATES = {
    "Refused": "danger",
    "Refused, no further one planned": "danger",
    "To come": "info",
    "Under way": "info",
    "Paid": "success",
    "Not needed any more": "",
}


def charges_of(invoice: Invoice) -> list[tuple[ChargeAttempt, str]]:
    """The attempts at an invoice with their states, the first one first."""
    rows = list(invoice.charge_attempts.order_by("number"))
    last = rows[-1].number if rows else 0
    return [(row, state_of(row, last, invoice)) for row in rows]


def may_be_charged(invoice: Invoice) -> bool:
    """Whether there is an attempt to bring forward or to add."""
    last = invoice.charge_attempts.order_by("-number").first()
    return invoice.status == Status.ISSUED and last is not None and last.outcome in (Outcome.TO_COME, Outcome.REFUSED)


def state_of(row: ChargeAttempt, last: int, invoice: Invoice) -> str:
    gave_up = row.outcome == Outcome.REFUSED and row.number == last and invoice.status == Status.ISSUED
    return "Refused, no further one planned" if gave_up else row.get_outcome_display()


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("given_up", "Refused, no further one planned"),
            ("to_come", "To come"),
            ("refused", "Refused"),
            ("under_way", "Under way"),
            ("paid", "Paid"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ChargeAttempt]) -> QuerySet[ChargeAttempt]:
        chosen = self.value()
        if chosen == "given_up":
            last = ChargeAttempt.objects.filter(invoice=OuterRef("invoice")).order_by("-number").values("number")[:1]
            return queryset.filter(outcome=Outcome.REFUSED, invoice__status=Status.ISSUED, number=Subquery(last))
        return queryset.filter(outcome="" if chosen == "to_come" else chosen) if chosen else queryset


@admin.register(ChargeAttempt)
class ChargeAttemptAdmin(ReadOnlyAdmin[ChargeAttempt]):
    list_display = ["shown_invoice", "customer", "shown_open", "charge", "state", "due_at", "ended_at", "message"]
    list_display_links = None
    list_filter = [StateFilter]
    list_select_related = ["invoice__customer"]
    list_per_page = 50
    search_fields = ["invoice__number", "invoice__customer__name", "message"]
    actions_row = ["charge_one"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChargeAttempt]:
        last = ChargeAttempt.objects.filter(invoice=OuterRef("invoice")).order_by("-number").values("number")[:1]
        return super().get_queryset(request).annotate(last=Subquery(last))

    @admin.display(description="Invoice", ordering="invoice__number")
    def shown_invoice(self, row: ChargeAttempt) -> str:
        url = reverse("admin:invoicing_invoice_change", args=[row.invoice_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, row.invoice)

    @admin.display(description="Customer", ordering="invoice__customer__name")
    def customer(self, row: ChargeAttempt) -> str:
        return str(row.invoice.customer)

    @admin.display(description="Open")
    def shown_open(self, row: ChargeAttempt) -> str:
        return amount_text(row.invoice.open_amount, str(row.invoice.total.currency))

    @admin.display(description="Charge", ordering="number")
    def charge(self, row: ChargeAttempt) -> str:
        return f"no. {row.number}"

    @display(description="State", label=STATES)  # type: ignore[untyped-decorator]
    def state(self, row: ChargeAttempt) -> str:
        return state_of(row, getattr(row, "last", row.number), row.invoice)

    def has_charge_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return cast("User", request.user).has_perm("invoicing.retry_stripe")

    @button(
        "Charge now",
        permission="charge",
        confirm="The customer's payment method is charged with the next run, within a minute.",
        icon="credit_card",
    )
    def charge_one(self, request: HttpRequest, object_id: str) -> str:
        row = get_object_or_404(ChargeAttempt, pk=object_id)
        return f"{charge_now(row.invoice_id, cast('User', request.user))}: made with the next run."
