"""The processes of a benchmark: the web server, the roller, the workers; and what CPU time they take."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import psycopg

from tests.benchmarks.poster import Poster
from tests.benchmarks.worker import Plan, Seen

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 30
Process = subprocess.Popen[str]


@contextmanager
def web_server(workers: int = 2, threads: int = 4, **environment: str) -> Iterator[tuple[int, int]]:
    """Gunicorn as the demo runs it, with settings of its own; yields its port and its process id."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        port = listener.getsockname()[1]
        options = ["--bind", f"fd://{listener.fileno()}", "--worker-class", "gthread", "--log-level", "warning"]
        options += ["--workers", str(workers), "--threads", str(threads), "--no-control-socket"]
        server = _start(
            "-m", "gunicorn", "billing_project.wsgi", *options, keep=[listener.fileno()], environment=environment
        )
    with _ended(server):
        _wait_for(server, port)
        yield port, server.pid


@contextmanager
def rollers(many: int, *options: str) -> Iterator[list[Process]]:
    with ExitStack() as running:
        started = [_start("manage.py", "roll_up", *options) for _ in range(many)]
        for each in started:
            running.enter_context(_ended(each))
        yield started


@contextmanager
def program(*arguments: str) -> Iterator[Process]:
    """A Python program that runs until the block ends."""
    started = _start(*arguments)
    with _ended(started):
        yield started


def measure(plans: Sequence[Plan]) -> list[Seen]:
    """Run the plans at the same time, each in a process of its own, once all are prepared."""
    workers = [_start("-m", "tests.benchmarks.worker", json.dumps(asdict(plan)), piped=True) for plan in plans]
    try:
        for worker in workers:
            _line(worker)
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [Seen(**json.loads(_line(worker))) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def rate(seen: Sequence[Seen]) -> float:
    """Events a second, of workers that ran at the same time."""
    return sum(each.events / (each.ended - each.started) for each in seen if each.events)


def cpu_seconds(pid: int) -> float:
    """What a process and its children have used, living and gone."""
    ticks = os.sysconf("SC_CLK_TCK")
    own = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        own[int(path.parent.name)] = (int(fields[1]), [int(each) for each in fields[11:15]])
    mine = sum(own[pid][1]) if pid in own else 0
    return (mine + sum(sum(used) for parent, used in own.values() if parent == pid)) / ticks


def postmaster(url: str) -> int | None:
    """The database server's process id, where it runs on this machine."""
    with psycopg.connect(url) as connection:
        backend = connection.info.backend_pid
        try:
            fields = Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return None
        return int(fields[1])


def _start(
    *arguments: str, keep: Sequence[int] = (), piped: bool = False, environment: Mapping[str, str] | None = None
) -> Process:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else None,
        pass_fds=keep,
        env={**os.environ, **(environment or {})},
        cwd=ROOT,
        text=True,
    )


@contextmanager
def _ended(process: Process) -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _line(process: Process) -> str:
    assert process.stdout
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError("A worker ended; its message stands above.")
    return line


def _wait_for(server: Process, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            poster = Poster(port, [b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], connections=1)
            poster.run(5)
        except OSError:
            time.sleep(0.1)
            continue
        if poster.answers[200]:
            return
    raise RuntimeError("The web server did not start; its messages stand above.")
