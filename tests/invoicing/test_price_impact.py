"""What planned prices of a card would have meant for the contracts on it."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import Rate, RateCard
from contracts.models import Contract
from invoicing import price_impact
from invoicing.close import close_periods
from tests import factories
from tests.factories import day, sell

pytestmark = pytest.mark.django_db
DOUBLE = {"model": "per_unit", "unit_amount": "1"}


def on_one_card(contracts: int, **terms: Any) -> RateCard:
    made = sell(contracts=contracts, **terms)
    close_periods(day(2, month=2))
    return made[0].rate_card


def asked(client: Client, card: RateCard, **more: Any) -> dict[str, Any]:
    product = Rate.objects.get(rate_card=card).product.key
    rows = [{"product": product, "cells": {"": factories.PER_UNIT, "2027-01-01": DOUBLE}}]
    url = reverse("admin:invoicing_ratecard_impact", args=[card.pk])
    answer = client.post(url, json.dumps({"rows": rows, **more}), content_type="application/json")
    return {"status": answer.status_code, **answer.json()}


@pytest.fixture
def sales(client: Client) -> Client:
    client.force_login(factories.user("Sales ops"))
    return client


def test_every_contract_on_the_card_at_the_planned_prices(sales: Client) -> None:
    card = on_one_card(3)
    halved = Contract.objects.order_by("pk")[1]
    Contract.objects.filter(pk=halved.pk).update(deal={"discounts": [{"percent": "50"}]})
    answer = asked(sales, card, at="2027-01-01")
    assert [(row["billed"], row["would_be"], row["difference"]) for row in answer["rows"]] == [
        ("5.00 USD", "10.00 USD", "5.00 USD"),
        ("5.00 USD", "5.00 USD", "0.00 USD"),  # at what its contract says now
        ("5.00 USD", "10.00 USD", "5.00 USD"),
    ]
    assert answer["next"] is None
    assert Rate.objects.get(rate_card=card).price == factories.PER_UNIT


def test_many_contracts_come_in_parts(sales: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_impact, "AT_ONCE", 2)
    card = on_one_card(5)
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        answer = asked(sales, card, at="2027-01-01", after=after)
        assert len(answer["rows"]) <= 2
        seen += [row["url"] for row in answer["rows"]]
        after = answer["next"]
    assert len(seen) == len(set(seen)) == 5


def test_the_queries_do_not_grow_with_the_contracts() -> None:
    card = on_one_card(1)
    counts = []
    for more in (0, 20):
        for _ in range(more):
            contract = factories.ContractFactory.create(rate_card=card)
            factories.send(contract.customer.key, 10, day(10))
        close_periods(day(2, month=2))
        with CaptureQueriesContext(connection) as queries:
            found, _ = price_impact.effects(card, {})
        counts.append(len(queries))
        assert {effect.would_be for effect in found} == {Decimal(0)}
    assert counts[0] == counts[1] <= 20


@pytest.mark.parametrize("at", ["", "soon", None])
def test_without_a_day_there_is_nothing_to_ask(sales: Client, at: Any) -> None:
    answer = asked(sales, on_one_card(1), at=at)
    assert answer["status"] == 422
    assert answer["faults"][0]["message"] == "Choose the day of the planned prices."


def test_only_who_sees_invoices_may_ask(client: Client) -> None:
    card = on_one_card(1)
    client.force_login(factories.user("Service"))
    assert client.post(reverse("admin:invoicing_ratecard_impact", args=[card.pk])).status_code == 403
