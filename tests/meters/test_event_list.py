"""GET /api/v1/events: what arrived, which meters count it, what does not count and why."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from billing_project.models import ApiKey
from meters import event_log
from meters.events import Rejection
from meters.ingest import ingest_events, record_rejections
from meters.rollup import roll_up
from tests.meters.making import event, make_meter

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    _, secret = ApiKey.issue("reader", ["read"])
    return Client(headers={"authorization": f"Bearer {secret}"})


def ask(client: Client, **query: Any) -> Any:
    answer = client.get("/api/v1/events", query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def times(answer: Any) -> list[str]:
    return [row["time"][8:16] for row in answer["data"]]


def everything(client: Client, **query: Any) -> list[str]:
    answer = ask(client, **query)
    found = times(answer)
    while answer["next"]:
        answer = client.get(answer["next"]).json()
        found += times(answer)
    return found


def test_newest_first_and_on_by_cursor(client: Client) -> None:
    ingest_events([event(str(n), f"2026-01-{n:02}T10:00:00") for n in range(1, 8)])
    assert times(ask(client, limit=2)) == ["07T10:00", "06T10:00"]
    expected = [f"{n:02}T10:00" for n in range(7, 0, -1)]
    assert everything(client, limit=2) == expected
    assert everything(client, limit=2, customer="acme") == expected
    roll_up()
    assert everything(client, limit=3, customer="acme") == expected
    assert everything(client, limit=7) == expected


def test_numbers_the_database_writes_with_all_their_digits_are_shown(client: Client) -> None:
    numbers = '{"large": -1.5e100, "small": 1e-100, "long": 0.%s}' % ("12" * 40 + "e-90")
    taken = f'{{"id": "1", "time": "2026-01-01T00:00:00Z", "type": "t", "subject": "s", "data": {numbers}}}'
    _, secret = ApiKey.issue("writer", ["ingest"])
    posted = client.post(
        "/api/v1/events", taken, content_type="application/json", headers={"authorization": f"Bearer {secret}"}
    )
    assert posted.status_code == 204, posted.content
    answer = client.get("/api/v1/events")
    assert answer.status_code == 200, answer.content
    shown = json.loads(answer.content, parse_float=Decimal, parse_int=Decimal)["data"][0]["properties"]
    assert shown == json.loads(numbers, parse_float=Decimal)


def test_filters(client: Client) -> None:
    ingest_events(
        [
            event("1", "2026-01-05T10:00:00"),
            event("2", "2026-01-06T10:00:00", customer="beta"),
            event("3", "2026-01-07T10:00:00", type="image"),
        ]
    )
    assert times(ask(client, type="image")) == ["07T10:00"]
    assert ask(client, type="unheard-of")["data"] == []
    assert times(ask(client, customer="beta")) == ["06T10:00"]
    assert times(client.get("/api/v1/events?customer=beta&customer=acme&type=llm").json()) == ["06T10:00", "05T10:00"]
    assert times(ask(client, **{"from": "2026-01-05T10:00:00Z", "to": "2026-01-06T10:00:00Z"})) == ["05T10:00"]
    assert times(ask(client, customer="acme", to="2026-01-06T00:00:00Z")) == ["05T10:00"]


def test_many_events_at_one_instant_are_listed_once_each(client: Client) -> None:
    ingest_events([event(str(n), "2026-01-05T00:00:00") for n in range(5)])
    queries: list[dict[str, str]] = [{}, {"customer": "acme"}, {"type": "llm"}]
    for query in queries:
        answer, keys = ask(client, limit=2, **query), []
        while True:
            keys += [row["key"] for row in answer["data"]]
            if not answer["next"]:
                break
            answer = client.get(answer["next"]).json()
        assert len(keys) == len(set(keys)) == 5


def test_a_rare_type_is_found_in_bounded_steps(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MOST_READ", 2)
    common = [event(str(n), f"2026-01-{n:02}T10:00:00") for n in range(2, 9)]
    ingest_events([event("1", "2026-01-01T10:00:00", type="rare"), *common])
    first = ask(client, type="rare")
    assert (first["data"], first["next"] is not None) == ([], True)
    assert everything(client, type="rare") == ["01T10:00"]


def test_what_meters_make_of_it(client: Client) -> None:
    make_meter(group_by=["model"])
    make_meter("count", "", filters=[{"property": "model", "in": ["b", "c"]}])
    make_meter("max", "steps")
    make_meter("sum", "model", key="no-number")
    make_meter("count", "", key="other", event_types=["image"])
    ingest_events([event("1", tokens="0.10", model="a")])
    [row] = ask(client)["data"]
    assert row["properties"] == {"tokens": "0.10", "model": "a"}
    assert row["counts"] is True
    assert [(each["meter"], each["matched"], each["value"], each["reason"]) for each in row["meters"]] == [
        ("count-events", False, None, "The condition does not hold: model in b, c."),
        ("max-steps", False, None, "It has no property steps."),
        ("no-number", False, None, "Its model is no number: a"),
        ("sum-tokens", True, "0.10", ""),
    ]
    assert row["meters"][-1]["group"] == {"model": "a"}


def test_numbers_stay_as_they_arrived(client: Client) -> None:
    cost = "0.1000000000000000055511151231257827"
    envelope = '"id":"1","customer":"acme","type":"llm","time":"2026-01-05T10:00:00Z"'
    body = f'[{{{envelope},"properties":{{"cost":{cost}}}}}]'
    key = ApiKey.issue("sender", ["ingest"])[1]
    sent = client.post("/api/v1/events", body, "application/json", headers={"authorization": f"Bearer {key}"})
    assert sent.status_code == 204
    answer = client.get("/api/v1/events")
    assert f'{{"cost":{cost}}}' in answer.content.decode()


@pytest.mark.parametrize("rolled", [False, True])
def test_one_identity_with_all_that_arrived_under_it(client: Client, rolled: bool) -> None:
    ingest_events([event("a", "2026-01-05T10:00:00", tokens=1), event("b", "2026-01-05T11:00:00")])
    ingest_events([event("a", "2026-01-05T10:00:00", tokens=2)])
    record_rejections([Rejection(0, "a", "time", "no_offset", "No offset.", '{"id": "a"}')], "gateway")
    if rolled:
        roll_up()
    ingest_events([event("a", "2026-01-09T10:00:00", tokens=3)])
    found = ask(client, id="a", source="api")
    assert [(row["time"][8:16], row["counts"]) for row in found["data"]] == [("09T10:00", False), ("05T10:00", True)]
    [conflict] = found["conflicts"]
    assert (conflict["kind"], conflict["properties"]) == ("body", {"tokens": 2})
    [rejected] = found["rejected"]
    assert (rejected["code"], rejected["body"]) == ("no_offset", '{"id": "a"}')
    assert ask(client, id="a")["data"] == []
    assert len(ask(client, id="a", source="api", **{"from": "2026-01-01T00:00:00Z"})["data"]) == 2


def test_csv(client: Client) -> None:
    make_meter()
    ingest_events([event("1", tokens=3, note='a "b", c'), event("2", "2026-01-04T10:00:00")])
    answer = client.get("/api/v1/events", {"format": "csv", "limit": "1"})
    assert answer.headers["content-type"].startswith("text/csv")
    header, row = answer.content.decode().splitlines()
    assert header == "key,customer,type,time,counts,properties,meters"
    assert row.endswith(',acme,llm,2026-01-05T10:00:00Z,true,"{""note"":""a \\""b\\"", c"",""tokens"":3}",sum-tokens=3')
    assert 'rel="next"' in answer.headers["link"]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 5000}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "äöü"}, "cursor"),
        ({"from": "yesterday"}, "from"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "from"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-02T00:00:00Z"}, "to"),
        ({"source": "api"}, "id"),
        ({"customer": ""}, "customer.0"),
        ({"type": "a\0"}, "type"),
    ],
)
def test_a_bad_question_names_the_parameter(client: Client, query: dict[str, Any], path: str) -> None:
    answer = client.get("/api/v1/events", query)
    assert answer.status_code == 400
    assert [each["path"] for each in answer.json()["errors"]] == [path]


def test_extreme_times_are_answered(client: Client) -> None:
    ingest_events([event("1")])
    queries: list[dict[str, str]] = [{}, {"customer": "acme"}, {"type": "llm"}, {"id": "1"}]
    for bound in ("from", "to"):
        for time in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"):
            for query in queries:
                ask(client, **{**query, bound: time})


def test_only_keys_that_may_read(client: Client) -> None:
    _, secret = ApiKey.issue("sender", ["ingest"])
    sender = Client(headers={"authorization": f"Bearer {secret}"})
    assert sender.get("/api/v1/events").status_code == 403
    assert Client().get("/api/v1/events").status_code == 401
    assert client.post("/api/v1/events", "[]", "application/json").status_code == 403
