"""The routes for other systems' clients stand in the API's documentation, each with an example that works."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from billing_project.models import ApiKey, Scope
from meters.models import Event

ROUTES = {
    "/api/v1/events",
    "/api/v1/events/batch",
    "/v1/ingest",
    "/ingest",
    "/v1/billing/meter_events",
    "/v2/billing/meter_events",
    "/v2/billing/meter_event_stream",
}
SESSION = "/v2/billing/meter_event_session"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


def test_the_documentation_is_valid(schema: dict[str, Any]) -> None:
    validate_schema(schema)  # type: ignore[no-untyped-call]
    assert set(schema["paths"]) >= {*ROUTES, SESSION}


@pytest.mark.django_db(transaction=True, available_apps=["meters", "billing_project"])
@pytest.mark.parametrize("route", sorted(ROUTES))
def test_every_example_is_taken(schema: dict[str, Any], route: str) -> None:
    _, secret = ApiKey.issue("Docs", [Scope.INGEST])
    page = schema["paths"][route]["post"]
    for media_type, content in page["requestBody"]["content"].items():
        for example in content["examples"].values():
            given = example["value"]
            answer = Client().post(
                route,
                urlencode(given) if media_type == FORM else json.dumps(given),
                content_type=media_type,
                headers={"authorization": f"Bearer {secret}"},
            )
            assert answer.status_code in {200, 204}, answer.content
            assert str(answer.status_code) in page["responses"]
    assert Event.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("route", [*sorted(ROUTES), SESSION])
@pytest.mark.parametrize(
    ("headers", "content_type", "body", "status"),
    [
        ({}, "application/json", b"{}", 401),
        ({"authorization": "Bearer wrong"}, "application/json", b"{}", 401),
        ({"authorization": "Basic x"}, "application/json", b"{}", 401),
        ({"authorization": "Bearer READER"}, "application/json", b"{}", 403),
        ({"authorization": "Bearer SENDER"}, "application/xml", b"<a/>", 415),
        ({"authorization": "Bearer SENDER", "accept": "image/png"}, "application/json", b"{}", 406),
        ({"authorization": "Bearer SENDER"}, "TAKEN", b"\xff", 400),
        ({"authorization": "Bearer SENDER"}, "TAKEN", b"x" * (10 * 1024 * 1024 + 1), 413),
    ],
)
def test_every_refusal_is_documented(
    schema: dict[str, Any], route: str, headers: dict[str, str], content_type: str, body: bytes, status: int
) -> None:
    secrets = {scope: ApiKey.issue(scope, [scope])[1] for scope in (Scope.INGEST, Scope.READ)}
    if route == SESSION and status not in {401, 403, 406}:
        return
    page = schema["paths"][route]["post"]
    taken = FORM if route == "/v1/billing/meter_events" else "application/json"
    filled = {
        name: value.replace("SENDER", secrets[Scope.INGEST]).replace("READER", secrets[Scope.READ])
        for name, value in headers.items()
    }
    answer = Client().post(route, body, content_type=content_type.replace("TAKEN", taken), headers=filled)
    assert answer.status_code == status, answer.content
    assert str(status) in page["responses"]
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert [set(each) for each in problem["errors"]] == [{"path", "code", "message"}]
    if "billing" in route:
        assert problem["error"]["message"]
