"""Writes with an Idempotency-Key, seen through a small view of our own."""

import threading
from datetime import timedelta
from typing import Any, cast

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import path
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_project import api
from billing_project.errors import RuleError
from billing_project.idempotency import once
from billing_project.models import AnsweredWrite, ApiKey

pytestmark = [pytest.mark.urls(__name__)]
entered = threading.Event()
leave = threading.Event()


class Groups(APIView):
    @once
    def post(self, request: Request) -> Response:
        given = cast("dict[str, Any]", request.data)
        made = Group.objects.create(name=given["name"])
        if given.get("slow"):
            entered.set()
            assert leave.wait(30)
        if given.get("wrong"):
            raise RuleError("No.")
        return Response({"id": made.pk, "name": made.name}, status=201)


urlpatterns = [path("api/v1/groups", Groups.as_view()), path("api/v1/others", Groups.as_view())]
handler404 = "billing_project.api.not_found"
handler500 = "billing_project.api.server_error"


@pytest.fixture(autouse=True)
def _no_known_keys() -> None:
    api.keys.clear()


def writer(name: str = "writer") -> dict[str, str]:
    _, secret = ApiKey.issue(name, ["write"])
    return {"Authorization": f"Bearer {secret}"}


def post(key: str | None, body: Any, headers: dict[str, str], address: str = "/api/v1/groups") -> Any:
    named = {} if key is None else {"Idempotency-Key": key}
    return Client().post(address, body, content_type="application/json", headers={**headers, **named})


@pytest.mark.django_db
class TestOneAfterTheOther:
    def test_the_second_call_is_answered_like_the_first_and_does_nothing(self) -> None:
        headers = writer()
        first = post("k1", {"name": "a"}, headers)
        again = post("k1", '{ "name":   "a" }', headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        assert Group.objects.filter(name="a").count() == 1

    def test_without_a_key_every_call_is_a_write(self) -> None:
        headers = writer()
        for name in "ab":
            assert post(None, {"name": name}, headers).status_code == 201
        assert not AnsweredWrite.objects.exists()

    @pytest.mark.parametrize(
        ("body", "address"), [({"name": "b"}, "/api/v1/groups"), ({"name": "a"}, "/api/v1/others")]
    )
    def test_a_key_used_for_another_request_is_refused(self, body: Any, address: str) -> None:
        headers = writer()
        post("k1", {"name": "a"}, headers)
        answer = post("k1", body, headers, address)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["code"] == "key_reused"

    def test_keys_of_two_callers_have_nothing_to_do_with_each_other(self) -> None:
        assert post("k1", {"name": "a"}, writer("one")).status_code == 201
        assert post("k1", {"name": "b"}, writer("two")).json()["name"] == "b"

    def test_what_was_refused_changed_nothing_and_may_be_corrected(self) -> None:
        headers = writer()
        assert post("k1", {"name": "a", "wrong": True}, headers).status_code == 422
        assert not Group.objects.filter(name="a").exists()
        assert post("k1", {"name": "a"}, headers).status_code == 201

    @pytest.mark.parametrize("key", [" ", "k" * 256])
    def test_a_key_that_is_none_is_refused(self, key: str) -> None:
        answer = post(key, {"name": "a"}, writer())
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["path"] == "Idempotency-Key"

    def test_answers_are_forgotten_after_a_day(self, capsys: pytest.CaptureFixture[str]) -> None:
        headers = writer()
        for name in "ab":
            post(name, {"name": name}, headers)
        AnsweredWrite.objects.filter(key="a").update(created_at=timezone.now() - timedelta(hours=25))
        call_command("forget_answers")
        assert capsys.readouterr().out == "1 answers deleted.\n"
        assert [each.key for each in AnsweredWrite.objects.all()] == ["b"]


@pytest.mark.usefixtures("real_commits")
def test_of_two_calls_at_once_one_writes_and_both_get_its_answer() -> None:
    headers, answers = writer(), list[Any]()
    entered.clear()
    leave.clear()

    def call() -> None:
        try:
            answers.append(post("k1", {"name": "a", "slow": True}, headers))
        finally:
            connection.close()

    threads = [threading.Thread(target=call) for _ in range(2)]
    threads[0].start()
    assert entered.wait(30)
    threads[1].start()
    wait_for_a_lock()
    leave.set()
    for each in threads:
        each.join(30)
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert Group.objects.filter(name="a").count() == 1


def wait_for_a_lock() -> None:
    """Until the second call waits for the first."""
    for _ in range(3000):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if cursor.fetchone()[0]:
                return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")
