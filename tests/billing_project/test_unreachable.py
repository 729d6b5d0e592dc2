"""A database that is not there: one sentence with the remedy, exit status 1, never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import Error, OperationalError, ProgrammingError
from psycopg import errors

from billing_project.unreachable import why_unreachable
from tests.processes import database_url, environment

ROOT = Path(__file__).parents[2]
CLOSED = "postgres://someone@127.0.0.1:1/books"


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(DATABASE_URL=url),
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["apply", "simulate", "check_books"])
def test_commands_say_in_one_line_that_no_database_answers(tmp_path: Path, command: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("customers: []\n")
    done = run(CLOSED, command, *([] if command == "check_books" else [str(path)]))
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("CommandError: ")
    assert "Connection refused" in line
    assert "correct DATABASE_URL" in line


@pytest.mark.django_db
def test_simulate_says_in_json_that_the_database_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("[{name: one}, {name: two}]\n")
    done = run(f"{database_url()}_missing", "simulate", str(path), "--json")
    assert done.returncode == 1
    results = json.loads(done.stdout)["results"]
    assert [(each["name"], each["error"]["code"]) for each in results] == [
        ("one", "unreachable"),
        ("two", "unreachable"),
    ]
    assert "make it with createdb" in results[0]["error"]["message"]
    assert "Traceback" not in done.stderr


def caused(error: Error, cause: Exception) -> Error:
    error.__cause__ = cause
    return error


def test_a_database_without_tables_asks_for_them() -> None:
    error = caused(ProgrammingError("relation does not exist"), errors.UndefinedTable())
    assert why_unreachable(error) == "The database has no tables of this version yet: run manage.py migrate."


def test_other_errors_of_the_database_are_nobodys_absence() -> None:
    for cause in (errors.DeadlockDetected(), errors.QueryCanceled(), errors.DiskFull()):
        assert why_unreachable(caused(OperationalError("no"), cause)) is None
    assert why_unreachable(caused(OperationalError("gone"), errors.AdminShutdown())) is not None
