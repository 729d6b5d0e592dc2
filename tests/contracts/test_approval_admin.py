"""Deals beyond the guardrails in the admin: written by sales, decided by the deal desk."""

import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from contracts.models import Amendment, Contract, ContractTemplate, DealGuardrails
from tests import factories
from tests.contracts.test_admin import ADD_CONTRACT, change_url, contract_form, new_contract

pytestmark = pytest.mark.django_db


@pytest.fixture
def guardrails(roles: None) -> DealGuardrails:
    return DealGuardrails.objects.create(max_net_days=45)


def signed_in(role: str) -> Client:
    client = Client()
    client.force_login(factories.user(role))
    return client


def decide(client: Client, name: str, row: Any, note: str = "") -> list[str]:
    url = reverse(f"admin:contracts_{row._meta.model_name}_{name}", args=[row.pk])
    response = client.post(url, {"_form_submitted": "on", "note": note})
    if response.status_code == 403:
        return ["403"]
    return [str(each) for each in get_messages(response.wsgi_request)][-1:]  # those before were not shown yet


def test_a_contract_beyond_waits_until_the_deal_desk_approves(guardrails: DealGuardrails) -> None:
    sales, desk = signed_in("Sales ops"), signed_in("Deal desk")
    sales.post(reverse(ADD_CONTRACT), new_contract(net_days="60"))
    contract = Contract.objects.get()
    assert contract.status == "awaiting_approval"
    assert "60 days to pay, above 45" in desk.get(change_url(contract)).content.decode()
    assert decide(sales, "approve", contract) == ["403"]
    assert decide(desk, "reject", contract) == ["Say why, so that the deal can be written anew."]
    assert decide(desk, "approve", contract, "Fine.")[0].endswith("is active.")
    contract.refresh_from_db()
    assert (contract.status, contract.status_note) == ("active", "Fine.")


def test_an_edit_of_a_contract_in_force_waits_beside_it(guardrails: DealGuardrails) -> None:
    sales, desk = signed_in("Sales ops"), signed_in("Deal desk")
    contract = factories.ContractFactory.create()
    form = contract_form(rate_card=contract.rate_card.pk, timezone="UTC", key=contract.key)
    sales.post(change_url(contract), {**form, "net_days": "60"})
    amendment = Amendment.objects.get(status="waiting")
    contract.refresh_from_db()
    assert (contract.net_days, amendment.after) == (30, {"net_days": 60})
    assert (
        reverse("admin:contracts_amendment_change", args=[amendment.pk])
        in desk.get(change_url(contract)).content.decode()
    )
    page = desk.get(reverse("admin:contracts_amendment_change", args=[amendment.pk])).content.decode()
    assert re.findall(r'<td class="[^"]*align-top[^"]*">([^<]*)</td>', page) == ["Net days", "30", "60"]
    assert "Days to pay: 60 days" in page
    assert decide(desk, "approve", amendment)[0].endswith("is in force.")
    contract.refresh_from_db()
    assert contract.net_days == 60


def test_guardrails_and_templates_have_pages(guardrails: DealGuardrails) -> None:
    sales, desk = signed_in("Sales ops"), signed_in("Deal desk")
    add_guardrails = reverse("admin:contracts_dealguardrails_add")
    assert sales.get(add_guardrails).status_code == 403
    assert desk.post(add_guardrails, {"currency": "EUR", "max_discount_percent": "10"}).status_code == 302
    card = factories.RateCardFactory.create()
    add_template = reverse("admin:contracts_contracttemplate_add")
    fields = {"key": "starter", "name": "Starter", "rate_card": card.pk}
    assert sales.post(add_template, {**fields, "document": '{"term": "soon"}'}).status_code == 200
    sales.post(add_template, {**fields, "document": '{"term": "P1Y"}'})
    assert ContractTemplate.objects.get().document == {"term": "P1Y"}
    for name in ("contracttemplate", "amendment", "dealguardrails"):
        assert desk.get(reverse(f"admin:contracts_{name}_changelist")).status_code == 200
