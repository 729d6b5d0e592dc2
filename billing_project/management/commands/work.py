"""`manage.py work`: run the jobs of the schedule until it is stopped."""

import asyncio
import logging
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any, cast

from django.core.management.base import BaseCommand, CommandError
from procrastinate import App, exceptions
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector

from billing_project.jobs import UnknownJobError, jobs, run_job

log = logging.getLogger(__name__)
GRACE_SECONDS = 20
LISTEN_AGAIN_SECONDS = 5


class Command(BaseCommand):
    help = (
        "Run the jobs of the schedule: counting, thresholds, closing, Stripe, imports, webhooks, reminders. Any number "
        "may run, on any number of machines: a job runs once at a time, and one whose worker was killed is taken up by "
        "another. With names, run these jobs now, once, and end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="JOB", help="Run these now, once. --list names them.")
        parser.add_argument("--list", action="store_true", help="Show the jobs and when they run.")
        parser.add_argument("--at-once", type=int, default=4, metavar="N", help="Jobs at the same time [4].")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            for job in jobs().values():
                command = " ".join((job.command, *job.arguments))
                self.stdout.write(f"{job.name:16} {job.cron or 'never':16} manage.py {command}")
            return
        if options["names"]:
            self._run(options["names"])
            return
        if options["at_once"] < 1:
            raise CommandError("--at-once: give a number above 0.")
        asyncio.run(work(options["at_once"]))

    def _run(self, names: list[str]) -> None:
        try:
            failed = [name for name in names if not run_job(name)]
        except UnknownJobError as error:
            raise CommandError(str(error)) from error
        if failed:
            raise CommandError(f"Failed: {', '.join(failed)}. The admin shows why, under Jobs.")


async def work(at_once: int) -> None:
    """Until a signal comes; jobs that run then have 20 seconds to end."""
    connector = cast("DjangoConnector", app.connector).get_worker_connector()
    with app.replace_connector(connector) as running:
        async with running.open_async():
            ear = asyncio.create_task(_listen(running))
            await running.run_worker_async(
                concurrency=at_once, delete_jobs="always", shutdown_graceful_timeout=GRACE_SECONDS
            )
            ear.cancel()


async def _listen(running: App) -> None:
    """Ask for jobs upon the word they wait for. Without it they run at their times all the same."""
    channels = {each.when for each in jobs().values() if each.when and each.cron}

    async def heard(*, channel: str, payload: str) -> None:
        for job in jobs().values():
            if job.when == channel and job.cron:
                with suppress(exceptions.AlreadyEnqueued):
                    await running.tasks[f"jobs.{job.name}"].defer_async(timestamp=0)

    while channels:
        try:
            await running.connector.listen_notify(heard, channels)
        except exceptions.ConnectorException:
            log.warning("Nothing is heard of the database: it is tried again.", exc_info=True)
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)
