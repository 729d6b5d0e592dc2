"""What the screens of contracts and templates need to show and edit a deal."""

from datetime import date
from typing import Any
from zoneinfo import available_timezones

from django.forms import ModelForm
from django.utils import timezone

from billing_project.errors import RuleError
from contracts.approval import excesses_of
from contracts.deal_changes import beyond_text
from contracts.deal_field import deal_text, document_text, faults_by_path, suggestions
from contracts.deal_format import DealError
from contracts.deal_words import deal_form, template_form
from contracts.models import Amendment, Contract, ContractTemplate, Standing, shared_commit_keys
from contracts.sign_up import as_signed

COPIED = ("rate_card", "timezone", "billing_every", "billing_anchor", "anchor_date", "net_days", "shadow")


def deal_screen(form: ModelForm[Contract], contract: Contract | None, *, read_only: bool) -> dict[str, Any]:
    """The form's description, what to suggest, the document as it stands on the form, and what is wrong in it."""
    text = form["deal"].value() if not read_only else deal_text(contract.deal, contract.zone) if contract else "{}"
    return {
        "name": "deal",
        "seen": "" if read_only or contract is None else getattr(form, "seen", ""),
        "form": deal_form(),
        "suggestions": {
            **suggestions(contract.rate_card if contract else None),
            # The customer's own, beside those of the deal as it is typed.
            "commits": sorted(shared_commit_keys(contract.customer)) if contract else [],
        },
        "text": text or "{}",
        "errors": form.errors.get("deal"),
        "faults": faults_by_path(DealError(getattr(form, "deal_faults", ()))),
        "read_only": read_only,
    }


def template_screen(
    form: ModelForm[ContractTemplate], template: ContractTemplate | None, *, read_only: bool
) -> dict[str, Any]:
    """The same of a template."""
    text = form["document"].value() if not read_only else document_text(template.document) if template else "{}"
    return {
        "name": "document",
        "form": template_form(),
        "suggestions": {
            **suggestions(template.rate_card if template else None),
            "timezones": sorted(available_timezones()),
        },
        "text": text or "{}",
        "errors": form.errors.get("document"),
        "faults": faults_by_path(DealError(getattr(form, "document_faults", ())), template_form()),
        "read_only": read_only,
    }


def copied_terms(key: str) -> dict[str, Any]:
    """The terms of a contract as the first values of a new one: all but whose it is and how it is called."""
    if not key.isdecimal():
        return {}
    contract = Contract.objects.filter(pk=key).first()
    if contract is None:
        return {}
    return _first_values(contract)


def _first_values(contract: Contract) -> dict[str, Any]:
    return {
        **{name: getattr(contract, name) for name in COPIED},
        "rate_card": contract.rate_card_id,
        "name": contract.name,
        "deal": deal_text(contract.deal, contract.zone),
        "starting_at": _local(contract, "starting_at"),
        "ending_before": _local(contract, "ending_before"),
    }


def _local(contract: Contract, name: str) -> Any:
    instant = getattr(contract, name)
    return instant and instant.astimezone(contract.zone).replace(tzinfo=None)


def offered(key: str, day: str) -> dict[str, Any]:
    """The terms of a template as the first values of a contract that starts on a day (none given: today)."""
    template = template_named(key)
    if template is None:
        return {}
    try:
        first = date.fromisoformat(day)
    except ValueError:
        first = timezone.now().date()
    try:
        values = _first_values(as_signed(template, first))
    except (DealError, OverflowError, RuleError):  # the catalog is another one since, or the calendar ends
        return {"rate_card": template.rate_card_id, "name": template.name}
    # Where it says none, the zone is the customer's.
    return values if template.document.get("timezone") else {**values, "timezone": ""}


def template_named(key: str) -> ContractTemplate | None:
    return ContractTemplate.objects.select_related("rate_card").filter(pk=key).first() if key.isdecimal() else None


def standing(contract: Contract | None) -> dict[str, Any]:
    """Whether a contract is agreed, and the changes that wait for a second person."""
    if contract is None:
        return {"templates": ContractTemplate.objects.filter(archived_at=None)}
    waiting = contract.amendments.filter(status=Amendment.Status.WAITING).select_related("created_by")
    active = contract.status == Standing.ACTIVE
    for each in waiting:
        each.beyond = [beyond_text(excess) for excess in each.beyond]
    return {
        "active": active,
        "waiting": waiting,
        "beyond": [] if active else [beyond_text(str(each)) for each in excesses_of(contract)],
    }
