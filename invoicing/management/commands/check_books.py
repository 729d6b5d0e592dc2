"""`manage.py check_books`: prove every invariant of the books."""

from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from invoicing.books import INVARIANTS

SHOWN = 20


class Command(BaseCommand):
    help = "Check every invariant of the books on the stored rows; names the rows and fails if one is broken."

    def handle(self, *args: Any, **options: Any) -> None:
        broken = 0
        for name, invariant in INVARIANTS.items():
            found = list(islice(invariant(), SHOWN))
            broken += bool(found)
            self.stdout.write(f"{'BROKEN' if found else 'holds '}  {name}")
            for sentence in found:
                self.stdout.write(f"        {sentence}")
        if broken:
            raise CommandError(f"{broken} of {len(INVARIANTS)} invariants are broken.")
        self.stdout.write(f"All {len(INVARIANTS)} invariants hold.")
