"""Changes of a contract in force that ask for something first: end it early, renew it, change its seats."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from billing_project.errors import RuleError
from contracts.amendments import change_quantity, end_early
from contracts.approval import excesses_of
from contracts.deal_changes import beyond_text
from contracts.models import Amendment, Contract, Standing
from contracts.sign_up import renew
from invoicing.admin import contract_step_forms as forms


@dataclass(frozen=True, slots=True)
class Made:
    """What was done: a sentence, the contract to show next, and what of it waits for a second person."""

    told: str
    contract: Contract
    beyond: list[str]


@dataclass(frozen=True, slots=True)
class ContractStep:
    name: str
    label: str
    permission: str
    open: Callable[[Contract], bool]
    form: type[forms.ChangeForm]
    take: Callable[[Any, User], Made]


def _end(form: forms.EndForm, actor: User) -> Made:
    reason = form.cleaned_data["reason"]
    made = end_early(form.contract, form.at("day"), actor, reason, form.request_key())
    return _amended(made, f"{form.contract} ends on {form.cleaned_data['day']:%-d %B %Y}.")


def _renew(form: forms.RenewForm, actor: User) -> Made:
    given = form.cleaned_data
    end = form.at("ending_before") if given["ending_before"] else None
    made = renew(form.contract, given["key"], actor, ending_before=end, reason=given["reason"])
    beyond = [] if made.status == Standing.ACTIVE else [str(each) for each in excesses_of(made)]
    return Made(f"{form.contract} goes on with this contract.", made, beyond)


def _seats(form: forms.SeatsForm, actor: User) -> Made:
    given = form.cleaned_data
    made = change_quantity(
        form.contract,
        given["subscription"],
        given["quantity"],
        form.at("day"),
        actor,
        given["reason"],
        form.request_key(),
        seats=form.named(),
    )
    return _amended(made, f"{given['subscription']}: {given['quantity']:f} from {given['day']:%-d %B %Y} on.")


def _amended(made: Amendment, told: str) -> Made:
    waits = made.status == Amendment.Status.WAITING
    return Made(told, made.contract, list(made.beyond) if waits else [])


def _runs(contract: Contract) -> bool:
    over = contract.ending_before is not None and contract.ending_before <= timezone.now()
    return contract.status == Standing.ACTIVE and not over


def _renewable(contract: Contract) -> bool:
    ends = contract.status == Standing.ACTIVE and contract.ending_before is not None
    return ends and not Contract.objects.filter(renews=contract).exists()


def _has_seats(contract: Contract) -> bool:
    return _runs(contract) and bool(forms.running_subscriptions(contract))


END = ContractStep("end", "End early", "contracts.change_contract", _runs, forms.EndForm, _end)
RENEW = ContractStep("renew", "Renew", "contracts.add_contract", _renewable, forms.RenewForm, _renew)
SEATS = ContractStep("seats", "Change seats", "contracts.change_contract", _has_seats, forms.SeatsForm, _seats)


def may_take(step: ContractStep, request: HttpRequest, object_id: Any) -> bool:
    """Whether the step is offered. One that is posted is refused by its verb, in words."""
    may = cast("User", request.user).has_perm(step.permission)
    if not may or request.method == "POST" or not str(object_id).isdecimal():
        return may
    contract = Contract.objects.filter(pk=object_id).first()
    return contract is not None and step.open(contract)


def step_page(request: HttpRequest, context: dict[str, Any], step: ContractStep, object_id: str) -> HttpResponse:
    """The form of a step; posted, it takes the step. What a rule refuses stands at its field."""
    contract = get_object_or_404(Contract.objects.select_related("customer", "rate_card"), pk=object_id)
    form = step.form(request.POST if request.method == "POST" else None, contract)
    if request.method == "POST" and form.is_valid():
        made = _take(step, form, cast("User", request.user))
        if made is not None:
            if made.beyond:
                told = "; ".join(beyond_text(each) for each in made.beyond)
                messages.warning(request, f"This waits for a second person: {told}.")
            else:
                messages.success(request, made.told)
            return redirect("admin:contracts_contract_change", made.contract.pk)
    form.begin()
    shown = {
        "ask": step,
        "form": form,
        "title": f"{step.label}: {contract}",
        "back": reverse("admin:contracts_contract_change", args=[contract.pk]),
    }
    return render(request, "invoicing/step.html", {**context, **shown})


def _take(step: ContractStep, form: forms.ChangeForm, actor: User) -> Made | None:
    try:
        return step.take(form, actor)
    except RuleError as refusal:
        form.refused(refusal)
        return None
