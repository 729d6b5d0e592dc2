"""`manage.py demo`: an installation with real usage, from nothing to invoices in review."""

import time
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, OperationalError, connection
from django.utils import timezone

from billing_project.demo import contents, processes, report, trace
from billing_project.demo.processes import Process
from billing_project.embedded import data_folder
from billing_project.locks import file_lock
from billing_project.progress import progress
from billing_project.server_programs import make_folder
from billing_project.tables import make_tables
from invoicing.close import close_periods
from meters.models import Event
from meters.rollup import roll_up

ROLL_SECONDS = 5


class Command(BaseCommand):
    help = (
        "Make the tables, load a catalog, twenty customers and their contracts, send 28,185 real usage events to the "
        "ingestion API, close the month, show the invoices and serve until Ctrl-C. A second run changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--no-serve", action="store_true", help="End after printing.")
        parser.add_argument("--fresh", action="store_true", help="Drop the demo's tables and start over.")
        parser.add_argument("--port", type=port_number, default=8000, help="Where the web server listens (8000).")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("The demo serves plain http with passwords it prints: set COUNTINGHOUSE_MODE=demo.")
        with file_lock(make_folder(data_folder()) / "demo.lock", wait=False) as alone:
            if not alone:
                raise CommandError("Another demo runs here already: use that one, or end it first with Ctrl-C.")
            try:
                self._run(serve=not options["no_serve"], fresh=options["fresh"], port=options["port"])
            except KeyboardInterrupt as error:
                raise CommandError("Stopped. The next run goes on from here.", returncode=130) from error
            except OperationalError as error:
                raise CommandError(_database_sentence(error)) from error

    def _run(self, *, serve: bool, fresh: bool, port: int) -> None:
        started = time.monotonic()
        with ExitStack() as running:
            listener = processes.claim(port) if serve else None
            self._prepare(fresh)
            secret = contents.ingestion_key()
            if listener is None and not _is_posted():
                listener = processes.claim(port)
            server = running.enter_context(processes.web_server(listener)) if listener else None
            self._bill(port, secret)
            self._report(f"http://{processes.HOST}:{port}", secret)
            self.stdout.write(f"\nReady after {time.monotonic() - started:.0f} s.")
            self.stdout.flush()
            if serve and server:
                self._serve(server, port)

    def _serve(self, server: Process, port: int) -> None:
        try:
            with processes.roller(ROLL_SECONDS) as roller:
                self.stdout.write(f"Serving on http://{processes.HOST}:{port} until Ctrl-C.")
                self.stdout.flush()
                while server.poll() is None and roller.poll() is None:
                    time.sleep(0.5)
                name = "roller" if server.poll() is None else "web server"
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")
            return
        raise CommandError(f"The {name} ended by itself; its messages stand above.")

    def _prepare(self, fresh: bool) -> None:
        """Tables, catalog, customers and contracts; never in a database with other data."""
        if foreign := contents.foreign_rows():
            raise CommandError(
                f'The database "{connection.settings_dict["NAME"]}" holds {", ".join(foreign)} that are not the '
                "demo's. Give the demo a database of its own: another DATABASE_URL, or another COUNTINGHOUSE_DATA."
            )
        if fresh:
            self._say("Dropping all tables")
            _erase()
        self._say("Making all tables")
        make_tables()
        if not contents.is_loaded():
            self._say("Loading the catalog, customers and contracts")
            contents.load(timezone.now())

    def _bill(self, port: int, secret: str) -> None:
        if not _is_posted():
            with progress("Posting", trace.SIZE, unit="events", stream=self.stderr) as advance:
                processes.post_trace(port, secret, advance)
        while roll_up().more:
            pass
        close_periods(contents.MONTH[1] + timedelta(days=1))

    def _report(self, url: str, secret: str) -> None:
        for part in (report.invoices(), report.logins(), report.addresses(url, secret, timezone.now())):
            self.stdout.write("\n" + "\n".join(part))

    def _say(self, text: str) -> None:
        self.stderr.write(f"{text} ...", str)


def port_number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ArgumentTypeError(f"{text} is not a port: give a number from 1 to 65535.")
    return int(text)


def _is_posted() -> bool:
    return Event.objects.filter(event_type__name=trace.EVENT_TYPE, time__lt=contents.MONTH[1]).count() >= trace.SIZE


def _erase() -> None:
    try:
        contents.erase()
    except DatabaseError as error:
        raise CommandError(f"The tables could not be dropped: {str(error).strip()}") from error


def _database_sentence(error: OperationalError) -> str:
    why = str(error).strip().splitlines()[0].removeprefix("connection failed: ")
    return f"The database cannot be used: {why}. Start it, or correct DATABASE_URL."
