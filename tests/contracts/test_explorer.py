"""The usage explorer: questions by address, chart, table, CSV, events behind a row."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from contracts.models import CustomerKey
from meters.rollup import roll_up
from tests.factories import CustomerFactory, MeterFactory, day, send, user

pytestmark = pytest.mark.django_db
URL = "admin:contracts_usage"


@pytest.fixture
def looking(client: Client) -> Client:
    client.force_login(user("Auditor"))
    return client


@pytest.fixture
def usage() -> None:
    MeterFactory.create(key="units", name="Units", group_by=["model"])
    MeterFactory.create(key="peak", name="Peak", aggregation="max")
    acme = CustomerFactory.create(key="acme", timezone="Europe/Berlin")
    CustomerKey.objects.create(customer=acme, key="acme-eu")
    send("acme", "3000.5", day(5), model="a")
    send("acme", 4, day(5), model="b", event_id="b")
    roll_up()
    send("acme-eu", 5, day(7))
    send("other", 9, day(8), model="a")


def explore(client: Client, **query: str) -> Any:
    given = {"meter": "units", "start": "2026-01-01", "end": "2026-01-31", **query}
    answer = client.get(reverse(URL), given)
    assert answer.status_code == 200
    return answer


def rows(answer: Any) -> list[tuple[str, str, str, int]]:
    return [(each.when, each.group, each.quantity, each.row.events) for each in answer.context["rows"]]


@pytest.mark.usefixtures("usage")
def test_by_day_and_group(looking: Client) -> None:
    answer = explore(looking, customer="acme-eu", group_by="model")
    assert rows(answer) == [
        ("2026-01-05", "a", "3,000.5", 1),
        ("2026-01-05", "b", "4", 1),
        ("2026-01-07", "none", "5", 1),
    ]
    assert "Europe/Berlin" in answer.content.decode()
    chart = answer.context["chart"]
    assert (len(chart.bars), [name for name, _ in chart.legend]) == (3, ["a", "none", "b"])
    assert max(bar.y + bar.height for bar in chart.bars) == 220


@pytest.mark.usefixtures("usage")
def test_everybody_by_month(looking: Client) -> None:
    assert rows(explore(looking, window="month")) == [("January 2026", "", "3,018.5", 4)]
    assert rows(explore(looking, meter="peak", window="week", customer="acme")) == [
        ("2026-01-05 – 01-11", "", "3,000.5", 3)
    ]


@pytest.mark.usefixtures("usage")
def test_down_to_the_events_behind_a_row(looking: Client) -> None:
    answer = explore(looking, customer="acme", group_by="model")
    for each, properties in zip(answer.context["rows"], ['{"model": "a", "units": "3000.5"}', "b", ""], strict=True):
        opened = looking.get(reverse(URL) + each.url)
        [(_, event, _)] = opened.context["events"]
        assert properties in event.properties
        assert "1 event" in opened.content.decode()


@pytest.mark.usefixtures("usage")
def test_as_csv(looking: Client) -> None:
    answer = looking.get(reverse(URL) + explore(looking, customer="acme", group_by="model").context["csv_url"])
    lines = answer.content.decode().splitlines()
    assert lines[0] == "customer,meter,starting_at,ending_before,model,quantity,events"
    assert lines[1] == "acme,units,2026-01-05T00:00:00+01:00,2026-01-06T00:00:00+01:00,a,3000.5,1"


@pytest.mark.usefixtures("usage")
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"end": "2025-12-31"}, "Not before the first day"),
        ({"tz": "Mars"}, "not a time zone"),
        ({"meter": "none"}, "valid choice"),
        ({"start": "2000-01-01", "window": "hour"}, "More than 2,000 windows"),
        ({"end": "9999-12-31", "window": "month"}, "between 1970 and 9990"),
        ({"start": "0001-01-01", "window": "month"}, "between 1970 and 9990"),
        ({"start": "soon"}, "valid date"),
        ({"customer": "a\0"}, "No usage in this time"),
    ],
)
def test_a_bad_question_is_explained(looking: Client, query: dict[str, str], message: str) -> None:
    assert message in explore(looking, **query).content.decode()


def test_without_a_meter_or_a_right(looking: Client) -> None:
    assert looking.get(reverse(URL)).status_code == 200
    looking.force_login(user("Service"))
    assert looking.get(reverse(URL)).status_code == 403
