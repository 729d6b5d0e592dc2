"""The synchronous gate: what a customer may use now, from live usage and balances."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from billing_project.models import ApiKey
from contracts.models import Contract, CustomerKey
from tests.factories import ContractFactory, CustomerFactory, MeterFactory, ProductFactory, RateFactory, send

pytestmark = pytest.mark.django_db
Shown = dict[str, Any]


@pytest.fixture
def client() -> APIClient:
    _, secret = ApiKey.issue("backend", ["read"])
    return APIClient(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def now() -> datetime:
    """Not at the very end of a minute or month: reset periods must not change while a test runs."""
    return timezone.now()


def agreed(*entitlements: Shown, customer: Any = None, **terms: Any) -> Contract:
    meter = MeterFactory.create(key="calls", group_by=["model"])
    rate = RateFactory.create(product=ProductFactory.create(key="calls", meter=meter))
    terms.setdefault("starting_at", timezone.now() - timedelta(days=400))
    deal = {"entitlements": list(entitlements), **terms.pop("deal", {})}
    owner = customer or CustomerFactory.create(key="acme")
    return ContractFactory.create(customer=owner, rate_card=rate.rate_card, deal=deal, **terms)


def metered(limit: str, **more: Any) -> Shown:
    return {"kind": "metered", "feature": "api", "meter": "calls", "limit": limit, **more}


def ask(client: APIClient, feature: str = "api", customer: str = "acme") -> Shown:
    answer = client.get(f"/api/v1/customers/{customer}/entitlements/{feature}")
    assert answer.status_code == 200, answer.content
    shown: Shown = answer.json()
    return shown


def test_switches_and_settings(client: APIClient) -> None:
    agreed(
        {"kind": "boolean", "feature": "sso"},
        {"kind": "boolean", "feature": "audit", "enabled": False},
        {"kind": "static", "feature": "plan", "value": "pro"},
    )
    rows = client.get("/api/v1/customers/acme/entitlements").json()["data"]
    assert [(row["feature"], row["has_access"], row["reason"], row["value"]) for row in rows] == [
        ("audit", False, "disabled", None),
        ("plan", True, "", "pro"),
        ("sso", True, "", None),
    ]


def test_a_hard_limit_closes_with_the_event_that_reaches_it(client: APIClient, now: datetime) -> None:
    agreed(metered("10"))
    send("acme", 9, now)
    shown = ask(client)
    assert (shown["has_access"], shown["used"], shown["remaining"]) == (True, "9", "1")
    send("acme", 1, now)
    shown = ask(client)
    assert (shown["has_access"], shown["reason"], shown["remaining"]) == (False, "limit_reached", "0")
    assert datetime.fromisoformat(shown["resets_at"]) > now


def test_past_a_soft_limit_it_still_works(client: APIClient, now: datetime) -> None:
    agreed(metered("10", soft=True))
    send("acme", 13, now)
    shown = ask(client)
    assert (shown["has_access"], shown["soft"], shown["overage"], shown["remaining"]) == (True, True, "3", "0")


@pytest.mark.parametrize(("reset", "ago"), [("minute", timedelta(minutes=1)), ("hour", timedelta(hours=1))])
def test_a_rate_limit_forgets_the_minute_before(client: APIClient, now: datetime, reset: str, ago: timedelta) -> None:
    agreed(metered("5", reset=reset))
    send("acme", 5, now - ago)
    assert ask(client)["has_access"]


def test_what_never_resets_counts_from_the_start_of_the_contract(client: APIClient, now: datetime) -> None:
    agreed(metered("5", reset="never"))
    send("acme", 2, now - timedelta(days=500))
    send("acme", 4, now - timedelta(days=300))
    shown = ask(client)
    assert (shown["used"], shown["resets_at"]) == ("4", None)


def test_only_the_usage_named_counts_and_aliases_count(client: APIClient, now: datetime) -> None:
    contract = agreed(metered("10", where={"model": "large"}))
    CustomerKey.objects.create(customer=contract.customer, key="acme-eu")
    send("acme", 3, now, model="large")
    send("acme-eu", 4, now, model="large")
    send("acme", 50, now, model="small")
    assert ask(client, customer="acme-eu")["used"] == "7"


def test_of_several_contracts_the_most_generous_counts(client: APIClient, now: datetime) -> None:
    first = agreed(metered("5"), deal={"usage_filter": {"model": ["small"]}})
    deal = {"usage_filter": {"model": ["large"]}, "entitlements": [metered("100", reset="year")]}
    ContractFactory.create(customer=first.customer, rate_card=first.rate_card, deal=deal, starting_at=first.starting_at)
    send("acme", 5, now, model="small")
    send("acme", 30, now, model="large")
    shown = ask(client)
    assert (shown["has_access"], shown["limit"], shown["used"]) == (True, "100", "30")


@pytest.mark.parametrize("required", [{"requires_balance": True}, {"requires_balance": True, "balances": ["pot"]}])
def test_without_a_balance_there_is_no_access(client: APIClient, now: datetime, required: Shown) -> None:
    credits_given = [{"key": "pot", "access": [{"amount": "5"}]}]
    agreed({"kind": "boolean", "feature": "api", **required}, deal={"credits": credits_given})
    send("acme", 9, now)  # 4.50 at 0.50
    assert ask(client)["has_access"]
    send("acme", 1, now)
    shown = ask(client)
    assert (shown["has_access"], shown["reason"]) == (False, "no_balance")


def test_another_balance_than_the_one_named_does_not_help(client: APIClient) -> None:
    funds = [{"key": "pot", "access": [{"amount": "0"}]}, {"key": "other", "access": [{"amount": "5"}]}]
    agreed(
        {"kind": "boolean", "feature": "api", "requires_balance": True, "balances": ["pot"]}, deal={"credits": funds}
    )
    assert not ask(client)["has_access"]


def test_ended_shadow_and_unknown_grant_nothing(client: APIClient, now: datetime) -> None:
    ended = agreed(metered("5"), ending_before=now - timedelta(days=1))
    ContractFactory.create(
        customer=ended.customer,
        rate_card=ended.rate_card,
        deal={"entitlements": [metered("5")]},
        starting_at=ended.starting_at,
        shadow=True,
    )
    answer = client.get("/api/v1/customers/acme/entitlements/api")
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == "not_found"
    assert client.get("/api/v1/customers/acme/entitlements").json() == {"data": []}
    assert client.get("/api/v1/customers/nobody/entitlements").status_code == 404


def test_a_check_takes_few_queries_however_much_is_promised(client: APIClient, now: datetime) -> None:
    agreed(metered("5"), *({**metered("5"), "feature": f"feature-{place}"} for place in range(20)))
    send("acme", 1, now)
    ask(client)  # the key is known to the process from now on
    with CaptureQueriesContext(connection) as one:
        ask(client)
    with CaptureQueriesContext(connection) as many:
        client.get("/api/v1/customers/acme/entitlements")
    assert len(many) == len(one) <= 8
