"""What the deal desk works with: guardrails, deals that wait for a second person, contract templates."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_project.admin import ModelAdmin, ReadOnlyAdmin, button
from contracts.approval import (
    PERMISSION,
    approve_amendment,
    approve_contract,
    reject_amendment,
    reject_contract,
)
from contracts.models import Amendment, ContractTemplate, DealGuardrails

LABELS = {"Awaiting approval": "warning", "In force": "success", "Rejected": "danger"}


class DecidingAdmin:
    """Approve and reject, for those who may."""

    def has_decide_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return cast("User", request.user).has_perm(PERMISSION)


class ContractDecisions(DecidingAdmin):
    """The buttons of a contract that waits."""

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
    list_display = ["contract", "kind", "state", "effective_at", "asked_by", "created_at"]
    list_filter = [("status", ChoicesDropdownFilter), ("contract", AutocompleteSelectFilter)]
    list_select_related = ["contract", "created_by"]
    search_fields = ["contract__key", "contract__name", "reason"]
    actions_detail = ["approve", "reject"]
    readonly_fields = ["contract", "kind", "state", "effective_at", "goes_beyond", "difference", "reason", "asked_by",
                       "created_at", "decided_by", "decided_at", "note"]  # fmt: skip

    def get_fields(self, request: HttpRequest, obj: Amendment | None = None) -> Any:
        return self.readonly_fields

    @display(description="Status", ordering="status", label=LABELS)  # type: ignore[untyped-decorator]
    def state(self, amendment: Amendment) -> str:
        return amendment.get_status_display()

    @admin.display(description="Asked by")
    def asked_by(self, amendment: Amendment) -> str:
        return str(amendment.created_by) if amendment.created_by else "a program"

    @admin.display(description="Beyond the guardrails")
    def goes_beyond(self, amendment: Amendment) -> str:
        return format_html_join("", "<div>{}</div>", ((each,) for each in amendment.beyond)) or "Nothing."

    @admin.display(description="What changes")
    def difference(self, amendment: Amendment) -> str:
        rows = [
            (name, before, after)
            for name, before, after in _differences(amendment.before, amendment.after)
            if before != after
        ]
        text = "<div><strong>{}</strong>: <del>{}</del> → {}</div>"
        return format_html_join("", text, rows) or format_html("{}", "Nothing.")

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


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Columns, and the parts of the deal, that differ."""
    columns = [(name, before[name], after.get(name)) for name in before if name != "deal"]
    old, new = before.get("deal") or {}, after.get("deal") or {}
    return columns + [(name, old.get(name, "none"), new.get(name, "none")) for name in sorted({*old, *new})]


@admin.register(DealGuardrails)
class DealGuardrailsAdmin(ModelAdmin[DealGuardrails]):
    list_display = ["__str__", "max_discount_percent", "max_reduction_percent", "max_free_amount", "max_term_months",
                    "max_net_days"]  # fmt: skip


class TemplateForm(forms.ModelForm[ContractTemplate]):
    class Meta:
        model = ContractTemplate
        fields = ["key", "name", "rate_card", "document", "archived_at"]
        widgets = {"document": UnfoldAdminTextareaWidget(attrs={"rows": 24, "spellcheck": "false"})}


@admin.register(ContractTemplate)
class ContractTemplateAdmin(ModelAdmin[ContractTemplate]):
    form = TemplateForm
    list_display = ["name", "key", "rate_card", "archived_at"]
    search_fields = ["key", "name"]
    autocomplete_fields = ["rate_card"]

    def get_readonly_fields(self, request: HttpRequest, obj: ContractTemplate | None = None) -> list[str]:
        return ["key"] if obj else []
