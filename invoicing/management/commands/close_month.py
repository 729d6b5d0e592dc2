"""`manage.py close_month`: close a month of the books."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_project.errors import RuleError
from billing_project.progress import progress
from invoicing.accounting import next_month, unbilled_periods
from invoicing.journal import books_zone
from invoicing.month_closing import close_checked_month
from meters.periods import local_midnight


class Command(BaseCommand):
    help = (
        "Close a month of the books: usage that is on no issued invoice is accrued, and nothing is posted into the "
        "month any more. Closing it again changes nothing. While work of it is left, give a reason."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("month", type=month_of, help="Such as 2026-01.")
        parser.add_argument("--reason", default="", help="Why it is closed although work of it is left.")

    def handle(self, *args: Any, **options: Any) -> None:
        month = options["month"]
        due = len(unbilled_periods(local_midnight(next_month(month), books_zone())))
        try:
            with progress("Accruing", due, unit="periods", stream=self.stderr) as advance:
                close_checked_month(month, None, options["reason"], advance)
        except RuleError as refusal:
            raise CommandError(refusal.message) from refusal
        self.stdout.write(f"{month:%B %Y} is closed.")


def month_of(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m").date()  # noqa: DTZ007 - a day of the books has no zone
    except ValueError as error:
        raise ArgumentTypeError(f"{text} is not a month such as 2026-01") from error
