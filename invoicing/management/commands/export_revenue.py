"""`manage.py export_revenue`: revenue by line and day of usage or service, as CSV."""

import csv
from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand

from invoicing.accounting import next_month
from invoicing.exports.columns import csv_rows
from invoicing.management.commands.close_month import month_of
from invoicing.revenue_by_day import COLUMNS, revenue_by_day


class Command(BaseCommand):
    help = "Write revenue by line and day to standard output; it adds up to what the journal says of each month."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--month", type=month_of, help="Only what the books count in this month, such as 2026-01.")

    def handle(self, *args: Any, **options: Any) -> None:
        month = options["month"]
        first, end = (month, next_month(month)) if month else (date.min, date.max)
        writer = csv.writer(self.stdout, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(csv_rows(revenue_by_day(first, end)))
