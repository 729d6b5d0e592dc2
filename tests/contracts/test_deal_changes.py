"""What changed in a deal, as its history tells it; and when its terms hold, as bars."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse

from contracts.deal_changes import deal_changes
from contracts.deal_format import parse_deal
from contracts.proration import Calendar
from contracts.timeline import LEFT, WIDTH, timeline
from meters.periods import CALENDAR_ANCHOR
from tests import factories
from tests.contracts.deal_documents import EVERYTHING
from tests.factories import day

UTC = ZoneInfo("UTC")
COMMIT = {"key": "y1", "access": [{"amount": "10", "starting_at": "2026-01-01T00:00:00+00:00"}]}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {}, []),
        (
            {"discounts": [{"percent": "10"}]},
            {"discounts": [{"percent": "15"}]},
            [("Discounts 1, percent off", "10", "15")],
        ),
        ({}, {"discounts": [{"percent": "15"}]}, [("Discounts 1", "", "percent 15")]),
        (
            {"discounts": [{"percent": "1"}, {"percent": "2"}]},
            {"discounts": [{"percent": "2"}]},
            [("Discounts 1", "percent 1", "")],
        ),
        (
            {"commits": [COMMIT]},
            {"commits": [{"key": "y0", "access": [{"amount": "1"}]}, {**COMMIT, "priority": 5}]},
            [("Commits y1, priority", "", "5"), ("Commits y0", "", "key y0, access amount 1")],
        ),
        (
            {"commits": [COMMIT]},
            {"commits": [{**COMMIT, "access": [{"amount": "10", "starting_at": "2026-02-01T00:00:00+00:00"}]}]},
            [("Commits y1, can be used 1, usable from", "2026-01-01", "2026-02-01")],
        ),
        ({"spend_threshold": {}}, {}, [("Spend threshold", "", "")]),
        (
            {"usage_filter": {"region": ["eu"]}},
            {"usage_filter": {"region": ["eu", "us"]}},
            [("Only this usage, region", "eu", "eu; us")],
        ),
        (
            {"subscriptions": [{"key": "s", "prorated": True}]},
            {"subscriptions": [{"key": "s", "prorated": False}]},
            [("Subscriptions s, prorated", "yes", "no")],
        ),
    ],
)
def test_changes_in_words(before: Any, after: Any, told: list[tuple[str, str, str]]) -> None:
    assert deal_changes(before, after, UTC) == told


def test_days_are_those_of_the_contract() -> None:
    ((_, old, _),) = deal_changes(
        {"charges": [{"key": "a", "at": "2025-12-31T23:00:00+00:00"}]}, {}, ZoneInfo("Europe/Berlin")
    )
    assert old == "key a, at 2026-01-01"


@pytest.mark.django_db
def test_the_history_of_a_contract_tells_who_changed_what(client: Client) -> None:
    contract = factories.ContractFactory.create(deal={"discounts": [{"percent": "10"}]})
    contract.deal = {"discounts": [{"percent": "15"}]}
    contract.save()
    client.force_login(factories.user("Auditor"))
    page = client.get(reverse("admin:contracts_contract_history", args=[contract.pk])).content.decode()
    assert "Discounts 1, percent off: <del>10</del> → 15" in page
    assert "{&#x27;discounts" not in page


def test_every_dated_term_has_a_bar() -> None:
    calendar = Calendar(UTC, day(1), day(1, year=2027), "month", CALENDAR_ANCHOR)
    drawn = timeline(parse_deal(EVERYTHING, UTC), calendar, day(1, month=7))
    labels = [bar.label for bar in drawn.bars]
    assert labels[0] == "Contract"
    assert {"Partner", "seats, seats", "setup", "Minimum", "A name", "A name, recurring"} <= set(labels)
    assert all(LEFT <= bar.x <= bar.x + bar.width <= WIDTH + 3 for bar in drawn.bars)
    assert (drawn.bars[0].x, drawn.bars[0].width) == (LEFT, WIDTH - LEFT)
    assert drawn.now is not None
    assert LEFT < drawn.now < WIDTH
    assert 1 <= len(drawn.ticks) <= 6


@pytest.mark.parametrize("years", [1, 3, 40])
def test_the_scale_of_a_timeline_stays_readable(years: int) -> None:
    calendar = Calendar(UTC, day(1), day(1, year=2026 + years), "month", CALENDAR_ANCHOR)
    assert 2 <= len(timeline(parse_deal({}, UTC), calendar, day(1)).ticks) <= 6


def test_more_terms_than_fit_are_counted() -> None:
    deal = parse_deal({"discounts": [{"percent": "1"}] * 80}, UTC)
    drawn = timeline(deal, Calendar(UTC, day(1), None, "month", CALENDAR_ANCHOR), day(1))
    assert drawn.hidden == 21
