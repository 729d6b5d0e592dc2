"""`manage.py roll_up`: count new events in the buckets."""

import signal
import threading
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from meters import partitions
from meters.first_times import forget_old_times
from meters.identities import forget_old_keys
from meters.rollup import roll_up

TIDY_EVERY = timedelta(hours=1)


class Command(BaseCommand):
    help = (
        "Count new usage events in hour and day buckets. Usage is exact without it, and fast with it. "
        "Any number may run: one works, the others wait. Safe to stop at any moment."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="Stop when nothing is left to count.")
        parser.add_argument("--every", type=seconds, default=1.0, metavar="S", help="Seconds between looks [1].")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        if not options["once"]:
            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, lambda *_: stop.set())
        tidied = datetime.min.replace(tzinfo=UTC)
        counted = 0
        while not stop.is_set():
            if timezone.now() - tidied > TIDY_EVERY:
                tidied = timezone.now()
                partitions.ensure_ahead(tidied)
                forget_old_keys()
                forget_old_times()
            result = roll_up()
            counted += result.events
            if result.more:
                continue
            if options["once"]:
                break
            stop.wait(options["every"])
        if options["once"]:
            self.stdout.write(f"{counted:,} event{'' if counted == 1 else 's'} counted.")


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise ValueError(text)
    return value
