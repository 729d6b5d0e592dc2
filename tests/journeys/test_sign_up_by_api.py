"""A product's own backend signs a customer up, meters it, and shows it what it spends: all over HTTP."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from billing_project.models import ApiKey
from catalog.models import RateCard
from contracts.models import ContractTemplate
from meters.models import Event
from tests.factories import MeterFactory

TEMPLATE = {
    "credits": [
        {
            "key": "trial",
            "access": [{"amount": "10", "starting_at": "P0D", "ending_before": "P14D"}],
            "scope": {"products": ["calls"]},
        }
    ],
    "subscriptions": [{"key": "seats", "product": "seat", "quantity": "1", "billed": "arrears"}],
    "entitlements": [{"kind": "metered", "feature": "api", "meter": "calls", "limit": "5", "reset": "never"}],
}


@pytest.mark.usefixtures("real_commits")
def test_sign_up_by_api() -> None:
    _, secret = ApiKey.issue("backend", ["ingest", "read", "write"])
    client = APIClient(headers={"authorization": f"Bearer {secret}"})
    MeterFactory.create(key="calls", aggregation="count")
    now = timezone.now()
    start = now - timedelta(hours=2)

    def post(path: str, body: Any, key: str = "", status: int = 201) -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        answer = client.post(f"/api/v1/{path}", body, headers=headers)
        assert answer.status_code == status, answer.content
        return answer.json() if answer.content else None

    def get(path: str) -> Any:
        answer = client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.content
        return answer.json()

    post("products", {"key": "calls", "name": "Calls", "meter": "calls"})
    post("products", {"key": "seat", "name": "Seat", "kind": "subscription"})
    price = {"model": "per_unit", "unit_amount": "2"}
    rates = [{"product": "calls", "price": price}, {"product": "seat", "price": {**price, "unit_amount": "20"}}]
    post("rate_cards", {"key": "self-serve", "currency": "USD", "rates": rates})
    card = RateCard.objects.get(key="self-serve")
    ContractTemplate.objects.create(key="starter", name="Starter", rate_card=card, document=TEMPLATE)
    assert [each["key"] for each in get("templates")["results"]] == ["starter"]

    # The customer presses the button twice.
    for _ in range(2):
        post("customers", {"key": "nova", "name": "Nova", "email": "ap@nova.test"}, "nova")
        sign_up = {"template": "starter", "key": "nova-1", "customer": "nova", "starting_at": start.isoformat()}
        signed = post("contracts", sign_up, "nova-1")
    assert (signed["status"], signed["template"], signed["currency"]) == ("running", "starter", "USD")
    assert len(get("contracts?customer=nova")["results"]) == 1

    def event(number: int) -> Any:
        time = (now - timedelta(minutes=1)).isoformat()
        return {"id": f"e{number}", "customer": "nova", "type": "api.call", "time": time, "properties": {}}

    assert get("customers/nova/entitlements/api")["remaining"] == "5"
    post("events", [event(number) for number in range(4)], status=204)
    gate = get("customers/nova/entitlements/api")
    assert (gate["has_access"], gate["used"], gate["remaining"]) == (True, "4", "1")

    (spend,) = get("customers/nova/spend")["data"]
    usage = [line["amount"] for line in spend["statement"]["lines"] if line["kind"] == "usage"]
    assert (usage, spend["covered"], spend["left"]) == (["8.00"], "8.00", [{"unit": "USD", "amount": "2.00"}])
    (trial,) = get("customers/nova/balances")["data"]
    assert (trial["balance"], trial["remaining"]) == ("trial", "2.00")
    assert [(entry["kind"], entry["amount"]) for entry in trial["ledger"]] == [("start", "10.00"), ("draw", "-8.00")]

    # What two more calls would cost, and then they happen: the same statement, and one that was previewed twice counts
    # once.
    pending = [event(4), event(5), event(0)]
    preview = post("preview", {"customer": "nova", "events": pending}, status=200)
    assert (preview["counted"], preview["skipped"]) == (2, ["e0"])
    assert Event.objects.count() == 4
    assert get("customers/nova/spend")["data"] == [spend]
    post("events", pending[:2], status=204)
    (after,) = get("customers/nova/spend")["data"]
    assert preview["statements"] == [after["statement"]]
    assert after["covered"] == "10.00"
    assert not get("customers/nova/entitlements/api")["has_access"]

    # A better plan, only looked at.
    (stored,) = get("contracts?customer=nova")["results"]
    draft = {name: value for name, value in stored.items() if name not in ("currency", "template", "renews", "status")}
    better = post("preview", {"contract": {**draft, "discounts": [{"percent": "50"}]}}, status=200)
    assert better["statements"][0]["total"] < after["statement"]["total"]
    assert "discounts" not in get("contracts/nova-1")

    seats = {"quantity": "3", "seats": ["ada", "bob"]}
    changed = post("contracts/nova-1/subscriptions/seats/quantity", seats, "seats", 200)
    assert changed["amendment"]["status"] == "applied"
    assert changed["contract"]["subscriptions"][0]["seats"] == ["ada", "bob"]
    again = post("contracts/nova-1/subscriptions/seats/quantity", seats, "seats", 200)
    assert again == changed
    granted = post("customers/nova/credits", {"key": "welcome", "amount": "25"})
    assert granted["credit"]["key"] == "welcome"
    balances = {each["balance"]: each["contract"] for each in get("customers/nova/balances")["data"]}
    assert balances["welcome"] is None
