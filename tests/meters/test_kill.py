"""kill -9, again and again, under load: web server, roller and database. Every acknowledged event is there, once."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
SENDERS = 4
BATCH = 25
KILLS = ["database", "web", "roller", "database"]
BETWEEN = 12  # batches acknowledged
PATIENCE = 60

# Starts the server, or finds it, and holds it until its standard input ends.
HOLD = """
import sys
from billing_project import embedded
embedded.ensure_started()
print(embedded.database_url(), flush=True)
sys.stdin.read()
"""
PREPARE = """
import django
django.setup()
from billing_project.models import ApiKey
from billing_project.tables import make_tables
make_tables()
print(ApiKey.issue("sender", ["ingest"])[1])
"""


class House:
    """An installation of its own: a data folder, and the processes that work in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        unset = {"DATABASE_URL", "COUNTINGHOUSE_POSTGRES_OPTIONS", "PGOPTIONS"}  # commits are durable here
        self.env = {name: text for name, text in os.environ.items() if name not in unset}
        self.env |= {"COUNTINGHOUSE_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "billing_project.settings"}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.holders: list[subprocess.Popen[str]] = []
        self.url = self.start_database()
        self.secret = self.start("-c", PREPARE).communicate(timeout=PATIENCE * 2)[0].strip()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[self.listener.fileno()],
            start_new_session=True,
        )

    def start_database(self) -> str:
        self.holders.append(self.start("-c", HOLD))
        output = self.holders[-1].stdout
        assert output
        url = output.readline().strip()
        assert url, "the database did not start"
        return url

    def start_web(self) -> None:
        options = ["--bind", f"fd://{self.listener.fileno()}", "--worker-class", "gthread", "--no-control-socket"]
        options += ["--workers", "2", "--threads", "4", "--log-level", "critical"]
        self.running["web"] = self.start("-m", "gunicorn", "billing_project.wsgi", *options)

    def start_roller(self) -> None:
        self.running["roller"] = self.start("manage.py", "roll_up", "--every", "0.1")

    def kill(self, victim: str) -> None:
        """Kill it, with all its children, and start it again."""
        if victim == "database":
            path = self.folder / "postgres" / "cluster" / "postmaster.pid"
            os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
            self.start_database()
            return
        process = self.running[victim]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.start_web() if victim == "web" else self.start_roller()

    def end(self) -> None:
        for process in self.running.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for holder in self.holders:
            holder.communicate("")
        self.listener.close()


class Sender(threading.Thread):
    """Sends batch after batch, each again until it is acknowledged, as clients do."""

    def __init__(self, number: int, house: House) -> None:
        super().__init__(daemon=True)
        self.number, self.house = number, house
        self.acknowledged: list[int] = []
        self.answers: Counter[int | str] = Counter()
        self.stopping = threading.Event()

    def run(self) -> None:
        first = self.number * 10_000_000
        while not self.stopping.is_set():
            numbers = list(range(first, first + BATCH))
            while not self._is_acknowledged(numbers):
                time.sleep(0.02)
            self.acknowledged += numbers
            first += BATCH

    def _is_acknowledged(self, numbers: list[int]) -> bool:
        body = json.dumps([{**EVENT, "id": f"e{number}", "data": {"n": number}} for number in numbers])
        headers = {"Authorization": f"Bearer {self.house.secret}", "Content-Type": "application/cloudevents-batch+json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.house.port, timeout=10)
        try:
            connection.request("POST", "/api/v1/events", body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.answers[type(error).__name__] += 1
            return False
        finally:
            connection.close()
        self.answers[answer.status] += 1
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status == 204


EVENT = {"source": "test", "type": "llm", "subject": "acme", "time": "2026-01-05T10:00:00Z"}


def wait_for_batches(senders: list[Sender]) -> None:
    """Until some more were acknowledged: so that every kill hits a house at work."""
    before = sum(len(sender.acknowledged) for sender in senders)
    deadline = time.monotonic() + PATIENCE
    while sum(len(sender.acknowledged) for sender in senders) < before + BETWEEN * BATCH:
        assert time.monotonic() < deadline, [sender.answers for sender in senders]
        time.sleep(0.05)


@pytest.fixture
def house() -> Iterator[House]:
    # Not tmp_path: pytest's folder is private, and a server that root starts runs as somebody else.
    folder = Path(tempfile.mkdtemp(prefix="countinghouse-kill-"))
    folder.chmod(0o755)
    house = House(folder)
    yield house
    house.end()
    shutil.rmtree(folder, ignore_errors=True)


def test_every_acknowledged_event_is_there_once(house: House) -> None:
    house.start_web()
    house.start_roller()
    senders = [Sender(number, house) for number in range(1, SENDERS + 1)]
    for sender in senders:
        sender.start()
    for victim in KILLS:
        wait_for_batches(senders)
        house.kill(victim)
    wait_for_batches(senders)
    for sender in senders:
        sender.stopping.set()
    for sender in senders:
        sender.join(PATIENCE)
        assert not sender.is_alive(), sender.answers
    answers = sum((sender.answers for sender in senders), Counter())
    assert answers[204] > BETWEEN * len(KILLS)
    assert set(answers) - {204, 503} <= {"ConnectionResetError", "RemoteDisconnected", "TimeoutError"}, answers

    rolled = house.start("manage.py", "roll_up", "--once")
    rolled.communicate(timeout=PATIENCE)
    assert rolled.returncode == 0
    with psycopg.connect(house.url) as connection:
        stored = Counter(int(n) for (n,) in connection.execute("SELECT properties ->> 'n' FROM meters_event"))
        counted = connection.execute("SELECT sum(events) FROM meters_daybucket WHERE meter_id = 0").fetchone()
    acknowledged = {number for sender in senders for number in sender.acknowledged}
    assert acknowledged <= set(stored)
    assert set(stored.values()) == {1}
    assert counted == (len(stored),)
