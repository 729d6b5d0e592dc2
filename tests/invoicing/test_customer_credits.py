"""Credits given to a customer itself, by API: shared by its contracts and those below it, drawn once, within limits."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from billing_project.errors import RuleError
from billing_project.models import ApiKey
from contracts.granting import grant_shared_credit
from contracts.models import Amendment, Contract, Customer, DealGuardrails
from invoicing.close import close_periods
from invoicing.models import Invoice
from tests.factories import ContractFactory, CustomerFactory, RateCardFactory, day, sell, send

CREDITS = "/api/v1/customers/acme/credits"
JANUARY = {"starting_at": "2026-01-01", "ending_before": "2026-02-01"}


@pytest.fixture
def client(db: None) -> APIClient:
    _, secret = ApiKey.issue("Product", ["read", "write"])
    return APIClient(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def contract(db: None) -> Contract:
    (made,) = sell(customer=CustomerFactory.create(key="acme"), key="one")
    return made


def refused(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code in (409, 422), answer.content
    return [(each["path"], each["code"]) for each in answer.json()["errors"]]


def credit(key: str = "sorry", amount: str = "25", **more: Any) -> dict[str, Any]:
    return {"key": key, "amount": amount, **JANUARY, **more}


def test_a_credit_without_a_contract_is_the_customers_own(client: APIClient, contract: Contract) -> None:
    made = client.post(CREDITS, credit(reason="An outage."))
    assert made.status_code == 201, made.content
    assert made.json()["credit"]["currency"] == "USD"
    contract.refresh_from_db()
    assert contract.deal == {}
    assert [each.key for each in Customer.objects.get(key="acme").shared_funds.credits] == ["sorry"]
    (shown,) = client.get("/api/v1/customers/acme/balances").json()["data"]
    assert (shown["contract"], shown["balance"]) == (None, "sorry")


def test_contracts_of_the_family_draw_on_it_once(client: APIClient, contract: Contract) -> None:
    below = CustomerFactory.create(key="acme-eu", parent=contract.customer)
    ContractFactory.create(key="two", customer=below, rate_card=contract.rate_card)
    client.post(CREDITS, credit(amount="0.05"))
    send("acme", 30, day(10))
    send("acme-eu", 30, day(10))
    close_periods(day(2, month=2))
    covered = dict(Invoice.objects.values_list("contract__key", "credits_applied"))
    assert sum(covered.values()) == Decimal("0.05")


def test_a_named_contract_keeps_its_credit_for_itself(client: APIClient, contract: Contract) -> None:
    made = client.post(CREDITS, credit(contract="one"))
    assert made.json()["contract"]["credits"][0]["key"] == "sorry"
    assert not Customer.objects.get(key="acme").funds
    for name, value in (("currency", "USD"), ("contracts", ["one"])):
        both = client.post(CREDITS, {**credit("other", contract="one"), name: value})
        assert refused(both) == [(name, "contradiction")]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"amount": "-5"}, ("amount", "invalid")),
        ({"amount": "lots"}, ("amount", "value")),
        ({"ending_before": "2025-01-01"}, ("ending_before", "invalid")),
        ({"contracts": ["gone"]}, ("contracts[0]", "unknown")),
        ({"currency": "XXZ"}, ("currency", "unknown")),
        ({"currency": "usd"}, ("currency", "type")),
        ({"scope": {"products": ["gone"]}}, ("scope.products[0]", "unknown")),
        ({"unit": "gold"}, ("unit", "unknown")),
        ({"key": "known"}, ("key", "repeated")),
        ({"colour": "red"}, ("colour", "unknown_field")),
        ({"contract": "gone"}, ("contract", "contract")),
    ],
)
def test_what_is_wrong_is_named_by_its_field(
    client: APIClient, contract: Contract, given: dict[str, Any], place: tuple[str, str]
) -> None:
    client.post(CREDITS, credit("known"))
    assert place in refused(client.post(CREDITS, {**credit(), **given}))
    assert len(Customer.objects.get(key="acme").shared_funds.credits) == 1


def test_the_currency_is_asked_for_where_it_is_open(client: APIClient, contract: Contract) -> None:
    other = RateCardFactory.create(currency="EUR")
    below = CustomerFactory.create(parent=contract.customer)
    ContractFactory.create(customer=below, rate_card=other)
    assert refused(client.post(CREDITS, credit())) == [("currency", "required")]
    assert client.post(CREDITS, credit(currency="EUR")).json()["credit"]["currency"] == "EUR"


def test_a_customer_without_contracts_gets_it_for_those_to_come(client: APIClient) -> None:
    CustomerFactory.create(key="acme")
    assert refused(client.post(CREDITS, credit())) == [("currency", "required")]
    assert client.post(CREDITS, credit(currency="USD")).status_code == 201


def test_beyond_the_guardrails_only_a_contract_gets_it_where_it_waits(client: APIClient, contract: Contract) -> None:
    DealGuardrails.objects.create(max_free_amount=40)
    assert client.post(CREDITS, credit("first")).status_code == 201
    assert refused(client.post(CREDITS, credit("second"))) == [("amount", "guardrail")]
    long_after = credit("third", starting_at="2027-06-01", ending_before="2028-01-01")
    assert client.post(CREDITS, long_after).status_code == 201
    waiting = client.post(CREDITS, credit("fourth", "500", contract="one")).json()["amendment"]
    assert waiting["status"] == Amendment.Status.WAITING


def test_one_request_twice_is_one_credit(client: APIClient, contract: Contract) -> None:
    key = {"Idempotency-Key": "one"}
    first, again = client.post(CREDITS, credit(), headers=key), client.post(CREDITS, credit(), headers=key)
    assert first.json() == again.json()
    assert refused(client.post(CREDITS, credit(amount="26"), headers=key))
    assert len(Customer.objects.get(key="acme").shared_funds.credits) == 1


@pytest.mark.django_db(transaction=True)
def test_credits_given_at_the_same_time_are_all_kept() -> None:
    (contract,) = sell(customer=CustomerFactory.create(key="acme"))
    customer = contract.customer

    def give(number: int) -> bool:
        try:
            grant_shared_credit(customer, f"credit-{number % 4}", Decimal(1), None, starting_at=day(1))
        except RuleError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(give, range(8)))
    assert sum(made) == 4
    assert {each.key for each in Customer.objects.get(key="acme").shared_funds.credits} == {
        "credit-0", "credit-1", "credit-2", "credit-3",
    }  # fmt: skip
