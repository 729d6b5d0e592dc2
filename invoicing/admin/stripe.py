"""What was told to Stripe and by it, with a button for what stopped."""

import json
from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from billing_project.admin import ModelAdmin, ReadOnlyAdmin, button
from invoicing.admin.charges import charges_of
from invoicing.admin.stripe_mirror import page_of
from invoicing.models import Invoice, Status, StripeCustomer, StripeEvent, StripePush
from invoicing.stripe_pushing import retry
from invoicing.stripe_sync import connected

STATES = {"Stopped": "danger", "Look": "warning", "Trying again": "warning", "Waiting": "info", "Done": "success"}


def state_of(push: StripePush) -> str:
    if push.blocked:
        return "Stopped"
    if push.warning:
        return "Look"
    if push.done_at:
        return "Done"
    return "Trying again" if push.last_error else "Waiting"


def stripe_box(invoice: Invoice) -> dict[str, Any]:
    """What the page of an invoice shows about Stripe."""
    rows = list(invoice.stripe_pushes.order_by("pk"))
    first = next((row for row in rows if row.step == StripePush.Step.INVOICE), None)
    warnings = [row.warning for row in rows if row.warning]
    told = [row.payment_id for row in rows if row.payment_id and row.done_at]
    if first and first.stripe_status == "open" and invoice.status == Status.ISSUED:
        parts = invoice.payments.filter(amount__gt=0, reversed_by=None).exclude(method="stripe").exclude(pk__in=told)
        if parts.exists():
            warnings.append("Part of it was paid by hand: until the next run Stripe still asks for that, too.")
    return {
        "connected": connected(),
        "first": first,
        "charges": charges_of(invoice),
        "copy": page_of(first.stripe_id) if first else "",
        "rows": [(row, state_of(row)) for row in rows],
        "warnings": warnings,
    }


class ProblemFilter(admin.SimpleListFilter):
    title = "problems"
    parameter_name = "problem"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("problems", "Stopped, or needs a look"),
            ("stopped", "Stopped"),
            ("look", "Needs a look"),
            ("later", "Tried again later"),
            ("waiting", "To do"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[StripePush]) -> QuerySet[StripePush]:
        chosen = {
            "problems": Q(blocked=True) | ~Q(warning=""),
            "stopped": Q(blocked=True),
            "look": ~Q(warning=""),
            "later": Q(done_at=None, blocked=False) & ~Q(last_error=""),
            "waiting": Q(done_at=None),
        }.get(self.value() or "")
        return queryset.filter(chosen) if chosen else queryset


@admin.register(StripePush)
class StripePushAdmin(ReadOnlyAdmin[StripePush]):
    list_display = ["shown_invoice", "step", "state", "stripe_status", "attempts", "next_attempt_at", "problem"]
    list_filter = [ProblemFilter, ("step", ChoicesDropdownFilter)]
    list_select_related = ["invoice__customer", "credit_note"]
    list_per_page = 50
    ordering = ["-pk"]
    search_fields = ["invoice__number", "invoice__customer__name", "stripe_id", "last_error"]
    fields = [
        "shown_invoice", "step", "credit_note", "state", "stripe_id", "stripe_status", "page", "copy", "attempts",
        "next_attempt_at", "last_error", "warning", "created_at", "done_at",
    ]  # fmt: skip
    actions_detail = ["retry_one"]
    actions_row = ["retry_one"]

    @admin.display(description="Invoice", ordering="invoice__number")
    def shown_invoice(self, push: StripePush) -> str:
        url = reverse("admin:invoicing_invoice_change", args=[push.invoice_id])
        name = f"{push.invoice}, {push.invoice.customer}"
        return format_html('<a class="text-link" href="{}">{}</a>', url, name)

    @display(description="State", label=STATES)  # type: ignore[untyped-decorator]
    def state(self, push: StripePush) -> str:
        return state_of(push)

    @admin.display(description="Problem")
    def problem(self, push: StripePush) -> str:
        return push.last_error or push.warning

    @admin.display(description="Page to pay on")
    def page(self, push: StripePush) -> str:
        if not push.hosted_url:
            return ""
        link = '<a class="text-link" href="{0}" target="_blank" rel="noopener">{0}</a>'
        return format_html(link, push.hosted_url)

    @admin.display(description="As it is there")
    def copy(self, push: StripePush) -> str:
        page = page_of(push.stripe_id)
        return format_html('<a class="text-link" href="{}">{}</a>', page, push.stripe_id) if page else ""

    def has_retry_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return cast("User", request.user).has_perm("invoicing.retry_stripe")

    @button(
        "Try again",
        permission="retry",
        confirm="It is pushed again with the next run. What Stripe has of it already is found and kept.",
        icon="refresh",
    )
    def retry_one(self, request: HttpRequest, object_id: str) -> str:
        return f"{retry(int(object_id), cast('User', request.user))}: tried again with the next run."


@admin.register(StripeCustomer)
class StripeCustomerAdmin(ModelAdmin[StripeCustomer]):
    list_display = ["customer", "stripe_id", "collection"]
    list_select_related = ["customer"]
    search_fields = ["customer__name", "customer__key", "stripe_id"]
    autocomplete_fields = ["customer"]

    def get_readonly_fields(self, request: HttpRequest, obj: StripeCustomer | None = None) -> list[str]:
        return ["customer"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: StripeCustomer | None = None) -> bool:
        return False  # a second customer would be made in Stripe


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnlyAdmin[StripeEvent]):
    list_display = ["created", "type", "subject", "outcome", "applied_at"]
    list_filter = [("applied_at", admin.EmptyFieldListFilter)]
    search_fields = ["stripe_id", "type", "subject", "outcome"]
    fields = ["stripe_id", "type", "subject", "created", "received_at", "applied_at", "outcome", "shown_payload"]

    @admin.display(description="As it came")
    def shown_payload(self, event: StripeEvent) -> str:
        return format_html('<pre style="white-space: pre-wrap">{}</pre>', json.dumps(event.payload, indent=2))
