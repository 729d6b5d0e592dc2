"""Contracts: their terms, their billing periods, the way to their live draft."""

from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db import connection
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display

from billing_project.admin import ModelAdmin, ReadOnlyInline
from contracts.admin.approval import ContractDecisions
from contracts.admin.deal_screen import copied_terms, deal_screen, offered, standing, template_named
from contracts.approval import save_terms
from contracts.deal_changes import beyond_text, deal_changes
from contracts.forms import ContractForm
from contracts.models import BillingPeriod, Contract, Standing
from contracts.period_text import day_text, period_text

STATES = {
    "active": "success",
    "shadow": "info",
    "ended": "info",
    "not started": "warning",
    "awaiting approval": "danger",
}
WAITS = "waits"  # on a request: what it changed waits for a second person


class BillingPeriodInline(ReadOnlyInline[BillingPeriod, Contract]):
    model = BillingPeriod
    fields = ["span", "state", "bill"]
    readonly_fields = ["span", "state", "bill"]
    ordering = ["-starting_at"]
    per_page = 24
    hide_title = True
    tab = True

    @admin.display(description="Period")
    def span(self, period: BillingPeriod) -> str:
        return period_text(period.starting_at, period.ending_before, period.contract.zone)

    @admin.display(description="State")
    def state(self, period: BillingPeriod) -> str:
        if period.closed_at:
            return f"closed {day_text(period.closed_at, period.contract.zone)}"
        return "due" if period.ending_before <= timezone.now() else "open"

    @admin.display(description="")
    def bill(self, period: BillingPeriod) -> str:
        label = "Invoice" if period.closed_at else "Live draft"
        return format_html(
            '<a class="text-link" href="{}">{}</a>', reverse("admin:invoicing_period", args=[period.pk]), label
        )


@admin.register(Contract)
class ContractAdmin(ContractDecisions, ModelAdmin[Contract]):
    form = ContractForm
    list_display = ["shown_name", "customer", "state", "span", "rate_card", "billing_every", "live"]
    list_filter = [
        ("customer", AutocompleteSelectFilter),
        ("rate_card", RelatedDropdownFilter),
        ("status", ChoicesDropdownFilter),
        ("billing_every", ChoicesDropdownFilter),
        "shadow",
    ]
    list_select_related = ["customer", "rate_card"]
    search_fields = ["key", "name", "customer__name", "customer__key", "rate_card__name"]
    autocomplete_fields = ["customer", "rate_card"]
    fieldsets = [
        (None, {"fields": ["key", "name", "customer", "rate_card", "currency"]}),
        ("Duration", {"fields": ["starting_at", "ending_before", "timezone"]}),
        (
            "Billing",
            {"fields": ["billing_every", "billing_anchor", "anchor_date", "net_days", "purchase_order", "shadow"]},
        ),
        ("Deal", {"fields": ["deal"], "classes": ["deal"]}),
    ]
    change_form_template = "contracts/contract_form.html"
    conditional_fields = {"anchor_date": "typeof billing_anchor == 'undefined' || billing_anchor == 'date'"}
    inlines = [BillingPeriodInline]
    actions_detail: ClassVar[list[Any]] = ["live_draft", "copy", "approve", "reject"]

    def get_inlines(self, request: HttpRequest, obj: Contract | None) -> Any:
        return self.inlines if obj else []

    def get_readonly_fields(self, request: HttpRequest, obj: Contract | None = None) -> list[str]:
        return ["key", "customer", "currency", "span"] if obj else []

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Contract | None:
        # What is compared with the page that is saved must not change before it is.
        if request.method == "POST" and connection.in_atomic_block and str(object_id).isdecimal():
            list(Contract.objects.select_for_update(no_key=True).filter(pk=object_id).values_list("pk"))
        return super().get_object(request, object_id, from_field)

    def get_fieldsets(self, request: HttpRequest, obj: Contract | None = None) -> Any:
        if obj is None or self.has_change_permission(request, obj):
            return self.fieldsets
        # Without a form the dates would be shown in the server's time zone, not in the contract's.
        return [
            (title, {"fields": ["span", "timezone"]}) if title == "Duration" else (title, fields)
            for title, fields in self.fieldsets
            if title != "Deal"
        ]

    def changes_in_words(self, obj: Contract, name: str, old: Any, new: Any) -> Any:
        return deal_changes(old or {}, new or {}, obj.zone) if name == "deal" else None

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        terms = copied_terms(request.GET.get("copy", ""))
        template = offered(request.GET.get("template", ""), request.GET.get("day", ""))
        return {**initial, **terms, **template}

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        contract = context.get("original")
        may = self.has_change_permission(request, contract) if contract else self.has_add_permission(request)
        context["deal"] = deal_screen(context["adminform"].form, contract, read_only=not may)
        context["standing"] = standing(contract)
        rendered: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return rendered

    def save_model(self, request: HttpRequest, obj: Contract, form: ModelForm[Contract], change: bool) -> None:
        if not change:
            obj.template = template_named(request.GET.get("template", ""))
        beyond = save_terms(obj, form.changed_data, cast("User", request.user))
        if beyond:
            request.__dict__[WAITS] = change
            told = "; ".join(beyond_text(str(each)) for each in beyond)
            messages.warning(request, f"{obj} waits for a second person: {told}.")

    def message_user(
        self,
        request: HttpRequest,
        message: Any,
        level: int | str = messages.INFO,
        extra_tags: str = "",
        fail_silently: bool = False,
    ) -> None:
        # A change that waits is not "changed successfully".
        if not (request.__dict__.get(WAITS) and level == messages.SUCCESS):
            super().message_user(request, message, level, extra_tags, fail_silently)

    @admin.display(description="Contract", ordering="name")
    def shown_name(self, contract: Contract) -> str:
        return str(contract)

    @display(
        description="State",
        label=STATES,
    )  # type: ignore[untyped-decorator]
    def state(self, contract: Contract) -> str:
        now = timezone.now()
        if contract.status != Standing.ACTIVE:
            return contract.get_status_display().lower()
        if contract.starting_at > now:
            return "not started"
        if contract.ending_before and contract.ending_before <= now:
            return "ended"
        return "shadow" if contract.shadow else "active"

    @admin.display(description="Lasts", ordering="starting_at")
    def span(self, contract: Contract) -> str:
        return period_text(contract.starting_at, contract.ending_before, contract.zone)

    @admin.display(description="")
    def live(self, contract: Contract) -> str:
        if self.state(contract) not in ("active", "shadow"):
            return ""
        url = reverse("admin:invoicing_live_draft", args=[contract.pk])
        return format_html('<a class="text-link whitespace-nowrap" href="{}">Live draft</a>', url)

    @action(description="Live draft", permissions=["view"], icon="receipt_long")  # type: ignore[untyped-decorator]
    def live_draft(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect("admin:invoicing_live_draft", object_id)

    @action(  # type: ignore[untyped-decorator]
        description="Copy", permissions=["contracts.add_contract"], icon="content_copy"
    )
    def copy(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(f"{reverse('admin:contracts_contract_add')}?copy={object_id}")
