"""`manage.py roll_up`: count new events in the buckets."""

import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing_project.progress import progress
from meters import builds, partitions
from meters.first_times import forget_old_times
from meters.health import Pulse
from meters.identities import forget_old_keys
from meters.rollup import roll_up

TIDY_EVERY = timedelta(hours=1)
EVERY = "Seconds between looks while nothing comes [1]; a quarter of them while events do."


class Command(BaseCommand):
    help = (
        "Count new usage events in hour and day buckets. Usage is exact without it, and fast with it. "
        "Any number may run: one works, the others wait. Safe to stop at any moment."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="Stop when nothing is left to count.")
        parser.add_argument("--every", type=seconds, default=1.0, metavar="S", help=EVERY)

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        if not options["once"]:
            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, lambda *_: stop.set())
        pulse = Pulse()
        tidied = datetime.min.replace(tzinfo=UTC)
        counted, bar = 0, BuildBar(self.stderr)
        while not stop.is_set():
            if timezone.now() - tidied > TIDY_EVERY:
                tidied = timezone.now()
                partitions.ensure_ahead(tidied)
                forget_old_keys()
                forget_old_times()
            result = roll_up()
            counted += result.events
            pulse.beat(result.events)
            partitions.analyze_new(result.events)
            bar.show(builds.progress())
            if result.more:
                continue
            if options["once"]:
                break
            # Whoever reads usage looks at all events not counted yet: a short tail is worth more than a full pass.
            stop.wait(options["every"] / 4 if result.events else options["every"])
        if options["once"]:
            self.stdout.write(f"{counted:,} event{'' if counted == 1 else 's'} counted.")


class BuildBar:
    """How much of history is counted for new meters, as long as there are any."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._open = ExitStack()
        self._advance: Callable[[int], None] | None = None
        self._shown = self._total = 0

    def show(self, reached: tuple[int, int] | None) -> None:
        if reached is None:
            self._close()
            return
        done, total = reached
        if self._advance is None or total != self._total:
            self._close()
            bar = progress("Counting history", total, unit="events", stream=self._stream)
            self._advance, self._total = self._open.enter_context(bar), total
        self._advance(max(done - self._shown, 0))
        self._shown = max(done, self._shown)

    def _close(self) -> None:
        if self._advance is not None:
            self._advance(self._total - self._shown)
        self._open.close()
        self._advance, self._shown, self._total = None, 0, 0


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise ValueError(text)
    return value
