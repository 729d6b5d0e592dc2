"""The page of a contract with what only this floor knows: a live preview of what its terms bill, and what is billed
already and stays.
"""

from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from unfold.decorators import action

from billing_project.errors import RuleError
from catalog.documents import DocumentError
from contracts.admin.contracts import ContractAdmin
from contracts.deal_field import faults_by_path
from contracts.deal_format import DealError, Fault, deal_as_dict
from contracts.forms import ContractForm
from contracts.models import Contract
from contracts.period_text import instant_text, period_text
from contracts.timeline import timeline
from invoicing.admin.contract_steps import END, RENEW, SEATS, may_take, step_page
from invoicing.admin.lines import shown_lines, shown_unrated, statement_lines
from invoicing.admin.shadow_page import shadow_page, shadows_of
from invoicing.billing_file.frozen import frozen_terms
from invoicing.payment_gates import shut
from invoicing.preview import Next, preview
from invoicing.statement import Statement

# Without these there is nothing to work out.
NEEDED = {
    *("customer", "rate_card", "currency", "ending_before", "timezone", "deal"),
    *("billing_every", "billing_anchor", "anchor_date"),
}


class BilledContractForm(ContractForm):
    def frozen_faults(self, deal: dict[str, Any]) -> list[Fault]:
        if not self.instance.pk:
            return []
        before = deal_as_dict(self.instance.parsed_deal)
        return frozen_terms(self.instance, before, deal) if deal != before else []


admin.site.unregister(Contract)


@admin.register(Contract)
class BilledContractAdmin(ContractAdmin):
    form = BilledContractForm
    # One menu for what changes it: with a button for each there is no room for the name of the contract.
    actions_detail: ClassVar[list[Any]] = [
        *("live_draft", "shadows"),
        {"title": "Change", "icon": "edit_calendar", "items": ["change_seats", "renew", "end_early"]},
        *("copy", "approve", "reject"),
    ]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        contract = context.get("original")
        context["gate"] = shut([contract], timezone.now()).get(contract.pk) if contract else None
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        page = path("preview/", self.admin_site.admin_view(self.preview), name="invoicing_contract_preview")
        shadow = path("<int:contract>/shadow/", self.admin_site.admin_view(self.shadow), name="invoicing_shadow")
        return [page, shadow, *super().get_urls()]

    def shadow(self, request: HttpRequest, contract: int) -> HttpResponse:
        """The shadows that stand beside a contract, and what they would have billed."""
        if not (self.has_view_permission(request) and request.user.has_perm("invoicing.view_invoice")):
            raise PermissionDenied
        return shadow_page(request, self.admin_site.each_context(request), contract)

    @action(  # type: ignore[untyped-decorator]
        description="Shadow comparison", permissions=["compare"], icon="difference"
    )
    def shadows(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect("admin:invoicing_shadow", object_id)

    def has_compare_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Where there is something to compare."""
        contract = Contract.objects.filter(pk=object_id).first() if str(object_id).isdecimal() else None
        may = request.user.has_perm("invoicing.view_invoice")
        return may and contract is not None and bool(shadows_of(contract))

    @action(  # type: ignore[untyped-decorator]
        description=END.label, permissions=["end"], icon="event_busy"
    )
    def end_early(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return step_page(request, self.admin_site.each_context(request), END, object_id)

    @action(  # type: ignore[untyped-decorator]
        description=RENEW.label, permissions=["renew"], icon="autorenew"
    )
    def renew(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return step_page(request, self.admin_site.each_context(request), RENEW, object_id)

    @action(  # type: ignore[untyped-decorator]
        description=SEATS.label, permissions=["seats"], icon="group"
    )
    def change_seats(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return step_page(request, self.admin_site.each_context(request), SEATS, object_id)

    def has_end_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return may_take(END, request, object_id)

    def has_renew_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return may_take(RENEW, request, object_id)

    def has_seats_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return may_take(SEATS, request, object_id)

    def preview(self, request: HttpRequest) -> HttpResponse:
        """What the form that is posted would bill; without one, what the saved contract bills. Writes nothing."""
        if not (self.has_view_permission(request) and request.user.has_perm("invoicing.view_invoice")):
            raise PermissionDenied
        saved = self._saved(request)
        if request.method != "POST":
            return JsonResponse(_answer(saved, [], []) if saved else {})
        form = self.get_form(request, saved, change=saved is not None)(request.POST, instance=saved or Contract())
        if form.is_valid():
            return JsonResponse(_answer(form.instance, [], []))
        faults = faults_by_path(DealError(getattr(form, "deal_faults", ())))
        wrong = [
            f"{form[name].label if name in form.fields else 'The contract'}: {text}"
            for name, texts in form.errors.items()
            for text in texts
            if not (name == "deal" and faults)
        ]
        instance = form.instance
        usable = not (NEEDED & form.errors.keys()) and instance.starting_at and instance.rate_card_id
        return JsonResponse(_answer(form.instance if usable else None, wrong, faults))

    def _saved(self, request: HttpRequest) -> Contract | None:
        key = request.GET.get("contract", "")
        if not key.isdecimal():
            return None
        return get_object_or_404(Contract.objects.select_related("customer", "rate_card"), pk=key)


def _answer(contract: Contract | None, wrong: list[str], faults: list[dict[str, str]]) -> dict[str, Any]:
    """`contract`: none when what is wrong leaves nothing to work out; the page then keeps what it showed."""
    now = timezone.now()
    html, note = None, "waits for what is missing"
    if contract is not None:
        try:
            html = render_to_string("invoicing/contract_preview.html", _shown(contract, now))
            note = f"as of {now.astimezone(contract.zone):%-d %b %Y %H:%M}"
        except (RuleError, DealError, DocumentError) as refusal:
            wrong = [*wrong, str(refusal)]
    said = render_to_string("contracts/faults.html", {"wrong": wrong, "faults": faults, "what": "The deal"})
    return {"html": html, "wrong": said, "faults": faults, "note": note}


def _shown(contract: Contract, now: Any) -> dict[str, Any]:
    found = preview(contract, now)
    zone = contract.zone
    closed = [
        {"row": row, "span": period_text(row.period.starting_at, row.period.ending_before, zone)}
        for row in found.closed
    ]
    return {
        "contract": contract,
        "currency": contract.currency,
        "running": found.running is not None,
        "coming": [_coming(each, contract) for each in found.coming],
        "closed": closed,
        "of_another": any(row.by.pk != contract.pk for row in found.closed),
        "timeline": timeline(contract.parsed_deal, contract.calendar, now),
    }


def _coming(each: Next, contract: Contract) -> dict[str, Any]:
    statement: Statement = each.statement
    zone = contract.zone
    span = period_text(statement.period.starting_at, statement.period.ending_before, zone)
    return {
        "title": f"Fees due {instant_text(each.at, zone)}" if each.at else f"Usage {span}",
        "lines": shown_lines(statement_lines(statement), contract),
        "statement": statement,
        "unrated": shown_unrated(
            [
                {"product": row.product, "group": dict(row.group), "quantity": str(row.quantity)}
                for row in statement.unrated
            ],
            contract,
        ),
    }
