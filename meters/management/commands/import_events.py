"""`manage.py import_events`: events from files, folders and S3."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing_project.errors import RuleError
from billing_project.progress import progress
from meters.events import MAX_EVENTS
from meters.source_models import EventSource, FileFormat, ImportRun
from meters.sources.imports import Reading
from meters.sources.options import add_mapping_options, mapping_of
from meters.sources.preview import Preview, first_rows, first_rows_of
from meters.sources.runs import Show, run_due, run_import, run_source

STOPPED = 130
EXAMPLES = """
examples:
  A file whose columns have our names (id, time, customer, type), and every other column becomes a property:
    manage.py import_events usage.csv
  Look first; nothing is stored. The columns are called otherwise, times count milliseconds:
    manage.py import_events logs/ --type llm.completion --id request_id --time ts --time-format ms \\
        --customer tenant --skip debug --dry-run
  Published traces often have no id and no customer:
    manage.py import_events AzureLLMInferenceTrace_code.csv --type llm --time TIMESTAMP --id-from-row \\
        --for-customer acme --property service=code
  A trace that counts its seconds from 0:
    manage.py import_events BurstGPT_1.csv --type llm --time Timestamp --time-format s \\
        --time-origin 2024-01-01T00:00:00Z --id-from-row --for-customer acme
  Everything below a prefix, with the credentials of an AWS profile; repeat it for what is new:
    manage.py import_events s3://bucket/usage/2026/ --profile billing

what becomes of a row:
  A meter reads its event type and its properties, so --type and the names of the columns must be those of the meter.
  Cells that look like numbers are kept to the digit; empty cells are left out. A row that cannot be an event is kept
  with its reason (admin: Rejected events), corrected and replayed there; the others are taken. The same id again is
  counted once; the same id with other values is a conflict, listed and not counted.
"""


class Command(BaseCommand):
    help = (
        "Read usage events from CSV, JSON Lines and Parquet files, plain or gzipped: a file, a folder, or "
        "s3://bucket/prefix. Safe to stop, to kill and to repeat: a file that was read is left out unless it changed, "
        "one that was stopped goes on where it was, and no event counts twice. Broken rows are kept as rejected events."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="*", metavar="PATH", help="A file, a folder, or s3://bucket/prefix.")
        parser.add_argument("--source", metavar="KEY", help="Read an event source of the admin now.")
        parser.add_argument("--due", action="store_true", help="Read the event sources whose time has come; for cron.")
        parser.add_argument("--format", choices=FileFormat.values, default="auto", help="[auto: by the file's name]")
        parser.add_argument("--profile", default="", help="The AWS profile with credentials, region and endpoint.")
        parser.add_argument("--again", action="store_true", help="Also read files that were read before.")
        parser.add_argument("--dry-run", action="store_true", help="Show the first rows as events and store nothing.")
        parser.add_argument(
            "--batch",
            type=int,
            default=MAX_EVENTS,
            help=f"Events in one commit, {MAX_EVENTS:,} at most and by default.",
        )
        parser.add_argument("--by", default="command line", help="Who starts it, as the history shows.")
        add_mapping_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if sum(map(bool, (options["paths"], options["source"], options["due"]))) != 1:
            raise CommandError("Give paths, or --source KEY, or --due.")
        if not 1 <= options["batch"] <= MAX_EVENTS:
            raise CommandError(f"--batch lies between 1 and {MAX_EVENTS:,}.")
        try:
            if options["dry_run"]:
                self._preview(options)
            else:
                self._import(options)
        except RuleError as error:
            raise CommandError(error.message) from None
        except KeyboardInterrupt:
            raise CommandError("Stopped. The same command goes on from here.", returncode=STOPPED) from None

    def _import(self, options: dict[str, Any]) -> None:
        show: Show = partial(progress, unit="bytes", stream=self.stderr)
        failed = 0
        for run in self._runs(options, show):
            self.stdout.write(_sentence(run))
            if run.message:
                self.stderr.write(run.message)
            failed += run.state == ImportRun.State.FAILED
        if failed:
            raise CommandError("Not everything could be read. Mend what is named above and repeat.")

    def _runs(self, options: dict[str, Any], show: Show) -> Any:
        if options["due"]:
            yield from run_due(show, now=timezone.now())
        elif options["source"]:
            yield run_source(_source(options["source"]), show, by=options["by"])
        else:
            for path in options["paths"]:
                yield run_import(path, _reading(options), show, by=options["by"], profile=options["profile"])

    def _preview(self, options: dict[str, Any]) -> None:
        if options["due"]:
            raise CommandError("--dry-run goes with paths or --source.")
        if options["source"]:
            self._show(first_rows_of(_source(options["source"])))
        for path in options["paths"]:
            self._show(first_rows(path, _reading(options), profile=options["profile"]))

    def _show(self, preview: Preview) -> None:
        for message in preview.broken:
            self.stderr.write(message)
        self.stdout.write(f"{preview.files:,} files, {preview.size:,} bytes. The first rows of {preview.path}:")
        for event in preview.events:
            shown = [event.id, event.time.isoformat(), event.customer, event.type, event.properties.decode()]
            self.stdout.write("  ".join([*shown, event.source]).rstrip())
        for rejection in preview.rejected:
            self.stdout.write(f"rejected: {rejection.message}")


def _source(key: str) -> EventSource:
    source = EventSource.objects.filter(key=key).first()
    if source is None:
        known = ", ".join(EventSource.objects.values_list("key", flat=True)[:20]) or "none yet"
        raise CommandError(f"--source {key}: there is no event source with this key. There are: {known}.")
    return source


def _reading(options: dict[str, Any]) -> Reading:
    return Reading(mapping_of(options), options["format"], "import_events", options["again"], options["batch"])


def _sentence(run: ImportRun) -> str:
    return (
        f"{run.place}: {run.accepted:,} events are new, {run.duplicates:,} were there before, {run.conflicts:,} in "
        f"conflict, {run.rejected:,} rejected; {run.files:,} files read, {run.skipped:,} known, {run.failed:,} failed."
    )
