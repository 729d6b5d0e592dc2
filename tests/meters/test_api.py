"""POST /api/v1/events, as a client meets it."""

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from billing_project.api import keys
from billing_project.models import ApiKey
from meters.models import Conflict, Event, RejectedEvent, Subject
from tests.meters.making import make_meter, usage

pytestmark = pytest.mark.django_db
URL = "/api/v1/events"
BATCH = "application/cloudevents-batch+json"
GOOD = {
    "specversion": "1.0",
    "id": "e1",
    "source": "api",
    "type": "llm",
    "subject": "acme",
    "time": "2026-01-05T10:00:00Z",
    "data": {"tokens": 5, "model": "x"},
}
Post = Callable[..., HttpResponse]


@pytest.fixture
def post(client: Client) -> Post:
    _, secret = ApiKey.issue("gateway", ["ingest"])

    def send(body: Any, content_type: str = BATCH, path: str = URL, key: str = secret, **headers: str) -> HttpResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return client.post(path, data, content_type=content_type, headers=given)  # type: ignore[return-value]

    return send


def answer(response: HttpResponse, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    if status >= 400:
        assert response.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = json.loads(response.content)
    return found


def event(event_id: str, **more: Any) -> dict[str, Any]:
    return {**GOOD, "id": event_id, **more}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/cloudevents+json", GOOD),
        ("application/cloudevents+json; charset=utf-8", GOOD),
        (BATCH, [GOOD]),
        ("application/json", GOOD),
        ("application/json", [GOOD]),
    ],
)
def test_taken_without_a_word(post: Post, content_type: str, body: Any) -> None:
    for _ in range(2):
        response = post(body, content_type)
        assert (response.status_code, response.content) == (204, b"")
    assert Event.objects.count() == 1


def test_again_and_shuffled_changes_nothing(post: Post) -> None:
    meter = make_meter(group_by=["model"])
    batch = [event(f"e{place}") for place in range(10)]
    post(batch)
    before = usage(meter)
    assert answer(post(batch[::-1], path=f"{URL}?report=1"), 200) == {"accepted": 0, "duplicates": 10, "rejected": []}
    assert usage(meter) == before == {("x",): (Decimal(50), 10)}


def test_a_report_where_one_is_preferred(post: Post) -> None:
    response = post([event("a"), event("b"), event("a")], Prefer="return=representation")
    assert answer(response, 200) == {"accepted": 2, "duplicates": 1, "rejected": []}


def test_bad_events_are_answered_one_by_one_and_good_ones_kept(post: Post) -> None:
    ahead = f"{timezone.now() + timedelta(hours=25):%Y-%m-%dT%H:%M:%SZ}"
    batch = [event("a"), {**event("b"), "time": None}, event("c", time=ahead), event("d"), event("a", data={}), 5]
    for times in (1, 2):
        refused = answer(post(batch), 400)
        assert (refused["accepted"], refused["duplicates"]) == ((2, 0), (0, 2))[times - 1]
        found = [(each["index"], each["id"], each["code"]) for each in refused["rejected"]]
        assert found == [
            (1, "b", "required"),
            (2, "c", "too_far_ahead"),
            (4, "a", "conflict"),
            (5, "", "not_an_object"),
        ]
        assert [each["path"] for each in refused["errors"]] == ["[1].time", "[2].time", "[4].id", "[5]"]
        assert all(each["message"] for each in refused["errors"])
        assert set(RejectedEvent.objects.values_list("times", flat=True)) == {times}
        assert Conflict.objects.get().properties == {}
    assert Event.objects.count() == 2
    assert json.loads(RejectedEvent.objects.get(event_id="c").body)["time"] == ahead


def test_a_conflict_is_listed_whatever_its_offset(post: Post) -> None:
    """PostgreSQL itself reads no offset beyond 15:59."""
    far = {"time": "2026-01-06T02:06:00+16:06"}
    assert post([event("a", **far)]).status_code == 204
    refused = answer(post([event("a", **far, data={})]), 400)
    assert [each["code"] for each in refused["rejected"]] == ["conflict"]
    assert f"{Conflict.objects.get().time:%H:%M}" == "10:00"


