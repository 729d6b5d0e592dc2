"""`manage.py consume_kafka`: events from Kafka topics."""

import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_project.errors import RuleError
from meters.events import MAX_EVENTS
from meters.sources.kafka import Consumed, Topics, consume
from meters.sources.options import add_mapping_options, mapping_of, pair

REPORT_SECONDS = 10


class Command(BaseCommand):
    help = (
        "Take usage events from Kafka topics: CloudEvents (structured or binary), our own events, or JSON under a "
        "mapping. Offsets are committed after the database; messages that come again count once. Broken messages are "
        "kept as rejected events. Run as many as the topics have partitions."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--brokers", required=True, metavar="HOST:PORT,…")
        parser.add_argument("--topic", required=True, action="append", help="May be given several times.")
        parser.add_argument("--group", default="countinghouse", help="The consumer group. [countinghouse]")
        parser.add_argument("--batch", type=int, default=5_000, help="Messages in one commit, at most. [5000]")
        parser.add_argument("--once", action="store_true", help="Stop when all that is there has been taken.")
        parser.add_argument(
            "--config", action="append", default=[], type=pair, metavar="NAME=VALUE", help="A setting of librdkafka."
        )
        parser.add_argument(
            "--config-file",
            type=Path,
            help="Lines of NAME=VALUE: the place for passwords (sasl.password), which others see on a command line.",
        )
        add_mapping_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["batch"] <= MAX_EVENTS:
            raise CommandError(f"--batch lies between 1 and {MAX_EVENTS:,}.")
        self._spoken = time.monotonic()
        settings = {**_read_config(options["config_file"]), **dict(options["config"])}
        try:
            with (
                _until_asked_to_stop() as stop,
                Topics(options["brokers"], options["topic"], options["group"], settings) as topics,
            ):
                total = consume(
                    topics,
                    mapping_of(options),
                    batch=options["batch"],
                    stop=stop.is_set,
                    once=options["once"],
                    took=self._report,
                )
        except RuleError as error:
            raise CommandError(error.message) from None
        self.stdout.write(_sentence(total))

    def _report(self, total: Consumed) -> None:
        if time.monotonic() - self._spoken > REPORT_SECONDS:
            self._spoken = time.monotonic()
            self.stderr.write(_sentence(total))


@contextmanager
def _until_asked_to_stop() -> Iterator[threading.Event]:
    """A batch is finished and its offsets are committed before the program ends."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read_config(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
        return dict(pair(line) for line in lines if line and not line.startswith("#"))
    except (OSError, ValueError, TypeError) as error:
        raise CommandError(f"--config-file {path}: {error}") from None


def _sentence(total: Consumed) -> str:
    return (
        f"{total.messages:,} messages: {total.accepted:,} events are new, {total.duplicates:,} were there before, "
        f"{total.conflicts:,} in conflict, {total.rejected:,} rejected."
    )
