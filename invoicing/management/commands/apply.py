"""`manage.py apply`: what billing files say, in the database."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from django.utils import timezone

from billing_project.unreachable import why_unreachable
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.faults import Fault, FileError
from invoicing.billing_file.parsing import Entries, parse
from invoicing.billing_file.plan import plan_lines, summary
from invoicing.billing_file.reading import read_one


class Command(BaseCommand):
    help = (
        "Bring meters, products, rate cards, customers and contracts to what billing files (YAML or JSON) say. All of "
        "it or nothing; a second run changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="A billing file; several build one.")
        parser.add_argument("--dry-run", action="store_true", help="Show the plan and change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            entries = parse(_read(options["files"]))
            steps = apply_entries(entries, timezone.now(), dry_run=options["dry_run"])
        except FileError as error:
            faults = "\n".join(f"  {fault}" for fault in error.faults)
            raise CommandError(f"Nothing was applied:\n{faults}") from None
        except Error as error:
            reason = why_unreachable(error)
            if reason is None:
                raise
            raise CommandError(f"Nothing was applied: {reason}") from None
        for line in plan_lines(steps):
            self.stdout.write(line)
        self.stdout.write(f"Dry run, nothing changed. {summary(steps)}" if options["dry_run"] else summary(steps))
        left_out = _for_simulations(entries)
        if left_out:
            self.stdout.write(f"Left out, for simulations only: {', '.join(left_out)}.")


def _read(paths: list[Path]) -> list[tuple[str, object]]:
    files: list[tuple[str, object]] = []
    faults: list[Fault] = []
    for path in paths:
        label = str(path) if len(paths) > 1 else ""
        try:
            files.append((label, read_one(path)))
        except FileError as error:
            faults += [
                Fault(": ".join(filter(None, [label, each.path])), each.code, each.message) for each in error.faults
            ]
    if faults:
        raise FileError(faults)
    return files


def _for_simulations(entries: Entries) -> list[str]:
    return [name for name in ("name", "as_of", "events", "event_files") if getattr(entries, name)]
