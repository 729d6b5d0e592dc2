"""Locks, progress, logs, health, tables, settings."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from django.core.management.base import OutputWrapper
from django.db import OperationalError, connection, transaction
from django.test import Client

from billing_project import locks, progress
from billing_project.logs import JsonFormatter, TextFormatter

ROOT = Path(__file__).resolve().parents[2]


def manage(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in {"DJANGO_SETTINGS_MODULE", "SECRET_KEY"}}
    clean |= {"COUNTINGHOUSE_MODE": "production", "DATABASE_URL": "postgres://nobody@127.0.0.1:9/none"}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=clean | env,
        text=True,
        capture_output=True,
        check=False,
    )


def test_production_is_the_default_and_passes_djangos_own_check() -> None:
    secret = "k2-9$vQ7xW" * 6
    checked = manage("check", "--deploy", "--fail-level", "INFO", COUNTINGHOUSE_MODE="production", SECRET_KEY=secret)
    assert checked.returncode == 0, checked.stderr


def test_production_without_a_secret_names_the_variable(tmp_path: Path) -> None:
    refused = manage("check", COUNTINGHOUSE_DATA=str(tmp_path))
    assert refused.returncode != 0
    assert "SECRET_KEY is not set" in refused.stderr


def test_an_unknown_mode_is_refused() -> None:
    assert 'COUNTINGHOUSE_MODE is "staging"' in manage("check", COUNTINGHOUSE_MODE="staging", SECRET_KEY="x").stderr


@pytest.mark.django_db
def test_health_says_whether_the_database_answers(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "database": "ok"}
    with mock.patch("billing_project.health.connection.cursor", side_effect=OperationalError("password=abc")):
        answer = client.get("/healthz")
    assert answer.status_code == 503
    assert "password" not in answer.content.decode()


@pytest.mark.django_db
def test_health_is_not_redirected_to_https(client: Client, settings: object) -> None:
    settings.SECURE_SSL_REDIRECT = True  # type: ignore[attr-defined]
    assert client.get("/healthz").status_code == 200
    assert client.get("/admin/").status_code == 301


@pytest.mark.django_db
def test_the_api_describes_itself_offline(client: Client) -> None:
    schema = client.get("/api/schema/", headers={"accept": "application/json"}).json()
    assert schema["info"]["title"] == "Countinghouse"
    page = client.get("/api/docs/").content.decode()
    assert "//cdn" not in page
    assert "https://" not in page


def test_logs_are_json_lines_without_secrets() -> None:
    record = logging.makeLogRecord(
        {
            "name": "meters",
            "levelname": "WARNING",
            "msg": "refused %s",
            "args": ("Authorization: Bearer ch_0a1b2c3d_verysecret",),
            "customer": "acme",
            "password": "hunter2",
            "count": 3,
        }
    )
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == "refused Authorization: Bearer ***"
    assert (line["customer"], line["password"], line["count"]) == ("acme", "***", 3)
    text = TextFormatter("{message}", style="{").format(logging.makeLogRecord({"msg": "key ch_0a1b2c3d_verysecret"}))
    assert text == "key ch_0a1b2c3d_***"


def test_a_logged_failure_keeps_its_trace() -> None:
    try:
        raise ValueError("token=abcdef")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    line = json.loads(JsonFormatter().format(record))
    assert "ValueError: token=***" in line["exception"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Terminal()
    with progress.progress("Posting", 10, unit="events", stream=bar) as advance:
        advance(10)
    assert "100%" in bar.getvalue()
    of_a_command = Terminal()
    with progress.progress("Posting", 10, unit="events", stream=OutputWrapper(of_a_command)) as advance:
        advance(10)
    assert of_a_command.getvalue().count("\n") == 1
    lines = io.StringIO()
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress.progress("Posting", 1000, unit="events", stream=lines) as advance:
        advance(500)
    assert lines.getvalue().splitlines() == [
        "Posting: 500 of 1,000 events",
        "Posting: 500 of 1,000 events, done",
    ]


@pytest.mark.django_db(transaction=True)
def test_a_named_lock_is_held_until_the_transaction_ends() -> None:
    other = connection.copy()
    number = locks.lock_number("customer", 7)
    assert number == locks.lock_number("customer", "7")
    assert number != locks.lock_number("customer", 8)
    try:
        with other.cursor() as cursor:

            def free() -> bool:
                cursor.execute("SELECT pg_try_advisory_lock(%s), pg_advisory_unlock(%s)", [number, number])
                return bool(cursor.fetchone()[0])

            with transaction.atomic():
                locks.lock("customer", 7)
                assert not free()
            assert free()
            with transaction.atomic():
                locks.lock("customer", 7)
                assert not free()
            with locks.holding("customer", 7) as held:
                assert held
                assert not free()
            assert free()
            cursor.execute("SELECT pg_advisory_lock(%s)", [number])
            with locks.holding("customer", 7) as held:
                assert not held
    finally:
        other.close()


@pytest.mark.django_db(transaction=True)
def test_a_transaction_lock_outside_a_transaction_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="take it inside"):
        locks.lock("customer", 7)


def test_a_file_lock_says_that_it_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.file_lock(path) as first, locks.file_lock(path, wait=False) as second:
        assert (first, second) == (True, False)
    with locks.file_lock(path, wait=False) as again:
        assert again
