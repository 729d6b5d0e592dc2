"""`manage.py simulate`: what scenarios would be billed."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from billing_project.errors import RuleError
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
        except RuleError as error:
            raise CommandError(error.message) from None
        except KeyboardInterrupt:
            raise CommandError("Stopped; nothing is left behind.", returncode=STOPPED) from None
        if options["json"]:
            self.stdout.write(json.dumps({"results": results}, ensure_ascii=False))
        failed = sum("error" in each for each in results)
        if failed:
            raise CommandError(f"{failed} of {len(results)} scenarios failed.")
