"""What the deal desk works with: guardrails, and deals that wait for a second person."""

from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html_join
from django.utils.text import Truncator
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from billing_project.admin import ModelAdmin, ReadOnlyAdmin, button
from contracts.approval import (
    PERMISSION,
    approve_amendment,
    approve_contract,
    reject_amendment,
    reject_contract,
)
from contracts.changing import COLUMNS
from contracts.deal_changes import beyond_text, deal_changes
from contracts.models import Amendment, Contract, DealGuardrails, Standing
from contracts.period_text import instant_text, minute_text

LABELS = {"Awaiting approval": "warning", "In force": "success", "Rejected": "danger"}


class DecidingAdmin:
    """Approve and reject, for those who may, where something waits."""

    deciding: tuple[Any, str]

    def has_decide_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        model, waits = self.deciding
        may = cast("User", request.user).has_perm(PERMISSION)
        if not may or not str(object_id).isdecimal():
            return may
        return bool(model.objects.filter(pk=object_id, status=waits).exists())


class ContractDecisions(DecidingAdmin):
    """The buttons of a contract that waits."""

    deciding = (Contract, Standing.AWAITING_APPROVAL)

    @button(
        "Approve",
        permission="decide",
        confirm="The deal goes beyond the guardrails. Approved, it is in force and bills from its start.",
        icon="check",
        note=True,
    )
    def approve(self, request: HttpRequest, object_id: str, note: str) -> str:
        return f"{approve_contract(int(object_id), cast('User', request.user), note)} is active."

    @button("Send back", permission="decide", confirm="Say what must change.", icon="undo", note=True)
    def reject(self, request: HttpRequest, object_id: str, note: str) -> str:
        return f"{reject_contract(int(object_id), cast('User', request.user), note)} is a draft again."


@admin.register(Amendment)
class AmendmentAdmin(DecidingAdmin, ReadOnlyAdmin[Amendment]):
    deciding = (Amendment, Amendment.Status.WAITING)
    list_display = ["contract", "customer", "kind", "state", "effective", "shown_reason", "asked_by", "asked"]
    list_filter = [("status", ChoicesDropdownFilter), ("contract", AutocompleteSelectFilter)]
    list_select_related = ["contract__customer", "created_by"]
    search_fields = ["contract__key", "contract__name", "reason"]
    actions_detail = ["approve", "reject"]
    readonly_fields = ["contract", "customer", "kind", "state", "effective", "goes_beyond", "difference", "reason",
                       "asked_by", "asked", "decided_by", "decided", "note"]  # fmt: skip

    def get_fields(self, request: HttpRequest, obj: Amendment | None = None) -> Any:
        of_decision = {"decided_by", "decided", "note"} if obj and obj.decided_at is None else set()
        return [name for name in self.readonly_fields if name not in of_decision]

    @admin.display(description="Customer", ordering="contract__customer__name")
    def customer(self, amendment: Amendment) -> str:
        return str(amendment.contract.customer)

    @admin.display(description="Takes effect", ordering="effective_at")
    def effective(self, amendment: Amendment) -> str:
        return instant_text(amendment.effective_at, amendment.contract.zone) if amendment.effective_at else "–"

    @admin.display(description="Reason")
    def shown_reason(self, amendment: Amendment) -> str:
        return Truncator(amendment.reason).chars(60)

    @admin.display(description="Asked on", ordering="created_at")
    def asked(self, amendment: Amendment) -> str:
        return minute_text(amendment.created_at, amendment.contract.zone)

    @admin.display(description="Decided on")
    def decided(self, amendment: Amendment) -> str:
        return minute_text(amendment.decided_at, amendment.contract.zone) if amendment.decided_at else "–"

    @display(description="Status", ordering="status", label=LABELS)  # type: ignore[untyped-decorator]
    def state(self, amendment: Amendment) -> str:
        return amendment.get_status_display()

    @admin.display(description="Asked by")
    def asked_by(self, amendment: Amendment) -> str:
        return str(amendment.created_by) if amendment.created_by else "a program"

    @admin.display(description="Beyond the guardrails")
    def goes_beyond(self, amendment: Amendment) -> str:
        rows = ((beyond_text(each),) for each in amendment.beyond)
        return format_html_join("", "<div>{}</div>", rows) or "Nothing."

    @admin.display(description="What changes")
    def difference(self, amendment: Amendment) -> str:
        return render_to_string("contracts/difference.html", {"rows": _differences(amendment)})

    @button(
        "Approve",
        permission="decide",
        confirm="The amendment goes beyond the guardrails. Approved, it is in force.",
        icon="check",
        note=True,
    )
    def approve(self, request: HttpRequest, object_id: str, note: str) -> str:
        return f"{approve_amendment(int(object_id), cast('User', request.user), note)} is in force."

    @button("Reject", permission="decide", confirm="The terms stay as they are. Say why.", icon="close", note=True)
    def reject(self, request: HttpRequest, object_id: str, note: str) -> str:
        return f"{reject_amendment(int(object_id), cast('User', request.user), note)} is rejected."


def _differences(amendment: Amendment) -> list[tuple[str, str, str]]:
    """What differs, by the names of the contract's form: columns, and each part of the deal by itself."""
    before, after, zone = amendment.before, amendment.after, amendment.contract.zone
    columns = [
        (COLUMNS[name].verbose_name.capitalize(), _shown(before[name], zone), _shown(after.get(name), zone))
        for name in before
        if name != "deal" and before[name] != after.get(name)
    ]
    terms = deal_changes(before.get("deal") or {}, after.get("deal") or {}, zone)
    return [*columns, *((where, old or "–", new or "–") for where, old, new in terms)]


def _shown(value: Any, zone: ZoneInfo) -> str:
    """A column as amendments keep it: instants are text."""
    if value is None or value == "":
        return "–"
    try:
        return instant_text(datetime.fromisoformat(value), zone)
    except (TypeError, ValueError):
        return str(value)


@admin.register(DealGuardrails)
class DealGuardrailsAdmin(ModelAdmin[DealGuardrails]):
    list_display = ["deals_in", "max_discount_percent", "max_discount_amount", "max_reduction_percent",
                    "max_free_amount", "max_term_months", "max_net_days", "own_prices"]  # fmt: skip
    fieldsets = [
        (None, {"fields": ["currency"], "description": "A deal beyond any of these waits for a second person."}),
        ("Discounts and prices", {"fields": ["max_discount_percent", "max_discount_amount", "max_reduction_percent",
                                             "overwrites_need_approval"]}),
        ("Credits", {"fields": ["max_free_amount"]}),
        ("Terms", {"fields": ["max_term_months", "max_net_days"]}),
    ]  # fmt: skip

    @admin.display(description="Deals in", ordering="currency")
    def deals_in(self, limits: DealGuardrails) -> str:
        return limits.currency or "any other"

    @admin.display(description="Own prices", ordering="overwrites_need_approval")
    def own_prices(self, limits: DealGuardrails) -> str:
        return "approved" if limits.overwrites_need_approval else "free"
