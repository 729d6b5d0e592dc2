"""`manage.py demo`, run as people run it: twice, in the wrong order, killed in the middle."""

import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from psycopg import sql

from billing_project.demo import processes, trace
from tests.processes import database_url, environment

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120
# The roller waits for every transaction on the server, those of other tests too: it may end after the demo does.
ROLLED = {"meters_eventkey", "meters_hourbucket", "meters_daybucket", "meters_groupvalues", "meters_touched"}


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Demo:
    """A database and a data folder of its own, on the server the tests use."""

    def __init__(self, server: str, name: str, folder: Path) -> None:
        self.server, self.name, self.folder = server, name, folder
        self.url = f"{server.rpartition('/')[0]}/{name}"
        self.port = free_port()
        self.output = ""
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *options: str, **more: str) -> subprocess.Popen[str]:
        ours = {"COUNTINGHOUSE_DATA": str(self.folder), "COUNTINGHOUSE_MODE": "demo", "DATABASE_URL": self.url}
        given = environment(**{**ours, **more})
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo", "--port", str(self.port), *options],
            cwd=ROOT,
            env=given,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.running.append(process)
        return process

    def run(self, *options: str, status: int = 0, **more: str) -> tuple[str, str]:
        process = self.start(*options, **more)
        out, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == status, errors
        assert "Traceback" not in errors
        return out, errors

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def scalar(self, query: str) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
            return row[0] if row else None

    def rows(self) -> dict[str, int]:
        """How many rows every table has; of the history too, so an update shows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            tables = connection.execute(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
            ).fetchall()
            counts = {}
            for table in {name for (name,) in tables} - ROLLED:
                query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
                counts[table] = connection.execute(query).fetchall()[0][0]
            return counts

    def events(self) -> int:
        try:
            return int(self.scalar("SELECT count(*) FROM meters_event"))
        except psycopg.errors.UndefinedTable:
            return 0

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def until_serving(self, process: subprocess.Popen[str]) -> str:
        """What it prints until it serves."""
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Serving"):
                return "".join(lines)
        raise AssertionError(process.communicate())

    def end(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=SECONDS)


def wait(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def demo(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    server = database_url()
    name = f"{server.rpartition('/')[2]}_demo"
    with psycopg.connect(f"{server.rpartition('/')[0]}/postgres", autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        connection.execute(drop)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        demo = Demo(server, name, tmp_path_factory.mktemp("demo"))
        try:
            yield demo
        finally:
            demo.end()
            connection.execute(drop)


@pytest.fixture
def billed(demo: Demo) -> Demo:
    """The demo after a whole run."""
    if not demo.output:
        demo.output, _ = demo.run("--no-serve")
    return demo


# Together in one process: they share a database, which takes longer to make than any of them.
pytestmark = pytest.mark.xdist_group("demo")


def test_killed_started_over_and_interrupted_it_goes_on_and_bills_the_trace_to_the_cent(demo: Demo) -> None:
    process = demo.start("--no-serve", "--fresh")
    wait(lambda: 0 < demo.events() < trace.SIZE, process)
    process.kill()
    process.communicate()
    wait(lambda: not demo.answers())
    assert demo.events() < trace.SIZE

    demo.execute("UPDATE auth_user SET password = '!'")
    process = demo.start("--no-serve", "--fresh")
    wait(demo.answers, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, errors
    assert "Stopped. The next run goes on from here." in errors
    assert "Traceback" not in errors
    assert not demo.answers()

    out, errors = demo.run("--no-serve")
    demo.output = out
    assert "28,185 of 28,185 events, done" in errors
    assert re.search(r"^20 invoices, November 2023 +80 +99\.60 USD$", out, re.MULTILINE), out
    assert len(re.findall(r" cust-\d\d +In review +4 +\d+\.\d\d USD$", out, re.MULTILINE)) == 20
    for name in ("sales", "finance", "auditor", "admin"):
        assert re.search(rf"^{name} +[\w ]+ [0-9a-f]{{5}}-[0-9a-f]{{5}}-[0-9a-f]{{5}}$", out, re.MULTILINE), name
    assert f"http://127.0.0.1:{demo.port}" in out
    assert demo.events() == trace.SIZE


def test_a_second_run_changes_nothing_and_says_the_same(billed: Demo) -> None:
    before = billed.rows()
    with closing(socket.create_server(("127.0.0.1", billed.port))):  # it needs no web server any more
        again, _ = billed.run("--no-serve")
    assert billed.rows() == before
    still = [re.sub(r'"curl-\d+", "time": "[^"]+"|Ready after .*', "", out) for out in (billed.output, again)]
    assert still[0] == still[1]


def test_it_serves_takes_the_event_of_its_example_and_ends_on_ctrl_c(billed: Demo) -> None:
    process = billed.start()
    shown = billed.until_serving(process)
    example = re.search(r"^curl .+?'\n(?=\.\.\.)", shown, re.MULTILINE | re.DOTALL)
    assert example, shown
    header = re.search(r"Bearer (ch_\w+)", example[0])
    body = re.search(r"-d '(.+)'", example[0], re.DOTALL)
    assert header
    assert body
    before = billed.events()
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", billed.port, timeout=10)
        headers = {"Authorization": f"Bearer {header[1]}", "Content-Type": "application/json"}
        connection.request("POST", "/api/v1/events", body[1], headers)
        assert connection.getresponse().status == 204
    assert billed.events() == before + 1
    counted = "SELECT sum(events) FROM meters_daybucket WHERE meter_id = 0"
    wait(lambda: billed.scalar(counted) == before + 1, process)

    _, errors = billed.run(status=1)
    assert "Another demo runs here already" in errors
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    assert out.endswith("Stopped.\n")
    assert "Traceback" not in errors
    assert not billed.answers()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_however_it_ends_it_takes_its_children_along(billed: Demo, signum: signal.Signals) -> None:
    process = billed.start()
    billed.until_serving(process)
    assert billed.answers()
    process.send_signal(signum)
    process.communicate(timeout=SECONDS)
    wait(lambda: not billed.answers())


def test_a_taken_port_is_said() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError) as refused:
            processes.claim(port)
    assert str(refused.value) == (
        f"Port {port} is taken by another program: choose another one, such as --port {port + 1}."
    )
    processes.claim(port).close()


def test_a_port_that_is_not_ours_to_use_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "HOST", "192.0.2.1")
    with pytest.raises(CommandError, match="cannot be used"):
        processes.claim(8000)


def test_a_changed_password_and_a_revoked_key_are_respected(billed: Demo) -> None:
    billed.execute("UPDATE auth_user SET password = '!' WHERE username = 'sales'")
    billed.execute("UPDATE billing_project_apikey SET revoked_at = now()")
    after, _ = billed.run("--no-serve")
    assert re.search(r"^sales +Sales ops +\(changed since\)$", after, re.MULTILINE)
    old, new = (re.findall(r"Bearer (ch_\w+)", out) for out in (billed.output, after))
    assert old != new


def test_what_is_not_the_demos_is_neither_used_nor_dropped(billed: Demo) -> None:
    billed.execute("UPDATE catalog_ratecard SET key = 'list-2026'")
    before = billed.rows()
    for options in ((), ("--fresh",)):
        _, errors = billed.run("--no-serve", *options, status=1)
        assert f'The database "{billed.name}" holds users, meters, products, rate cards, customers' in errors
        assert "Give the demo a database of its own" in errors
    assert billed.rows() == before
    billed.execute("UPDATE catalog_ratecard SET key = 'demo-llm-2023'")


def test_a_dead_database_is_said(demo: Demo) -> None:
    url = f"{demo.server.rpartition('/')[0]}/no_such_database"
    _, errors = demo.run("--no-serve", status=1, DATABASE_URL=url)
    last = errors.strip().splitlines()[-1]
    assert last.startswith("CommandError: The database cannot be used: ")
    assert last.endswith('database "no_such_database" does not exist. Start it, or correct DATABASE_URL.')


def test_production_mode_is_refused(settings: Any) -> None:
    settings.DEMO = False
    with pytest.raises(CommandError, match="set COUNTINGHOUSE_MODE=demo"):
        call_command("demo")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", ""])
def test_a_port_is_a_port(port: str) -> None:
    with pytest.raises(CommandError, match="is not a port: give a number from 1 to 65535"):
        call_command("demo", "--port", port)


def test_the_trace_is_what_its_page_says() -> None:
    events = trace.events()
    assert len({event["id"] for event in events}) == len(events) == trace.SIZE
    assert events != sorted(events, key=lambda event: str(event["time"]))
    assert sum(size for size, _ in trace.bodies()) == trace.SIZE
    assert f"{trace.SIZE:,} requests" in trace.FILE.with_name("README.md").read_text()
    assert trace.FILE.stat().st_size < 500_000
