"""What the commands share that act on usage as it comes in."""

import signal
import threading
from abc import ABC, abstractmethod
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from billing_project.notices import USAGE_COUNTED, hearing
from invoicing.reacting import Verb, look_at_all, react


class ReactionCommand(BaseCommand, ABC):
    """Once, or whenever usage was counted until it is stopped; for touched customers, or for everyone."""

    reader: str
    only: Q

    @abstractmethod
    def verb(self) -> Verb:
        """What is done for the contracts of the customers that were touched."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="Look at every contract, not only at changed usage.")
        parser.add_argument(
            "--every",
            type=float,
            metavar="S",
            help="Look again whenever usage was counted, and every S seconds, until it is stopped [once].",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        every = options["every"]
        if options["all"]:
            self.stdout.write(str(look_at_all(self.verb(), self.only)))
            return
        if every is None:
            self.stdout.write(str(react(self.reader, self.verb(), self.only)))
            return
        if not 0 < every <= 3600:
            raise CommandError("--every: give seconds, above 0 and at most 3600.")
        stop = threading.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        with hearing(USAGE_COUNTED) as wait:
            while not stop.is_set():
                react(self.reader, self.verb(), self.only)
                wait(every, stop)
