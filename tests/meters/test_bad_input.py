"""What is wrong with an event is answered with the path of the field, over HTTP and of a line in a file alike."""

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from billing_project.models import ApiKey
from meters.models import Event, RejectedEvent
from meters.sources.mapping import ColumnMapping
from tests.meters.files import counts, import_file

pytestmark = pytest.mark.django_db
URL = "/api/v1/events"
GOOD: dict[str, Any] = {"id": "e1", "type": "llm", "subject": "acme", "time": "2026-01-05T10:00:00Z", "data": {"n": 1}}
MB = 1024 * 1024

# The field that is wrong, its code, and the event: as JSON where JSON alone can say it.
BAD: list[tuple[str, str, Any]] = [
    *(
        (name, "required", {key: value for key, value in GOOD.items() if key != name})
        for name in ("id", "time", "type")
    ),
    ("time", "invalid_time", {**GOOD, "time": "0000-01-01T00:00:00Z"}),
    ("time", "too_far_ahead", {**GOOD, "time": "9999-12-31T23:59:59Z"}),
    ("time", "invalid_time", {**GOOD, "time": "31/01/2026"}),
    ("data", "too_deep", '{"n": ' + '{"n":' * 100 + "1" + "}" * 100 + "}"),
    ("data." + "k" * 20 + "…", "key_too_long", {**GOOD, "data": {"k" * 10_000: 1}}),
    ("data.n", "repeated_key", '{"n": 1, "n": 2}'),
    ("data.n", "number_too_big", '{"n": 1e400}'),
    ("data.n", "not_a_number", '{"n": NaN}'),
    ("data.n", "lone_surrogate", {**GOOD, "data": {"n": "\ud800"}}),
    ("id", "lone_surrogate", {**GOOD, "id": "\udfff"}),
    ("data.n", "null_character", {**GOOD, "data": {"n": "\0"}}),
    ("subject", "null_character", {**GOOD, "subject": "a\0"}),
]
CASES = pytest.mark.parametrize(
    ("path", "code", "given"), BAD, ids=[f"{number} {code}" for number, (_, code, _) in enumerate(BAD)]
)


def body_of(given: Any) -> str:
    if isinstance(given, str):
        return json.dumps({**GOOD, "data": "HERE"}).replace('"HERE"', given)
    return json.dumps(given)


@pytest.fixture
def key() -> Any:
    made, secret = ApiKey.issue("sender", ["ingest"])
    yield {"Authorization": f"Bearer {secret}"}
    made.delete()


@CASES
def test_over_http(client: Client, key: dict[str, str], path: str, code: str, given: Any) -> None:
    body = f"[{json.dumps({**GOOD, 'id': 'good'})},{body_of(given)}]"
    answer = client.post(URL, body, content_type="application/json", headers=key)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["path"], error["code"]) == (f"[1].{path}", code)
    assert answer.json()["rejected"][0]["index"] == 1
    assert Event.objects.count() == 1


@CASES
def test_in_a_line_of_a_file(tmp_path: Path, path: str, code: str, given: Any) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f"{json.dumps({**GOOD, 'id': 'good'})}\n{body_of(given)}\n")
    assert counts(import_file(file, ColumnMapping())) == (1, 0, 0, 1)
    rejected = RejectedEvent.objects.get()
    assert (rejected.path, rejected.code) == (path, code)
    assert rejected.message.endswith(f"({file}, line 2)")


def test_a_zip_bomb_is_not_unpacked(client: Client, key: dict[str, str]) -> None:
    bomb = gzip.compress(b"[" + b" " * 200 * MB, 1)
    assert len(bomb) < MB
    tracemalloc.start()
    try:
        for packed in (bomb, gzip.compress(bomb[:1]) + bomb):
            answer = client.post(
                URL, packed, content_type="application/json", headers={**key, "Content-Encoding": "gzip"}
            )
            assert answer.status_code == 413
            assert answer.json()["errors"][0]["code"]
        assert tracemalloc.get_traced_memory()[1] < 60 * MB
    finally:
        tracemalloc.stop()
