"""A database that is not there: one sentence with the remedy, exit status 1, never a traceback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import Error, OperationalError, ProgrammingError, connections
from psycopg import errors

from billing_project.unreachable import why_unreachable
from tests.processes import environment

ROOT = Path(__file__).parents[2]
CLOSED = "postgres://someone@127.0.0.1:1/books"


@pytest.fixture
def no_server(db: None) -> Iterator[None]:
    """Nobody listens where the database should be."""
    real = connections["default"]
    away = real.copy()
    away.settings_dict.update(HOST="127.0.0.1", PORT="1")
    connections["default"] = away
    yield
    connections["default"] = real


def assert_one_line_with_the_remedy(said: str) -> None:
    (line,) = said.strip().splitlines()
    assert "Connection refused" in line
    assert "correct DATABASE_URL" in line


def test_any_command_says_in_one_line_that_no_database_answers() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check_books"],
        cwd=ROOT,
        env=environment(DATABASE_URL=CLOSED),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("CommandError: ")
    assert_one_line_with_the_remedy(done.stderr)


@pytest.mark.usefixtures("no_server")
@pytest.mark.parametrize("command", ["apply", "simulate"])
@pytest.mark.books_unchecked
def test_those_that_read_a_file_say_so_too(tmp_path: Path, command: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("customers: []\n")
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(command, str(path), stdout=out)
    assert caught.value.returncode == 1
    assert out.getvalue() == ""
    assert_one_line_with_the_remedy(str(caught.value))


@pytest.mark.usefixtures("no_server")
@pytest.mark.books_unchecked
def test_simulate_says_in_json_that_no_server_answers(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("[{name: one}, {name: two}]\n")
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("simulate", str(path), json=True, stdout=out)
    results = json.loads(out.getvalue())["results"]
    assert [(each["name"], each["error"]["code"]) for each in results] == [
        ("one", "unreachable"),
        ("two", "unreachable"),
    ]
    assert_one_line_with_the_remedy(results[0]["error"]["message"])


def test_a_database_that_was_not_made_asks_for_it() -> None:
    name = connections["default"].settings_dict["NAME"]
    said = why_unreachable(OperationalError(f'connection failed: FATAL:  database "{name}" does not exist'))
    assert said
    assert f"make it with createdb {name}" in said


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
