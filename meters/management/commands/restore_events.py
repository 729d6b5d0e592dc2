"""`manage.py restore_events`: archived months back into the database."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_project.errors import RuleError
from billing_project.progress import progress
from meters.archive import month_named, restore
from meters.models import EventArchive


class Command(BaseCommand):
    help = (
        "Bring archived months of raw events back from their files. They are not counted again; meters made while they "
        "were away count them with the next pass of roll_up. Repeated it changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("month", nargs="+", help="Such as 2026-01.")

    def handle(self, *args: Any, **options: Any) -> None:
        for text in options["month"]:
            try:
                archive = EventArchive.objects.filter(month=month_named(text)).first()
                if archive is None:
                    raise CommandError(f"{text} is not archived.")
                done = "restored" if self._restore(archive) else "there already"
            except RuleError as refusal:
                raise CommandError(refusal.message) from None
            self.stdout.write(f"{archive}: {archive.events:,} events {done}.")

    def _restore(self, archive: EventArchive) -> bool:
        if archive.dropped_at is None:
            return False
        with progress(f"{archive}", archive.events, unit="events", stream=self.stderr) as advance:
            return restore(archive, advance)
