"""`manage.py check_books`: prove every invariant of the books."""

from argparse import ArgumentParser
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from invoicing.books import INVARIANTS, WORKED_OUT_AGAIN

SHOWN = 20


class Command(BaseCommand):
    help = "Check every invariant of the books on the stored rows; names the rows and fails if one is broken."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--quick", action="store_true", help="Without counting all events and working all bills out again."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        broken = 0
        chosen = {
            name: each for name, each in INVARIANTS.items() if not (options["quick"] and each in WORKED_OUT_AGAIN)
        }
        for name, invariant in chosen.items():
            found = list(islice(invariant(), SHOWN))
            broken += bool(found)
            self.stdout.write(f"{'BROKEN' if found else 'holds '}  {name}")
            for sentence in found:
                self.stdout.write(f"        {sentence}")
        if broken:
            raise CommandError(f"{broken} of {len(chosen)} invariants are broken.")
        self.stdout.write(f"All {len(chosen)} invariants hold.")
