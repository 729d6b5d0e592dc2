"""How many events a second come in over HTTP, beside bare COPY over two connections into the same table.

Product and limit take turns; at batch 1 the limit is single-row inserts, each with its own commit, and the product runs
once more without group commit ("alone"). At batch 1,000 the naive endpoint runs too. With several stages of `--rows`
the same table grows between them.
"""

import sys
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import psycopg
from django.utils import timezone

from billing_project.models import ApiKey
from meters import partitions
from tests.benchmarks import processes
from tests.benchmarks.database import server_settings
from tests.benchmarks.history import fill_dictionaries, fill_events
from tests.benchmarks.processes import cpu_seconds, measure, rate
from tests.benchmarks.report import Result, Row, median, percentile, table
from tests.benchmarks.stream import RUN, month_before
from tests.benchmarks.worker import Plan, Seen

if TYPE_CHECKING:
    from tests.benchmarks.__main__ import Options

ROWS = [0]
BATCHES = [1000, 100, 1]
TARGETS = {1000: 0.5, 100: 0.4, 1: 0.4}
NAIVE_TARGET = 5
# How much to prepare: more than any machine this is likely to run on can take.
MOST = {"copy": 300_000, "insert": 6_000, "post": 300_000, "naive": 60_000}
CONNECTIONS = {1: 64}
UNLIMITED = "0"  # of the backlog: nobody counts here, so nobody waits for it
Server = tuple[int, int]  # its port, its process id


@dataclass(slots=True)
class Side:
    """One way in: its rates, and the CPU time of the web server and of the database, in microseconds an event."""

    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    web: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return median(self.rates)


class Ingest:
    """Runs one way in after the other, in turns."""

    def __init__(self, options: "Options", server: Server, alone: Server) -> None:
        self.options = options
        self.secret = ApiKey.issue("Benchmark", ["ingest"])[1]
        self.month = month_before(timezone.now())
        self._server, self._alone = server, alone
        self._postmaster = processes.postmaster(options.url)
        self._numbers = count(1)
        self._seconds = options.seconds * options.scale

    def round(self, batch: int, sides: dict[str, Side]) -> None:
        for name, side in sides.items():
            port, web = self._alone if name == "alone" else self._server
            self._measure(side, self._plans(name, batch, port), web)

    def _plans(self, name: str, batch: int, port: int) -> list[Plan]:
        kind = "insert" if name == "limit" and batch == 1 else "copy" if name == "limit" else "post"
        many = 2 if name == "limit" else 1
        most = MOST["naive" if name == "naive" else kind]
        size = max(1, int(most * self._seconds / batch)) if batch > 1 else int(min(most, 30_000) * self._seconds)
        return [
            Plan(
                kind=kind,
                batch=batch,
                first=next(self._numbers) * RUN,
                batches=size,
                seconds=self._seconds,
                starting_at=self.month.replace(day=28).isoformat(),
                port=port,
                path="/naive/events" if name == "naive" else "/api/v1/events",
                secret=self.secret,
                connections=CONNECTIONS.get(batch, 16),
            )
            for _ in range(many)
        ]

    def _measure(self, side: Side, plans: list[Plan], web: int) -> None:
        before = self._cpu(web)
        seen = measure(plans)
        after = self._cpu(web)
        _must_be_clean(seen)
        events = sum(each.events for each in seen)
        side.rates.append(rate(seen))
        side.latencies += [each for one in seen for each in one.latencies]
        side.web.append((after[0] - before[0]) / events * 1e6)
        side.database.append((after[1] - before[1]) / events * 1e6)

    def _cpu(self, web: int) -> tuple[float, float]:
        return cpu_seconds(web), cpu_seconds(self._postmaster) if self._postmaster else 0.0


def _must_be_clean(seen: list[Seen]) -> None:
    for each in seen:
        if set(each.answers) - {"200", "202", "204"}:
            raise RuntimeError(f"The server answered {each.answers}: {each.refused}")


def run(options: "Options") -> tuple[Result, str]:
    stages = options.rows or ROWS
    batches = options.batch or BATCHES
    measured: dict[tuple[int, int], dict[str, Side]] = {}
    with (
        psycopg.connect(options.url, autocommit=True) as connection,
        processes.web_server(METERS_MAX_BACKLOG=UNLIMITED) as server,
        processes.web_server(METERS_MAX_BACKLOG=UNLIMITED, METERS_GROUP_COMMIT_MS="-1") as alone,
    ):
        fill_dictionaries(connection)
        ingest = Ingest(options, server, alone)
        partitions.ensure([ingest.month])
        there = 0
        for rows in stages:
            if rows > there:
                print(f"filling up to {rows:,} events ...", file=sys.stderr)
                fill_events(options.url, there + 1, rows, ingest.month, max(stages))
                there = rows
            for batch in batches:
                names = ["limit", "product", *(["naive"] if batch == max(batches) > 1 else [])]
                names += ["alone"] if batch == 1 else []
                sides = measured[rows, batch] = {name: Side() for name in names}
                for _ in range(options.rounds):
                    ingest.round(batch, sides)
        return _result(options, measured, server_settings(connection))


def _result(
    options: "Options", measured: dict[tuple[int, int], dict[str, Side]], settings: dict[str, str]
) -> tuple[Result, str]:
    rows, batch = next(iter(measured))
    first = measured[rows, batch]
    figures = {
        name: {f"{batch}@{rows}": round(sides[name].rate) for (rows, batch), sides in measured.items() if name in sides}
        for name in ("product", "limit", "naive", "alone")
    }
    result = Result(
        name="ingest",
        scale=options.scale,
        product={"rate": first["product"].rate, **figures["product"]},
        limit={"rate": first["limit"].rate, **figures["limit"]},
        ratio=first["product"].rate / first["limit"].rate,
        target=TARGETS.get(batch, 0.4),
        unit="events/s",
        details={"naive": figures["naive"], "alone": figures["alone"], "server": settings},
    )
    head = ["rows", "batch", "limit /s", "product /s", "ratio", "target", "p50 ms", "p99 ms", "us web", "us database"]
    head += ["us database, limit", "naive /s", "product / naive", "alone /s", "product / alone"]
    return result, f"{settings}\n\n" + table(head, [_row(*key, sides) for key, sides in measured.items()])


def _row(rows: int, batch: int, sides: dict[str, Side]) -> Row:
    product, limit = sides["product"], sides["limit"]
    naive, alone = (sides[name].rate if name in sides else 0.0 for name in ("naive", "alone"))
    return [
        rows,
        batch,
        limit.rate,
        product.rate,
        product.rate / limit.rate,
        TARGETS.get(batch, ""),
        percentile(product.latencies, 0.5) * 1e3,
        percentile(product.latencies, 0.99) * 1e3,
        median(product.web),
        median(product.database),
        median(limit.database),
        naive or "",
        product.rate / naive if naive else "",
        alone or "",
        product.rate / alone if alone else "",
    ]
