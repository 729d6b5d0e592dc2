"""`manage.py simulate`: what scenarios would be billed."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from django.utils import timezone

from billing_project.errors import RuleError
from billing_project.unreachable import UNREACHABLE, why_unreachable
from invoicing.billing_file.scenarios import read_scenarios, simulate
from invoicing.billing_file.text import result_lines

STOPPED = 130


class Command(BaseCommand):
    help = (
        "Run scenarios of a billing file (YAML or JSON) through the real path, from events to invoices, each alone in "
        "a database that is thrown away. The database is left as it was."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="One scenario, or a list of them.")
        parser.add_argument("--json", action="store_true", help='Print {"results": [...]} and nothing else.')
        parser.add_argument(
            "--processes", type=int, metavar="N", help="How many work on the scenarios [as many as pay, one a core]."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        scenarios = read_scenarios(path)
        results: list[dict[str, Any]] = []
        try:
            for result in simulate(scenarios, path.parent, timezone.now(), options["processes"]):
                results.append(result)
                if not options["json"]:
                    self.stdout.write("\n".join([*([""] if len(results) > 1 else []), *result_lines(result)]))
        except (RuleError, Error) as error:
            code, message = _refusal(error)
            if options["json"]:
                reason = {"code": code, "message": message, "path": ""}
                missing = [{"name": each.name, "error": reason} for each in scenarios[len(results) :]]
                self.stdout.write(json.dumps({"results": results + missing}, ensure_ascii=False))
            raise CommandError(message) from None
        except KeyboardInterrupt:
            raise CommandError("Stopped; nothing is left behind.", returncode=STOPPED) from None
        if options["json"]:
            self.stdout.write(json.dumps({"results": results}, ensure_ascii=False))
        failed = sum("error" in each for each in results)
        if failed:
            raise CommandError(f"{failed} of {len(results)} scenarios failed.")


def _refusal(error: RuleError | Error) -> tuple[str, str]:
    """Code and sentence of what keeps every scenario from running."""
    if isinstance(error, RuleError):
        return error.problems[0].code, error.message
    reason = why_unreachable(error)
    if reason is None:
        raise error
    return UNREACHABLE, reason
