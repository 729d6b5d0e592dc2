"""What the screen of a contract needs to show and edit its deal."""

from typing import Any

from django.forms import ModelForm

from contracts.deal_field import deal_text, faults_by_path, suggestions
from contracts.deal_format import DealError
from contracts.deal_words import deal_form
from contracts.models import Contract

COPIED = ("rate_card", "timezone", "billing_every", "billing_anchor", "anchor_date", "net_days", "shadow")


def deal_screen(form: ModelForm[Contract], contract: Contract | None, *, read_only: bool) -> dict[str, Any]:
    """The form's description, what to suggest, the document as it stands on the form, and what is wrong in it."""
    text = form["deal"].value() if not read_only else deal_text(contract.deal, contract.zone) if contract else "{}"
    return {
        "form": deal_form(),
        "suggestions": suggestions(contract.rate_card if contract else None),
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
