"""What the API refuses, by path; what it lists, with how many queries; that what it shows may be sent back."""

import json
import shlex
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from billing_project.models import AnsweredWrite, ApiKey
from catalog.models import Rate
from contracts.models import Contract, Customer
from invoicing.api import examples
from invoicing.close import close_periods
from invoicing.models import Invoice
from tests.factories import (
    ContractFactory,
    CustomerFactory,
    MeterFactory,
    ProductFactory,
    RateFactory,
    day,
    sell,
)

pytestmark = pytest.mark.django_db
SEATS = "contracts/acme-2026/subscriptions/"
DEAL = ("currency", "template", "renews", "status")


@pytest.fixture
def client() -> APIClient:
    _, secret = ApiKey.issue("backend", ["read", "write"])
    return APIClient(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def story(client: APIClient) -> None:
    MeterFactory.create(key="api-calls", aggregation="count", group_by=["model"])
    made = {
        "products": [examples.PRODUCT, examples.SEAT],
        "rate_cards": [examples.CARD],
        "customers": [examples.CUSTOMER],
        "contracts": [examples.CONTRACT],
    }
    for path, bodies in made.items():
        for body in bodies:
            assert client.post(f"/api/v1/{path}", body).status_code == 201


def refusal(answer: Any, status: int) -> list[tuple[str, str]]:
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    return [(each["path"], each["code"]) for each in answer.json()["errors"]]


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize(
    ("path", "body", "status", "place"),
    [
        ("customers", {"key": "acme"}, 409, ("key", "exists")),
        ("customers", {"key": "new", "aliases": ["acme-eu"]}, 409, ("aliases[0]", "taken")),
        ("customers", {"key": "new", "colour": "red"}, 422, ("colour", "unknown_field")),
        ("customers", {"name": "No key"}, 422, ("key", "missing")),
        ("customers", {"key": "new", "tax": {"rate": "19"}}, 422, ("tax.rate", "max_value")),
        ("products", {"key": "p", "meter": "gone"}, 422, ("meter", "unknown")),
        ("rate_cards/standard/rates", {"rates": [{"product": "gone"}]}, 422, ("rates[0].price", "missing")),
        (
            "rate_cards/standard/rates",
            {"rates": [{**examples.NEW_RATE, "where": {"model": "large"}}]},
            422,
            ("rates[0].starting_at", "invalid"),
        ),
        ("contracts", {**examples.CONTRACT, "key": "c", "customer": "gone"}, 422, ("customer", "unknown")),
        (
            "contracts",
            {**examples.CONTRACT, "key": "c", "commits": [{"key": "y", "access": [{"amount": "-1"}]}]},
            422,
            ("commits[0].access[0].amount", "invalid"),
        ),
        ("contracts", {"template": "gone", "key": "c", "customer": "acme"}, 422, ("template", "unknown")),
        (f"{SEATS}gone/quantity", {"quantity": "2"}, 422, ("quantities[0].subscription", "unknown")),
        (f"{SEATS}seats/quantity", {"quantity": "-2"}, 422, ("quantity", "invalid")),
        (
            "contracts/acme-2026/amend",
            {"changes": {"add": {"discounts": [{}]}}},
            422,
            ("changes.add.discounts[0].percent", "invalid"),
        ),
        ("contracts/acme-2026/end", {}, 422, ("at", "missing")),
        ("contracts/acme-2026/end", {"at": "9999-12-31"}, 422, ("at", "invalid")),
        (
            "contracts/acme-2026/amend",
            {"at": "9999-12-31T23:59:59-23:59", "changes": {}},
            422,
            ("at", "invalid"),
        ),
        ("contracts/acme-2026/renew", {"key": "next"}, 422, ("contract", "open")),
        ("contracts/acme-2026/credits", {"key": "y1", "amount": "5"}, 422, ("add.credits[0].key", "repeated")),
        ("customers/acme/credits", {"key": "c", "amount": "5", "contract": "gone"}, 409, ("contract", "contract")),
        ("customers/acme/aliases", {"aliases": []}, 422, ("keys", "required")),
        ("preview", {}, 422, ("contract", "missing")),
        ("preview", {"contract": {**examples.CONTRACT, "rate_card": "gone"}}, 422, ("rate_card", "unknown")),
        ("preview", {"customer": "acme", "events": [{"id": "e"}]}, 422, ("events[0].customer", "required")),
    ],
)  # fmt: skip
def test_a_write_is_refused_by_the_path_of_its_field(
    client: APIClient, path: str, body: Any, status: int, place: tuple[str, str]
) -> None:
    before = (Customer.objects.count(), Contract.objects.count(), Rate.objects.count())
    assert place in refusal(client.post(f"/api/v1/{path}", body, headers={"Idempotency-Key": "k"}), status)
    assert (Customer.objects.count(), Contract.objects.count(), Rate.objects.count()) == before
    assert not AnsweredWrite.objects.exists()


def test_numbers_keep_every_digit_and_nothing_is_said_twice(client: APIClient, story: None) -> None:
    def send(body: str) -> Any:
        return client.generic("POST", "/api/v1/rate_cards", body, content_type="application/json")

    exact = '{"key": "exact", "currency": "USD", "rates": [{"product": "seat", "price": {"model": "per_unit", "unit_amount": 0.1000000000000000055511151231257827}}]}'  # noqa: E501
    assert send(exact).json()["rates"][0]["price"]["unit_amount"] == "0.1000000000000000055511151231257827"
    assert refusal(send('{"key": "a", "key": "b"}'), 400) == [("key", "repeated")]
    assert refusal(send("{"), 400) == [("", "parse_error")]
    assert refusal(send("[1]"), 400) == [("", "parse_error")]


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize("path", ["products/calls", "rate_cards/standard", "customers/acme"])
def test_what_is_shown_may_be_sent_back_and_changes_nothing(client: APIClient, path: str) -> None:
    shown = client.get(f"/api/v1/{path}").json()
    assert client.patch(f"/api/v1/{path}", shown).json() == shown


@pytest.mark.usefixtures("story")
def test_a_contract_as_it_is_shown_previews_as_it_stands(client: APIClient) -> None:
    shown = client.get("/api/v1/contracts/acme-2026").json()
    draft = {name: value for name, value in shown.items() if name not in DEAL}
    by_draft = client.post("/api/v1/preview", {"contract": draft}).json()["statements"]
    assert by_draft == client.post("/api/v1/preview", {"customer": "acme"}).json()["statements"]


def test_a_reading_key_previews_and_writes_nothing(client: APIClient, story: None) -> None:
    _, secret = ApiKey.issue("reader", ["read"])
    reader = APIClient(headers={"authorization": f"Bearer {secret}"})
    assert reader.post("/api/v1/preview", {"customer": "acme"}).status_code == 200
    assert refusal(reader.post("/api/v1/customers", {"key": "new"}), 403) == [("", "missing_scope")]


def test_an_invoice_says_why_each_line_is_what_it_is(client: APIClient) -> None:
    (contract,) = sell()
    close_periods(day(2, month=2))
    (row,) = client.get("/api/v1/invoices", {"customer": contract.customer.key, "status": "in_review"}).json()[
        "results"
    ]
    shown = client.get(f"/api/v1/invoices/{row['id']}").json()
    (line,) = shown["lines"]
    assert (shown["total"], line["quantity"], line["amount"]) == ("5.00", "10", "5.00")
    assert line["explanation"]["price"] == {"model": "per_unit", "unit_amount": "0.5"}
    assert line["explanation"]["rate"].startswith("rate:")
    assert client.get("/api/v1/invoices", {"status": "paid"}).json()["results"] == []
    assert refusal(client.get("/api/v1/invoices", {"status": "lost"}), 400)[0][0].startswith("status")
    assert client.get("/api/v1/invoices/0").status_code == 404


def counted(work: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        work()
    return len(queries)


@pytest.mark.parametrize("path", ["customers", "contracts", "invoices", "products", "rate_cards"])
def test_a_list_takes_as_many_queries_for_many_as_for_one(client: APIClient, path: str) -> None:
    sell()
    close_periods(day(2, month=2))
    client.get(f"/api/v1/{path}")
    one = counted(lambda: client.get(f"/api/v1/{path}"))
    for _ in range(5):
        sell()
    close_periods(day(2, month=2))
    assert counted(lambda: client.get(f"/api/v1/{path}")) == one <= 4
    assert Invoice.objects.count() == 6


def test_spend_and_balances_of_many_contracts_take_as_many_queries_as_of_one(client: APIClient) -> None:
    customer, start = CustomerFactory.create(key="many"), timezone.now() - timedelta(days=1)
    meter = MeterFactory.create(group_by=["model"])
    card = RateFactory.create(product=ProductFactory.create(meter=meter)).rate_card
    credit = {"key": "pot", "access": [{"amount": "5"}]}

    def agree(model: str) -> None:
        deal = {"credits": [credit], "usage_filter": {"model": [model]}}
        ContractFactory.create(customer=customer, rate_card=card, starting_at=start, deal=deal)
        client.get("/api/v1/customers/many/spend")  # writes the period once

    def queries(part: str) -> int:
        return counted(lambda: client.get(f"/api/v1/customers/many/{part}"))

    agree("a")
    one = [queries("spend"), queries("balances")]
    agree("b")
    agree("c")
    assert [queries("spend"), queries("balances")] == one
    assert max(one) <= 24


def test_the_calls_of_the_readme_work(client: APIClient) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.partition("## Ask and act\n")[2].partition("\n## ")[0]
    calls = section.partition("```\n")[2].partition("```")[0].replace("\\\n", "").strip().splitlines()
    sell(customer=CustomerFactory.create(key="cust-01"))
    assert len(calls) == 5
    for call in calls:
        words = shlex.split(call)
        path = words[2].removeprefix("http://127.0.0.1:8000")
        body = words[words.index("-d") + 1] if "-d" in words else None
        answer = client.post(path, json.loads(body)) if body else client.get(path)
        assert answer.status_code in (200, 201), (call, answer.content)
