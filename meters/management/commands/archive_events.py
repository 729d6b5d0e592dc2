"""`manage.py archive_events`: raw events of past months to Parquet files."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from billing_project.errors import RuleError
from billing_project.progress import progress
from meters.archive import drop, events_in, export, month_named, months_before, verify
from meters.models import EventArchive
from meters.partitions import month_of, next_month


class Command(BaseCommand):
    help = (
        "Write the raw events of past months (UTC) to Parquet files, a file a month, with a record of what they hold. "
        "With --verify the files are read again and compared, with --drop those found equal leave the database: their "
        "usage stays, and manage.py restore_events brings them back. Without --drop nothing is removed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--before", metavar="DATE", help="Months that end by this day [METERS_RETENTION_MONTHS].")
        parser.add_argument("--month", help="This month only, such as 2026-01.")
        parser.add_argument("--to", metavar="PLACE", help="A folder, or s3://bucket/prefix. Not with --verify alone.")
        parser.add_argument("--verify", action="store_true", help="Read the files again, also of months dropped.")
        parser.add_argument("--drop", action="store_true", help="Take verified months out of the database.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            only = month_named(options["month"]) if options["month"] else None
            before = self._before(f"{next_month(only):%Y-%m-%d}" if only else options["before"])
            if options["to"]:
                for month in months_before(before):
                    if only in {None, month}:
                        self._export(month, options["to"])
            elif not (options["verify"] or options["drop"]):
                raise CommandError("Give --to, a folder or s3://bucket/prefix; or --verify, or --drop.")
            found = EventArchive.objects.filter(month__lt=before).order_by("month")
            for archive in found.filter(month=only) if only else found:
                self._check(archive, **options)
        except RuleError as refusal:
            raise CommandError(refusal.message) from None

    def _before(self, given: str | None) -> datetime:
        if given:
            try:
                return min(datetime.fromisoformat(given).replace(tzinfo=UTC), month_of(timezone.now()))
            except ValueError:
                raise CommandError(f'"{given}" is no date: give one like 2026-01-01.') from None
        if settings.METERS_RETENTION_MONTHS is None:
            raise CommandError(
                "Give --before, or set METERS_RETENTION_MONTHS. By default raw events are kept for ever."
            )
        now = timezone.now()
        number = now.year * 12 + now.month - 1 - settings.METERS_RETENTION_MONTHS
        return month_named(f"{number // 12:04}-{number % 12 + 1:02}")

    def _export(self, month: datetime, place: str) -> None:
        with progress(f"{month:%B %Y} to its file", events_in(month), unit="events", stream=self.stderr) as advance:
            archive = export(month, place, advance)
        self.stdout.write(f"{archive}: {archive.events:,} events in {archive.file}, {archive.size:,} bytes.")

    def _check(self, archive: EventArchive, **options: Any) -> None:
        if options["drop"] and not archive.dropped_at:
            with progress(f"{archive}, file and table", 2 * archive.events, unit="rows", stream=self.stderr) as advance:
                drop(archive, advance)
            self.stdout.write(f"{archive}: verified and dropped.")
        elif options["verify"]:
            with progress(f"{archive}, its file", archive.events, unit="events", stream=self.stderr) as advance:
                verify(archive, advance)
            self.stdout.write(f"{archive}: the file holds what was recorded.")
