"""Contract templates: written on the screen of contracts, with durations from the start instead of dates."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.decorators import action

from billing_project.admin import ModelAdmin
from billing_project.errors import RuleError
from contracts.admin.deal_screen import template_named, template_screen
from contracts.approval import excesses_of
from contracts.catalog_terms import terms_of_cards
from contracts.deal_changes import beyond_text
from contracts.deal_field import faults_by_path
from contracts.deal_format import DealError
from contracts.deal_words import template_form
from contracts.forms import TemplateForm
from contracts.models import Contract, ContractTemplate
from contracts.period_text import instant_text, period_text
from contracts.scheduled import scheduled_fees
from contracts.sign_up import as_signed
from contracts.subscription_lines import Fees
from contracts.timeline import timeline

HORIZON = timedelta(days=366)
MOST_FEES = 12


@admin.register(ContractTemplate)
class ContractTemplateAdmin(ModelAdmin[ContractTemplate]):
    form = TemplateForm
    list_display = ["name", "key", "rate_card", "archived_at"]
    fieldsets = [
        (None, {"fields": ["key", "name", "rate_card", "archived_at"]}),
        ("Terms", {"fields": ["document"], "classes": ["deal"]}),
    ]
    search_fields = ["key", "name"]
    autocomplete_fields = ["rate_card"]
    change_form_template = "contracts/template_form.html"
    actions_detail = ["sign"]

    def get_urls(self) -> list[URLPattern]:
        page = path("preview/", self.admin_site.admin_view(self.preview), name="contracts_template_preview")
        return [page, *super().get_urls()]

    def get_readonly_fields(self, request: HttpRequest, obj: ContractTemplate | None = None) -> list[str]:
        return ["key"] if obj else []

    def get_fieldsets(self, request: HttpRequest, obj: ContractTemplate | None = None) -> Any:
        head = ["key", "name", "rate_card", *(["archived_at"] if obj else [])]
        own = obj is None or self.has_change_permission(request, obj)
        return [(None, {"fields": head}), *(self.fieldsets[1:] if own else [])]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        template = context.get("original")
        may = self.has_change_permission(request, template) if template else self.has_add_permission(request)
        context["deal"] = template_screen(context["adminform"].form, template, read_only=not may)
        rendered: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return rendered

    @action(  # type: ignore[untyped-decorator]
        description="Write a contract from it", permissions=["contracts.add_contract"], icon="contract_edit"
    )
    def sign(self, request: HttpRequest, object_id: str) -> HttpResponse:
        today = timezone.now().date().isoformat()
        return redirect(f"{reverse('admin:contracts_contract_add')}?template={object_id}&day={today}")

    def preview(self, request: HttpRequest) -> HttpResponse:
        """A contract signed today on the terms that are posted; without any, on those of the saved template."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        saved = template_named(request.GET.get("of", ""))
        if request.method != "POST":
            return JsonResponse(_answer(saved, [], []) if saved else {})
        form = self.get_form(request, saved, change=saved is not None)(
            request.POST, instance=saved or ContractTemplate()
        )
        faults = [] if form.is_valid() else faults_by_path(DealError(form.document_faults), template_form())
        wrong = [
            f"{form[name].label if name in form.fields else 'The template'}: {text}"
            for name, texts in form.errors.items()
            for text in texts
            if not (name == "document" and faults)
        ]
        usable = not ({"document", "rate_card"} & form.errors.keys()) and form.instance.rate_card_id
        return JsonResponse(_answer(form.instance if usable else None, wrong, faults))


def _answer(template: ContractTemplate | None, wrong: list[str], faults: list[dict[str, str]]) -> dict[str, Any]:
    """`template`: none when what is wrong leaves nothing to show; the page then keeps what it showed."""
    html, note = None, "waits for what is missing"
    if template is not None:
        now = timezone.now()
        try:
            html = render_to_string("contracts/template_preview.html", _shown(as_signed(template, now.date())))
            note = f"signed today, {now:%-d %b %Y}"
        except (RuleError, DealError, OverflowError) as refusal:
            wrong = [*wrong, str(refusal)]
    said = render_to_string("contracts/faults.html", {"wrong": wrong, "faults": faults, "what": "The template"})
    return {"html": html, "wrong": said, "faults": faults, "note": note}


def _shown(contract: Contract) -> dict[str, Any]:
    zone = contract.zone
    return {
        "span": period_text(contract.starting_at, contract.ending_before, zone),
        "currency": contract.currency,
        "billed": f"{contract.get_billing_every_display().lower()}, to be paid in {contract.net_days} days",
        "beyond": [beyond_text(str(each)) for each in excesses_of(contract)],
        "fees": _fees(contract)[:MOST_FEES],
        "timeline": timeline(contract.parsed_deal, contract.calendar, contract.starting_at),
    }


def _fees(contract: Contract) -> list[dict[str, Any]]:
    """What falls due in the first year whatever is used, before balances and tax."""
    terms = terms_of_cards([contract.rate_card_id])
    fees = Fees(
        contract.parsed_deal,
        contract.calendar,
        contract.currency,
        terms.products.terms,
        terms.rates[contract.rate_card_id],
    )
    due = scheduled_fees(fees, None, contract.starting_at + HORIZON)
    return [
        {
            "at": instant_text(at, contract.zone),
            "lines": [payable.line for payable in each.charges],
            "lost": each.unrated,
        }
        for at, each in due.items()
    ]
