"""Clients are asked to wait, with Retry-After, while the roller is far behind or the database does not do its work."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from billing_project.api import keys
from billing_project.models import ApiKey
from meters import backlog as module
from meters.backlog import backlog
from meters.health import Pulse
from meters.ingest import ingest_events
from meters.models import Event
from tests.meters.making import event, rolled

BODY = {"id": "new", "type": "llm", "customer": "acme", "time": "2026-01-05T10:00:00Z", "properties": {"tokens": 1}}


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It looks every time."""
    monkeypatch.setattr(module, "LOOK_AGAIN", 0)
    monkeypatch.setattr(module, "WAIT", 0)
    backlog.forget()
    yield
    backlog.forget()


@pytest.fixture
def secret(committed: None) -> Iterator[str]:
    key, secret = ApiKey.issue("gateway", ["ingest"])
    yield secret
    ApiKey.objects.filter(pk=key.pk).delete()
    keys.clear()


def post(client: Client, secret: str, **more: Any) -> HttpResponse:
    answer = client.post(
        "/api/v1/events",
        json.dumps({**BODY, **more}),
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert isinstance(answer, HttpResponse)
    return answer


def test_too_many_waiting_events_are_answered_with_429_until_the_roller_has_counted(
    secret: str, client: Client, settings: Any, looking: None
) -> None:
    settings.METERS_MAX_BACKLOG = 3
    ingest_events([event(f"e{number}") for number in range(3)])
    assert post(client, secret).status_code == 204
    refused = post(client, secret, id="newer")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert "none of these was stored" in json.loads(refused.content)["detail"]
    assert not Event.objects.filter(properties={"tokens": 2}).exists()
    rolled()
    assert post(client, secret, id="newer").status_code == 204


def test_duplicates_do_not_count_as_waiting(committed: None, settings: Any, looking: None) -> None:
    settings.METERS_MAX_BACKLOG = 3
    sent = [event(f"e{number}") for number in range(2)]
    for _ in range(5):
        ingest_events(sent)
        assert not backlog.is_too_long()
    ingest_events([event("e8"), event("e9")])
    assert backlog.is_too_long()
    rolled()
    assert not backlog.is_too_long()
    for _ in range(5):
        ingest_events(sent)
        assert not backlog.is_too_long()


def test_posts_wait_the_longer_the_further_a_working_roller_is_behind(
    committed: None, settings: Any, looking: None
) -> None:
    settings.METERS_SLOWING_BACKLOG = 2
    ingest_events([event(f"e{number}") for number in range(4)])
    assert backlog.pause(1000) == 0
    Pulse().beat(0)
    assert backlog.pause(1000) == 0.125
    ingest_events([event(f"e{number}") for number in range(4, 20)])
    assert (backlog.pause(1000), backlog.pause(1), backlog.pause(100_000)) == (0.5, 0.0005, 2)
    rolled()
    assert backlog.pause(1000) == 0
    for _ in range(3):
        ingest_events([event(f"e{number}") for number in range(4)])
        assert backlog.pause(1000) == 0


def test_a_slowed_post_is_stored(
    secret: str, client: Client, settings: Any, looking: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.METERS_SLOWING_BACKLOG = 1
    waited: list[float] = []
    monkeypatch.setattr("meters.api.taking.time.sleep", waited.append)
    ingest_events([event(f"e{number}") for number in range(5)])
    Pulse().beat(0)
    assert post(client, secret).status_code == 204
    assert waited == [0.0005]


def test_no_limit(committed: None, settings: Any, looking: None) -> None:
    settings.METERS_MAX_BACKLOG = 0
    ingest_events([event("e1")])
    assert not backlog.is_too_long()


def test_it_looks_once_a_second(committed: None, settings: Any) -> None:
    settings.METERS_MAX_BACKLOG = 1
    backlog.forget()
    ingest_events([event("e1")])
    assert not backlog.is_too_long()
    ingest_events([event("e2"), event("e3")])
    assert not backlog.is_too_long()
    backlog.forget()
    assert backlog.is_too_long()
    rolled()
    assert backlog.is_too_long()
    backlog.forget()


@pytest.mark.parametrize(
    "sqlstate",
    [
        "disk_full",
        "too_many_connections",
        "query_canceled",
        "lock_not_available",
        "admin_shutdown",
        "deadlock_detected",
    ],
)
def test_a_database_that_cannot_is_answered_with_503(secret: str, client: Client, sqlstate: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'simulated' USING ERRCODE = '{sqlstate}'; END $$"
        )
        cursor.execute("CREATE TRIGGER fail BEFORE INSERT ON meters_event EXECUTE FUNCTION fail()")
    try:
        refused = post(client, secret)
        assert refused.status_code == 503
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert int(refused.headers["Retry-After"]) >= 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION fail CASCADE")
    assert Event.objects.count() == 0
    assert post(client, secret).status_code == 204
