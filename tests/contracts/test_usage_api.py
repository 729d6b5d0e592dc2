"""GET /api/v1/usage: windows, groups, aliases, CSV, and what is wrong with a question."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from billing_project.models import ApiKey
from contracts.models import CustomerKey
from meters.models import Meter
from meters.rollup import roll_up
from tests.factories import CustomerFactory, MeterFactory, send

pytestmark = pytest.mark.django_db


@pytest.fixture
def meter() -> Meter:
    return MeterFactory.create(key="units", group_by=["model", "region"])


@pytest.fixture
def client() -> Client:
    _, secret = ApiKey.issue("reader", ["read"])
    return Client(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def usage(meter: Meter) -> None:
    acme = CustomerFactory.create(key="acme", name="Acme")
    CustomerKey.objects.create(customer=acme, key="acme-eu")
    send("acme", 3, at("2026-01-05T10:10"), model="a", region="eu")
    send("acme", 4, at("2026-01-05T10:50"), model="a", region="us")
    roll_up()
    send("acme-eu", 5, at("2026-01-05T23:30"), model="b", region="eu")
    send("nobody", 9, at("2026-01-06T00:00"), model="a", region="eu")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ask(client: Client, **query: Any) -> Any:
    answer = client.get("/api/v1/usage", {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", **query})
    assert answer.status_code == 200, answer.content
    return answer.json()["data"]


@pytest.mark.usefixtures("usage")
def test_when_everything_is_counted_the_buckets_alone_are_read(client: Client) -> None:
    roll_up()
    assert table(ask(client, customer="acme", meter="units"))
    assert ask(client, customer="unheard-of", meter="units") == []


def table(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["starting_at"][:16], *row["group"].values(), row["quantity"], row["events"]) for row in rows]


@pytest.mark.usefixtures("usage")
def test_aliases_count_for_their_customer(client: Client) -> None:
    [row] = ask(client, customer="acme-eu", meter="units")
    assert (row["customer"], row["quantity"], row["events"]) == ("acme", "12", 3)


@pytest.mark.usefixtures("usage")
def test_windows_begin_at_local_midnight(client: Client) -> None:
    assert table(ask(client, customer="acme", window="day")) == [("2026-01-05T00:00", "12", 3)]
    assert table(ask(client, customer="acme", window="day", tz="Europe/Berlin")) == [
        ("2026-01-04T23:00", "7", 2),
        ("2026-01-05T23:00", "5", 1),
    ]
    for keys in ("model,region", ["model", "region"]):
        assert table(ask(client, customer="acme", window="hour", group_by=keys)) == [
            ("2026-01-05T10:00", "a", "eu", "3", 1),
            ("2026-01-05T10:00", "a", "us", "4", 1),
            ("2026-01-05T23:00", "b", "eu", "5", 1),
        ]


@pytest.mark.usefixtures("usage")
def test_a_key_nobody_has_is_read_as_events_name_it(client: Client) -> None:
    assert table(ask(client, customer="nobody")) == [("2026-01-01T00:00", "9", 1)]


@pytest.mark.usefixtures("usage")
def test_without_a_customer_all_of_them_answer(client: Client) -> None:
    assert [row["customer"] for row in ask(client)] == ["acme"]


@pytest.mark.usefixtures("usage")
def test_the_same_rows_as_csv(client: Client) -> None:
    answer = client.get(
        "/api/v1/usage",
        {"from": "2026-01-01", "to": "2026-02-01T00:00:00Z", "customer": "acme", "group_by": "model", "format": "csv"},
    )
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.content.decode().splitlines() == [
        "customer,meter,starting_at,ending_before,model,quantity,events",
        "acme,units,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z,a,7,2",
        "acme,units,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z,b,5,1",
    ]


@pytest.mark.parametrize(
    ("query", "status", "path"),
    [
        ({"meter": "unknown"}, 400, "meter"),
        ({"meter": "\0"}, 400, "meter"),
        ({"customer": "\0"}, 400, "customer"),
        ({"window": "minute"}, 400, "window"),
        ({"tz": "Mars/Olympus"}, 400, "tz"),
        ({"from": "yesterday"}, 400, "from"),
        ({"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, 400, "to"),
        ({"group_by": "colour"}, 422, "group_by"),
        ({"from": "1990-01-01T00:00:00Z", "window": "hour"}, 422, "window"),
    ],
)
def test_a_wrong_question_names_the_parameter(
    client: Client, meter: Meter, query: dict[str, str], status: int, path: str
) -> None:
    CustomerFactory.create(key="acme")
    answer = client.get("/api/v1/usage", query)
    assert answer.status_code == status, answer.content
    assert answer.json()["errors"][0]["path"].split(".")[0] == path


def test_an_ingest_key_may_not_read(meter: Meter) -> None:
    _, secret = ApiKey.issue("sender", ["ingest"])
    assert Client(headers={"authorization": f"Bearer {secret}"}).get("/api/v1/usage").status_code == 403
    assert Client().get("/api/v1/usage").status_code == 401


def test_the_default_is_this_month_so_far(client: Client, meter: Meter) -> None:
    CustomerFactory.create(key="acme")
    now = datetime.now(UTC)
    send("acme", 2, now)
    [row] = client.get("/api/v1/usage").json()["data"]
    assert (row["starting_at"], row["quantity"]) == (f"{now:%Y-%m}-01T00:00:00Z", "2")
