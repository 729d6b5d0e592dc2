"""`manage.py export`: invoices, lines, usage, ledger, journal and revenue as files for other tables."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_project.errors import RuleError
from billing_project.progress import progress
from invoicing.exports.datasets import DATASETS
from invoicing.exports.files import FORMATS
from invoicing.exports.running import export, steps_to_do


class Command(BaseCommand):
    help = (
        "Write what is new since the last time to CSV or Parquet files, with a manifest that names them. Killed "
        "anywhere, the next call does the same files again. Issued invoices and every change of them are rows, lines "
        "of voided invoices come again with their signs turned, days of usage whenever events of them came since."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("datasets", nargs="*", metavar="dataset", help=f"{', '.join(DATASETS)} [all].")
        parser.add_argument("--to", required=True, metavar="PLACE", help="A folder, or s3://bucket/prefix.")
        parser.add_argument("--format", choices=FORMATS, default="csv")
        parser.add_argument("--start-over", action="store_true", help="All rows again, under new numbers.")

    def handle(self, *args: Any, **options: Any) -> None:
        place, format_name, start_over = options["to"], options["format"], options["start_over"]
        try:
            for name in options["datasets"] or DATASETS:
                if name not in DATASETS:
                    raise CommandError(f"There is no {name}: choose {', '.join(DATASETS)}.")
                steps = steps_to_do(name, place, format_name, start_over=start_over)
                title = "Usage, about" if name == "usage" else name.capitalize()
                with progress(title, steps, unit="rows", stream=self.stderr) as advance:
                    run = export(name, place, format_name, advance, start_over=start_over)
                told = (
                    f"{run.rows:,} rows in {len(run.files)} file{'s'[: len(run.files) > 1]}" if run else "nothing new"
                )
                self.stdout.write(f"{name}: {told}.")
                for each in run.left_out if run else ():
                    self.stdout.write(
                        f"  Left out: {each['meter']} in {each['month']}. The meter was made after that month's events "
                        f"were archived: run manage.py restore_events {each['month']}, then export with --start-over."
                    )
        except RuleError as refusal:
            raise CommandError(refusal.message) from None
