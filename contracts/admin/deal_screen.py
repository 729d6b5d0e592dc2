"""What the screen of a contract needs to show and edit its deal."""

from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.forms import ModelForm
from django.utils import timezone

from contracts.approval import excesses_of
from contracts.deal import Deal
from contracts.deal_changes import beyond_text
from contracts.deal_field import deal_text, faults_by_path, suggestions
from contracts.deal_format import DealError, deal_as_dict, parse_deal
from contracts.deal_words import deal_form
from contracts.models import Amendment, Contract, ContractTemplate, Standing, shared_commit_keys
from contracts.templates import contract_of
from meters.periods import local_midnight

COPIED = ("rate_card", "timezone", "billing_every", "billing_anchor", "anchor_date", "net_days", "shadow")


def deal_screen(form: ModelForm[Contract], contract: Contract | None, *, read_only: bool) -> dict[str, Any]:
    """The form's description, what to suggest, the document as it stands on the form, and what is wrong in it."""
    text = form["deal"].value() if not read_only else deal_text(contract.deal, contract.zone) if contract else "{}"
    return {
        "form": deal_form(),
        "suggestions": {
            **suggestions(contract.rate_card if contract else None),
            # The customer's own, beside those of the deal as it is typed.
            "commits": sorted(shared_commit_keys(contract.customer)) if contract else [],
        },
        "text": text or "{}",
        "faults": faults_by_path(DealError(getattr(form, "deal_faults", ()))),
        "read_only": read_only,
    }


def copied_terms(key: str) -> dict[str, Any]:
    """The terms of a contract as the first values of a new one: all but whose it is and how it is called."""
    if not key.isdecimal():
        return {}
    contract = Contract.objects.filter(pk=key).first()
    if contract is None:
        return {}
    terms = {name: getattr(contract, name) for name in COPIED}
    return {
        **terms,
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
    template = ContractTemplate.objects.filter(pk=key).first() if key.isdecimal() else None
    if template is None:
        return {}
    zone = ZoneInfo("UTC")
    try:
        first = date.fromisoformat(day)
    except ValueError:
        first = timezone.now().date()
    written = contract_of(template.document, local_midnight(first, zone), zone)
    billing = written.get("billing", {})
    deal = {name: value for name, value in written.items() if name in Deal.__struct_fields__}
    ends = written.get("ending_before")
    return {
        "name": template.name,
        "rate_card": template.rate_card_id,
        "starting_at": datetime.combine(first, time.min),
        "ending_before": ends.replace(tzinfo=None) if isinstance(ends, datetime) else None,
        "billing_every": billing.get("every", "month"),
        **({"net_days": written["net_days"]} if "net_days" in written else {}),
        "deal": deal_text(deal_as_dict(parse_deal(deal, zone)), zone),
    }


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
