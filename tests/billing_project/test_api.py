"""Keys, scopes, pages and the shape of errors, seen through small views of our own."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.db import connection
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from rest_framework import exceptions, serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ErrorDetail
from rest_framework.views import APIView

from billing_project import api
from billing_project.errors import ConflictError, Problem, RuleError
from billing_project.models import ApiKey

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

FAILURES: dict[str, Exception] = {
    "rule": RuleError("The rates overlap.", code="overlap", path="rates.1.starting_at"),
    "conflict": ConflictError("Somebody issued it before.", problems=[Problem("", "state", "It is issued.")]),
    "serializer": exceptions.ValidationError(
        {"lines": [{}, {"amount": [ErrorDetail("Not a number.", "invalid")]}], "non_field_errors": ["Both."]}
    ),
    "model": ValidationError({"ending_before": ValidationError("It ends before it starts.", code="order")}),
    "model_all": ValidationError("No.", code="no"),
    "missing": Http404(),
    "denied": PermissionDenied(),
    "large": RequestDataTooBig(),
    "throttled": exceptions.Throttled(wait=7),
    "bug": ZeroDivisionError("bug"),
}


class Ingest(APIView):
    permission_classes = [api.requires("ingest")]

    def post(self, request: Request) -> Response:
        caller: Any = request.auth
        return Response({"key": caller.name})


class Failing(APIView):
    def get(self, request: Request, kind: str) -> Response:
        raise FAILURES[kind]

    def post(self, request: Request, kind: str) -> Response:
        return Response(request.data)


class UserSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["username"]


class Users(ListAPIView[User]):
    queryset = User.objects.all()
    serializer_class = UserSerializer
    ordering = "username"


urlpatterns = [
    path("api/v1/ingest", Ingest.as_view()),
    path("api/v1/failing/<kind>", Failing.as_view()),
    path("api/v1/users", Users.as_view()),
]
handler404 = "billing_project.api.not_found"
handler500 = "billing_project.api.server_error"


@pytest.fixture(autouse=True)
def _no_known_keys() -> None:
    api.keys.clear()


def headers(*scopes: str) -> dict[str, str]:
    _, secret = ApiKey.issue("program", list(scopes))
    return {"Authorization": f"Bearer {secret}"}


def problem_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"] == "about:blank"
    return body


def test_a_key_opens_what_its_scope_allows(client: Client) -> None:
    key = headers("ingest")
    assert client.post("/api/v1/ingest", headers=key).json() == {"key": "program"}
    body = problem_of(client.get("/api/v1/users", headers=key), 403)
    assert body["errors"] == [{"path": "", "code": "missing_scope", "message": 'This API key lacks the scope "read".'}]
    assert client.get("/api/v1/users", headers=headers("read")).status_code == 200
    problem_of(client.post("/api/v1/failing/rule", headers=headers("read")), 403)
    sent = client.post("/api/v1/failing/rule", {"a": 1}, content_type="application/json", headers=headers("write"))
    assert sent.json() == {"a": 1}


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({}, "not_authenticated"),
        ({"Authorization": "Bearer ch_00000000_unknown"}, "unknown_key"),
        ({"Authorization": "Bearer"}, "malformed_key"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "malformed_key"),
    ],
)
def test_without_a_known_key_the_answer_is_401(client: Client, header: dict[str, str], code: str) -> None:
    response = client.post("/api/v1/ingest", headers=header)
    assert problem_of(response, 401)["errors"][0]["code"] == code
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_revoked_key_is_refused_once_the_cache_has_forgotten_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("billing_project.api.time.monotonic", lambda: now)
    key, secret = ApiKey.issue("program", ["ingest"])
    bearer = {"Authorization": f"Bearer {secret}"}
    assert client.post("/api/v1/ingest", headers=bearer).status_code == 200
    assert key.revoke()
    assert not key.revoke()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.post("/api/v1/ingest", headers=bearer).status_code == 200
    assert len(queries) == 0
    now += api.CACHE_SECONDS
    body = problem_of(client.post("/api/v1/ingest", headers=bearer), 401)
    assert body["errors"][0]["code"] == "unknown_key"


def test_a_key_is_stored_hashed_and_its_use_is_noted(client: Client) -> None:
    key, secret = ApiKey.issue("program", ["ingest"])
    assert secret.startswith(f"ch_{key.prefix}_")
    assert secret not in str(ApiKey.objects.values().get())
    client.post("/api/v1/ingest", headers={"Authorization": f"Bearer {secret}"})
    key.refresh_from_db()
    assert key.last_used_at


def test_a_key_needs_a_scope() -> None:
    with pytest.raises(ValidationError, match="cannot be blank"):
        ApiKey.issue("program", [])
    with pytest.raises(ValidationError, match="not a valid choice"):
        ApiKey.issue("program", ["everything"])


@pytest.mark.parametrize(
    ("kind", "status", "errors"),
    [
        ("rule", 422, [("rates.1.starting_at", "overlap", "The rates overlap.")]),
        ("conflict", 409, [("", "state", "It is issued.")]),
        ("serializer", 400, [("lines.1.amount", "invalid", "Not a number."), ("", "invalid", "Both.")]),
        ("model", 400, [("ending_before", "order", "It ends before it starts.")]),
        ("model_all", 400, [("", "no", "No.")]),
        ("missing", 404, [("", "not_found", "Not found.")]),
        ("denied", 403, [("", "permission_denied", "You do not have permission to perform this action.")]),
        ("large", 413, [("", "too_large", "The request body is too large.")]),
    ],
)
def test_every_refusal_has_one_shape(
    client: Client, kind: str, status: int, errors: list[tuple[str, str, str]]
) -> None:
    body = problem_of(client.get(f"/api/v1/failing/{kind}", headers=headers("read")), status)
    assert [(each["path"], each["code"], each["message"]) for each in body["errors"]] == errors
    assert body["detail"]


def test_a_throttled_caller_is_told_when_to_come_back(client: Client) -> None:
    response = client.get("/api/v1/failing/throttled", headers=headers("read"))
    problem_of(response, 429)
    assert response.headers["Retry-After"] == "8"


def test_malformed_json_and_other_types_are_named(client: Client) -> None:
    key = headers("write")
    broken = client.post("/api/v1/failing/rule", "{", content_type="application/json", headers=key)
    assert problem_of(broken, 400)["errors"][0]["code"] == "parse_error"
    form = client.post("/api/v1/failing/rule", {"a": "b"}, headers=key)
    assert problem_of(form, 415)["errors"][0]["code"] == "unsupported_media_type"
    assert problem_of(client.put("/api/v1/failing/rule", headers=key), 405)["errors"][0]["code"] == "method_not_allowed"


def test_unknown_addresses_and_failures_answer_in_the_same_shape(client: Client) -> None:
    assert problem_of(client.get("/api/v1/nothing"), 404)["errors"][0]["code"] == "not_found"
    assert client.get("/nothing").headers["Content-Type"].startswith("text/html")
    client.raise_request_exception = False
    body = problem_of(client.get("/api/v1/failing/bug", headers=headers("read")), 500)
    assert "bug" not in str(body)


def test_pages_go_on_where_the_last_one_ended(client: Client) -> None:
    User.objects.bulk_create(User(username=f"user-{number:03}") for number in range(5))
    key = headers("read")
    seen: list[str] = []
    url: str | None = "/api/v1/users?limit=2"
    while url:
        page = client.get(url, headers=key).json()
        seen += [row["username"] for row in page["results"]]
        url = page["next"]
    assert seen == [f"user-{number:03}" for number in range(5)]
