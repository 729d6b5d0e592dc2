"""`manage.py close_periods`: bill every billing period that has ended."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from billing_project.progress import progress
from contracts.models import Contract
from invoicing.close import CloseSummary, close_periods, due_periods, write_due_periods


class Command(BaseCommand):
    help = (
        "Write an invoice for every billing period that has ended, and put drafts past their grace in review. "
        "Safe to repeat, to interrupt, and to run on several machines at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--as-of", type=instant, help="Treat this as now: 2026-02-01 or 2026-02-01T00:00:00Z.")
        parser.add_argument("--contract", help="Only this contract, by key.")
        parser.add_argument("--dry-run", action="store_true", help="Say what would be closed and change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        as_of = options["as_of"] or timezone.now()
        contract = options["contract"]
        if contract and not Contract.objects.filter(key=contract).exists():
            raise CommandError(f"--contract {contract}: there is no contract with this key.")
        if options["dry_run"]:
            self._dry_run(as_of, contract)
            return
        due = write_due_periods(as_of, contract)
        with progress("Closing", due, unit="periods", stream=self.stderr) as advance:
            summary = close_periods(as_of, contract, advance)
        self.stdout.write(_sentence(summary))
        if summary.not_searched:
            self.stderr.write(f"Late usage was not looked for: {summary.not_searched}")
        left = due_periods(as_of, contract).count()
        if left:
            self.stdout.write(f"{left} periods are being closed by another run.")

    def _dry_run(self, as_of: datetime, contract: str | None) -> None:
        with transaction.atomic():
            summary = close_periods(as_of, contract)
            transaction.set_rollback(True)
        self.stdout.write(f"Dry run, nothing changed. {_sentence(summary)}")


def _sentence(summary: CloseSummary) -> str:
    totals = ", ".join(f"{total:,.2f} {currency}" for currency, total in sorted(summary.totals.items()))
    return (
        f"{summary.closed} periods closed{f' for {totals}' if totals else ''}; "
        f"{summary.reviewed} invoices put in the review queue."
    )


def instant(text: str) -> datetime:
    """An instant as people write it; a bare date is midnight UTC."""
    day = parse_date(text) if len(text) == 10 else None
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else parse_datetime(text)
    if moment is None:
        raise ValueError(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
