"""The jobs an installation runs by itself: each is a management command, when it is due, and what became of it.

Every command may be repeated, killed and run on several machines at once, so cron alone could run them.
"""

import socket
import traceback
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import StringIO

from croniter import croniter
from django.conf import settings
from django.core.management import call_command
from django.db.models import F
from django.utils import timezone

from billing_project.models import JobFailure, JobState
from billing_project.notices import USAGE_COUNTED

KEPT = timedelta(days=30)
LONGEST_TEXT = 4000
# How far past its time a job may be before it counts as late.
PATIENCE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Job:
    """A command with its arguments. `cron` has five fields, and a sixth for seconds; empty: never. `when` names the
    word upon which it runs between its times.
    """

    name: str
    title: str
    command: str
    arguments: tuple[str, ...] = ()
    cron: str = ""
    when: str = ""


JOBS = (
    Job("roll_up", "Count new events", "roll_up", ("--once",), "* * * * * */5"),
    Job("thresholds", "Spend thresholds", "bill_thresholds", (), "* * * * * */5", USAGE_COUNTED),
    Job("recharges", "Recharge balances", "recharge_balances", (), "* * * * * */5", USAGE_COUNTED),
    Job("all_thresholds", "Spend thresholds, everyone", "bill_thresholds", ("--all",), "17 * * * *"),
    Job("all_recharges", "Recharge balances, everyone", "recharge_balances", ("--all",), "27 * * * *"),
    Job("alerts", "Alerts", "check_alerts", (), "* * * * * */10"),
    Job("all_alerts", "Alerts, everyone", "check_alerts", ("--all",), "37 * * * *"),
    Job("webhooks", "Deliver webhooks", "deliver_webhooks", (), "* * * * * */5"),
    Job("emails", "Send e-mails", "send_emails", (), "* * * * * */30"),
    Job("reminders", "Write reminders", "send_reminders", (), "47 * * * *"),
    Job("close", "Close billing periods", "close_periods", (), "*/5 * * * *"),
    Job("stripe", "Exchange with Stripe", "push_to_stripe", (), "* * * * *"),
    Job("imports", "Read event sources", "import_events", ("--due",), "* * * * *"),
    Job("forget_answers", "Forget answered writes", "forget_answers", (), "41 3 * * *"),
)


class UnknownJobError(Exception):
    """There is no job of this name."""


def jobs() -> dict[str, Job]:
    """All jobs by name, with the schedule of the settings."""
    given: dict[str, str] = settings.WORKER_SCHEDULE
    return {each.name: replace(each, cron=given.get(each.name, each.cron)) for each in JOBS}


def check_schedule(given: dict[str, str]) -> list[str]:
    """What is wrong with a schedule of the settings."""
    known = {each.name for each in JOBS}
    faults = [f"{name} is no job; the jobs are {', '.join(sorted(known))}" for name in sorted(given.keys() - known)]
    return faults + [
        f"{name}: {text} is no cron expression, such as */5 * * * *"
        for name, text in given.items()
        if text and not croniter.is_valid(text)
    ]


def run_job(name: str) -> bool:
    """Run a job's command and write down what became of it; whether it succeeded."""
    job = jobs().get(name)
    if job is None:
        raise UnknownJobError(f"{name} is no job: {', '.join(jobs())}.")
    machine, started = socket.gethostname()[:200], timezone.now()
    JobState.objects.update_or_create(name=name, defaults={"started_at": started, "machine": machine})
    told = StringIO()
    try:
        call_command(job.command, *job.arguments, stdout=told, stderr=StringIO())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown, and the job is tried at its next time
        _failed(name, error, machine)
        return False
    now = timezone.now()
    JobState.objects.filter(name=name).update(
        ended_at=now,
        succeeded_at=now,
        seconds=(now - started).total_seconds(),
        runs=F("runs") + 1,
        failed_in_a_row=0,
        message=told.getvalue().strip()[-LONGEST_TEXT:],
    )
    return True


def _failed(name: str, error: Exception, machine: str) -> None:
    now = timezone.now()
    told = f"{type(error).__name__}: {error}"[:LONGEST_TEXT]
    JobState.objects.filter(name=name).update(
        ended_at=now, failed_in_a_row=F("failed_in_a_row") + 1, runs=F("runs") + 1, message=told
    )
    trace = "".join(traceback.format_exception(error))[-LONGEST_TEXT:]
    JobFailure.objects.create(job=name, at=now, machine=machine, error=told, trace=trace)
    JobFailure.objects.filter(at__lt=now - KEPT).delete()


@dataclass(frozen=True, slots=True)
class Standing:
    """A job, its last run, and by how much it is past its time (None: it is not, or never runs)."""

    job: Job
    state: JobState | None
    late_by: timedelta | None
    now: datetime

    @property
    def due(self) -> datetime | None:
        """When it should have run."""
        return self.now - self.late_by if self.late_by else None

    @property
    def word(self) -> str:
        if not self.job.cron:
            return "Off"
        if self.state is None:
            return "Waiting"
        if self.state.failed_in_a_row:
            return "Failing"
        return "Late" if self.late_by else "Running well"


def standings(now: datetime) -> list[Standing]:
    """Every job as it stands."""
    states = {row.name: row for row in JobState.objects.all()}
    return [
        Standing(job, states.get(job.name), _late_by(job, states.get(job.name), now), now) for job in jobs().values()
    ]


def _late_by(job: Job, state: JobState | None, now: datetime) -> timedelta | None:
    if not job.cron:
        return None
    if state is None:
        return None
    due = croniter(job.cron, state.started_at).get_next(datetime)
    return now - due if now - due > PATIENCE else None
