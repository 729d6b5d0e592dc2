"""The short way into POST /api/v1/events takes what is plain, and passes on everything else as it came."""

import io
import json
from collections.abc import Iterable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from rest_framework.exceptions import Throttled

from billing_project.models import ApiKey
from meters.api import fast_lane
from meters.api.fast_lane import FastLane
from meters.api.parsers import MAX_BYTES
from meters.models import Conflict, Event, RejectedEvent

pytestmark = pytest.mark.django_db
EVENT = {
    "id": "e1",
    "source": "api",
    "type": "llm",
    "subject": "acme",
    "time": "2026-01-05T10:00:00Z",
    "data": {"n": 5},
}


class View:
    """Stands where Django stands: keeps the body it was given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.bodies.append(environ["wsgi.input"].read())
        start_response("299 The view", [])
        return [b""]


@pytest.fixture
def secret() -> str:
    return ApiKey.issue("gateway", ["ingest"])[1]


def environ(body: Any, secret: str, **more: str | None) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/api/v1/events",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost:8000",
        "HTTP_ACCEPT": "*/*",
        "HTTP_AUTHORIZATION": f"Bearer {secret}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(content)),
        "wsgi.url_scheme": "http",
        **more,
    }
    return {**{name: text for name, text in given.items() if text is not None}, "wsgi.input": io.BytesIO(content)}


def call(application: Any, given: dict[str, Any]) -> tuple[str, bytes]:
    seen: list[str] = []
    parts = application(given, lambda status, headers: seen.append(status))
    return seen[0], b"".join(parts)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", EVENT),
        ("application/json; charset=utf-8", [EVENT]),
        ("application/cloudevents+json", EVENT),
        ("application/cloudevents-batch+json", [EVENT, {**EVENT, "id": "e2"}]),
    ],
)
def test_plain_posts_are_stored_without_the_view(secret: str, content_type: str, body: Any) -> None:
    view = View()
    for _ in range(2):
        given = environ(body, secret, CONTENT_TYPE=content_type)
        assert call(FastLane(view), given) == ("204 No Content", b"")
    assert view.bodies == []
    assert Event.objects.count() == len(body) if isinstance(body, list) else 1


@pytest.mark.parametrize(
    "more",
    [
        {"REQUEST_METHOD": "PUT"},
        {"PATH_INFO": "/api/v1/events/batch"},
        {"QUERY_STRING": "report=1"},
        {"HTTP_PREFER": "return=representation"},
        {"HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_CE_ID": "e1", "HTTP_CE_SPECVERSION": "1.0"},
        {"HTTP_ACCEPT": "text/html"},
        {"HTTP_AUTHORIZATION": None},
        {"HTTP_AUTHORIZATION": "Bearer of-nobody"},
        {"HTTP_AUTHORIZATION": "Basic abc"},
        {"HTTP_HOST": "elsewhere.example"},
        {"CONTENT_TYPE": "text/plain"},
        {"CONTENT_TYPE": None},
        {"CONTENT_TYPE": "application/cloudevents-batch+json"},  # takes an array
        {"CONTENT_LENGTH": None},
        {"CONTENT_LENGTH": "many"},
        {"CONTENT_LENGTH": str(MAX_BYTES + 1)},
    ],
    ids=str,
)
def test_the_view_gets_the_rest_as_it_came(secret: str, more: dict[str, str | None]) -> None:
    view = View()
    assert call(FastLane(view), environ(EVENT, secret, **more))[0] == "299 The view"
    assert view.bodies == [json.dumps(EVENT).encode()]
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[", {"event": EVENT}, {**EVENT, "id": ""}, [EVENT, {**EVENT, "time": "yesterday"}], b"[1]"],
    ids=repr,
)
def test_what_is_wrong_is_the_views_to_refuse(secret: str, body: Any) -> None:
    view = View()
    given = environ(body, secret)
    content = given["wsgi.input"].getvalue()
    assert call(FastLane(view), given)[0] == "299 The view"
    assert view.bodies == [content]
    assert not Event.objects.exists()
    assert not RejectedEvent.objects.exists()


def test_a_key_needs_the_scope() -> None:
    reader = ApiKey.issue("dashboard", ["read"])[1]
    assert call(FastLane(View()), environ(EVENT, reader))[0] == "299 The view"


@pytest.mark.parametrize("error", [OperationalError("gone"), Throttled(5)], ids=repr)
def test_a_failure_is_the_views_to_tell(secret: str, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(fast_lane, "take", fail)
    view = View()
    assert call(FastLane(view), environ(EVENT, secret))[0] == "299 The view"
    assert view.bodies == [json.dumps(EVENT).encode()]


def test_a_conflict_is_answered_in_the_words_of_the_view(secret: str, client: Client) -> None:
    assert call(FastLane(View()), environ(EVENT, secret))[0] == "204 No Content"
    other = {**EVENT, "data": {"n": 6}}
    status, content = call(FastLane(View()), environ(other, secret))
    headers = {"Authorization": f"Bearer {secret}"}
    view = client.post("/api/v1/events", other, content_type="application/json", headers=headers)
    assert (status, json.loads(content)) == ("400 Bad Request", view.json())
    assert Conflict.objects.count() == 1


def test_behind_a_proxy_only_what_came_encrypted(secret: str, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert call(FastLane(View()), environ(EVENT, secret))[0] == "299 The view"
    assert call(FastLane(View()), environ(EVENT, secret, **{"wsgi.url_scheme": "https"}))[0] == "204 No Content"
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert call(FastLane(View()), environ(EVENT, secret))[0] == "299 The view"
    assert call(FastLane(View()), environ(EVENT, secret, HTTP_X_FORWARDED_PROTO="https"))[0] == "204 No Content"