def test_the_path_of_a_single_event_has_no_index(post: Post) -> None:
    refused = answer(post(b'{"id": "a", "data": {"n": NaN}}', "application/json"), 400)
    assert refused["errors"][0]["path"] == "data.n"
    assert refused["rejected"][0]["index"] == 0


def test_what_cannot_be_stored_is_kept_as_it_was_sent(post: Post) -> None:
    answer(post([{**event("a\0"), "data": {"x": "\ud800"}}]), 400)
    assert "\\u0000" in RejectedEvent.objects.get().body


def test_an_unknown_customer_is_kept(post: Post) -> None:
    assert post([event("a", subject="nobody-knows")]).status_code == 204
    assert Subject.objects.get().key == "nobody-knows"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b"", "application/json", 400, "malformed_json"),
        (b"", BATCH, 400, "malformed_json"),
        (GOOD, BATCH, 400, "not_an_array"),
        ([GOOD], "application/cloudevents+json", 400, "not_an_object"),
        ([GOOD], "text/plain", 415, "unsupported_media_type"),
        ([GOOD], "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
def test_a_body_that_cannot_be_read(post: Post, body: Any, content_type: str, status: int, code: str) -> None:
    refused = answer(post(body, content_type), status)
    assert refused["errors"][0]["code"] == code
    assert status != 415 or "Send application/cloudevents-batch+json or" in refused["detail"]
    assert not Event.objects.exists()


def test_too_many_bytes_and_too_many_events(post: Post) -> None:
    large = event("a", data={"text": "x" * 10 * 1024 * 1024})
    many = [event(str(place)) for place in range(10_001)]
    packed = gzip.compress(json.dumps([large]).encode())
    assert len(packed) < 100_000
    for response in (post([large]), post(many), post(packed, Content_Encoding="gzip")):
        answer(response, 413)
    assert not Event.objects.exists()


def test_gzip(post: Post) -> None:
    packed = gzip.compress(json.dumps([event("a"), event("b")]).encode())
    assert post(packed, Content_Encoding="gzip").status_code == 204
    assert post(packed[:20] + b"", Content_Encoding="gzip").status_code == 400
    for bad in (packed[:-3], b"plain", packed[:10] + b"x" + packed[11:]):
        assert answer(post(bad, Content_Encoding="gzip"), 400)["errors"][0]["code"] == "bad_gzip"
    answer(post(packed, Content_Encoding="br"), 415)
    assert Event.objects.count() == 2


class TestKeys:
    def test_unknown_missing_and_malformed(self, post: Post, client: Client) -> None:
        assert answer(post([GOOD], key="ch_nobody_has_this"), 401)["errors"][0]["code"] == "unknown_key"
        answer(client.post(URL, [GOOD], content_type="application/json"), 401)  # type: ignore[arg-type]

    def test_revoked(self, post: Post) -> None:
        assert post([GOOD]).status_code == 204
        ApiKey.objects.get().revoke()
        keys.clear()
        answer(post([GOOD]), 401)

    def test_without_the_scope(self, post: Post) -> None:
        _, secret = ApiKey.issue("reader", ["read", "write"])
        assert answer(post([GOOD], key=secret), 403)["errors"][0]["code"] == "missing_scope"
        assert not Event.objects.exists()


def test_an_answer_comes_after_the_commit(committed: None, post: Post) -> None:
    """With real transactions: nothing of the request is left open when the answer is out."""
    from django.db import connection

    assert post([GOOD]).status_code == 204
    assert not connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_xact_status(xid::text::xid8) FROM meters_event")
        assert cursor.fetchone() == ("committed",)


def test_the_documentation_has_examples(client: Client) -> None:
    document = json.loads(client.get("/api/schema/", {"format": "json"}).content)
    ingestion = document["paths"]["/api/v1/events"]["post"]
    assert set(ingestion["responses"]) >= {"200", "204", "400", "401", "403", "413", "415"}
    content = ingestion["requestBody"]["content"]
    assert all(content[kind]["examples"] for kind in ("application/cloudevents+json", BATCH, "application/json"))
