"""The jobs of the worker: each is a command, its runs are written down, a killed one is taken up again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command, load_command_class
from django.core.management import get_commands as known_commands
from django.db import connection
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django import Settings

from billing_project.jobs import JOBS, PATIENCE, check_schedule, jobs, run_job, standings
from billing_project.models import JobFailure, JobState
from billing_project.notices import USAGE_COUNTED, tell
from billing_project.tasks import ask
from tests.factories import user
from tests.processes import environment

ROOT = Path(__file__).resolve().parents[2]
PATIENT_SECONDS = 90


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_job_is_a_command_that_takes_its_arguments(job: object) -> None:
    each = next(one for one in JOBS if one is job)
    command = load_command_class(known_commands()[each.command], each.command)
    command.create_parser("manage.py", each.command).parse_args(list(each.arguments))
    assert check_schedule({each.name: each.cron}) == []


def test_a_schedule_that_cannot_be_is_named() -> None:
    faults = check_schedule({"close": "every day", "clsoe": "* * * * *", "stripe": ""})
    assert len(faults) == 2
    assert "clsoe is no job" in faults[0]
    assert faults[1] == "close: every day is no cron expression, such as */5 * * * *"


def test_the_settings_change_the_schedule(settings: Settings) -> None:
    settings.WORKER_SCHEDULE = {"close": "0 6 * * *", "stripe": ""}
    assert (jobs()["close"].cron, jobs()["stripe"].cron) == ("0 6 * * *", "")
    assert jobs()["close"].command == "close_periods"


@pytest.mark.django_db
class TestRuns:
    @pytest.mark.parametrize("name", [job.name for job in JOBS])
    def test_every_job_runs_on_an_empty_installation_twice(self, name: str) -> None:
        assert run_job(name), JobFailure.objects.get().trace
        assert run_job(name)
        state = JobState.objects.get(name=name)
        assert (state.runs, state.failed_in_a_row) == (2, 0)
        assert state.machine == socket.gethostname()

    def test_a_failure_is_kept_and_forgotten_by_success(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object, **options: object) -> None:
            raise CommandError("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr("invoicing.management.commands.close_periods.Command.handle", refuse)
            assert not run_job("close")
            assert not run_job("close")
        assert JobState.objects.get(name="close").failed_in_a_row == 2
        failure = JobFailure.objects.all()[0]
        assert (failure.job, failure.error) == ("close", "CommandError: the disk is full")
        assert "Traceback" in failure.trace
        assert run_job("close")
        assert JobState.objects.get(name="close").failed_in_a_row == 0
        assert JobFailure.objects.count() == 2

    def test_what_is_late_and_what_is_not(self) -> None:
        run_job("close")
        now = timezone.now()
        words = {each.job.name: each.word for each in standings(now)}
        assert (words["close"], words["stripe"]) == ("Running well", "Waiting")
        later = {each.job.name: each for each in standings(now + timedelta(hours=1))}
        assert later["close"].word == "Late"
        assert (later["close"].late_by or timedelta(0)) > timedelta(minutes=50) > PATIENCE

    def test_asked_for_twice_it_waits_once(self) -> None:
        assert ask("close")
        assert not ask("close")
        assert ProcrastinateJob.objects.filter(task_name="jobs.close", status="todo").count() == 1

    def test_names_on_the_command_line(self) -> None:
        call_command("work", "forget_answers", stdout=StringIO())
        assert JobState.objects.get().name == "forget_answers"
        with pytest.raises(CommandError, match="clsoe is no job"):
            call_command("work", "clsoe", stdout=StringIO())

    @pytest.mark.usefixtures("roles")
    def test_the_page(self, client: Client) -> None:
        client.force_login(user("Finance"))
        run_job("close")
        page = client.get("/admin/billing_project/jobstate/").content.decode()
        assert "Close billing periods" in page
        assert "0 periods closed" in page
        sent = client.post("/admin/billing_project/jobstate/close/run/", follow=True)
        assert "runs as soon as a worker is free" in sent.content.decode()
        assert ProcrastinateJob.objects.filter(task_name="jobs.close").exists()

    @pytest.mark.usefixtures("roles")
    def test_who_may_only_look(self, client: Client) -> None:
        client.force_login(user("Auditor"))
        assert b"Run now" not in client.get("/admin/billing_project/jobstate/").content
        assert client.post("/admin/billing_project/jobstate/close/run/").status_code == 403
        client.force_login(User.objects.create_user("guest", is_staff=True))
        assert client.get("/admin/billing_project/jobstate/").status_code == 403


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENT_SECONDS
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


@pytest.fixture
def programs() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **more: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                cwd=ROOT,
                env=environment(COUNTINGHOUSE_MODE="demo", **more),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for each in started:
        if each.poll() is None:
            each.kill()
        each.communicate()


# And thresholds, but not by the clock.
ONLY_CLOSE = json.dumps(
    {"roll_up": "", "recharges": "", "stripe": "", "imports": "", "close": "* * * * * */2", "thresholds": "0 0 29 2 *"}
)


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_a_killed_workers_job_is_taken_up_by_another(programs: Callable[..., "subprocess.Popen[str]"]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour') RETURNING id"
        )
        dead = cursor.fetchone()[0]
    assert ask("forget_answers")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s", [dead])
    worker = programs("work", WORKER_SCHEDULE=ONLY_CLOSE)
    try:
        until(JobState.objects.filter(name="forget_answers", succeeded_at__isnull=False).exists)
        until(JobState.objects.filter(name="close", runs__gte=2).exists)
        until(lambda: not ProcrastinateJob.objects.filter(task_name="jobs.forget_answers").exists())
        assert not JobState.objects.filter(name="thresholds").exists()
        tell(USAGE_COUNTED)
        until(JobState.objects.filter(name="thresholds", succeeded_at__isnull=False).exists)
        assert not JobState.objects.filter(name="recharges").exists()  # that one is switched off
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(PATIENT_SECONDS) == 0
    finally:
        clear()


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_run_serves_works_and_ends(programs: Callable[..., "subprocess.Popen[str]"]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = programs("run", "--no-tables", "--port", str(port), "--web-processes", "1", WORKER_SCHEDULE=ONLY_CLOSE)
    try:
        until(lambda: answers(port))
        until(JobState.objects.filter(name="close", succeeded_at__isnull=False).exists)
        children = children_of(running.pid)
        assert len(children) == 3
        os.kill(children["work"], signal.SIGKILL)
        until(lambda: children_of(running.pid).get("work") not in (None, children["work"]))
        os.kill(running.pid, signal.SIGINT)
        told = running.communicate(timeout=PATIENT_SECONDS)[0]
        assert running.returncode == 0
        assert "The worker ended by itself (status -9): it is started again." in told
        assert told.endswith("Stopped.\n")
        assert not any(alive(pid) for pid in children.values())
    finally:
        clear()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"127.0.0.1:{port} cannot be used .* choose another --port"):
            call_command("run", "--port", str(port))


def clear() -> None:
    """procrastinate's tables are not ours to flush."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers, procrastinate_periodic_defers CASCADE")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def children_of(parent: int) -> dict[str, int]:
    """The programs a process has started, by a word of their command line."""
    found: dict[str, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            words = (folder / "cmdline").read_text().split("\0")
        except OSError:
            continue
        for name in ("gunicorn", "roll_up", "work"):
            if name in words:
                found[name] = int(folder.name)
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
