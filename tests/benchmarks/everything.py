"""Everything at once for a minute: events as fast as they are taken, 5 meters counted, live usage read all the time.

Nothing may be lost: every event that was acknowledged is stored and counted once when the roller has caught up. The
roller keeps up when its backlog does not grow. The limit is bare COPY over two connections with nothing else going on.
"""

import sys
import threading
import time
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING

import psycopg
from django.utils import timezone

from billing_project.models import ApiKey
from contracts.models import Contract
from invoicing.drafts import live_statement
from meters import partitions
from meters.events import Event
from meters.ingest import ingest_events
from meters.partitions import next_month
from meters.rollup import roll_up
from tests.benchmarks import processes
from tests.benchmarks.database import server_settings
from tests.benchmarks.history import fill_dictionaries
from tests.benchmarks.made_contracts import make_contracts
from tests.benchmarks.made_meters import make_meters
from tests.benchmarks.processes import cpu_seconds, measure, rate
from tests.benchmarks.report import Result, Row, median, percentile, table
from tests.benchmarks.stream import RUN, customer_key, event_type, month_before
from tests.benchmarks.worker import Plan, Seen

if TYPE_CHECKING:
    from tests.benchmarks.__main__ import Options

SECONDS = 60
TARGET = 0.3
BATCHES = [1000]
READERS_CUSTOMERS = 200
BETWEEN_READS = 0.1
BACKLOG = "SELECT count(*) FROM meters_event WHERE xid >= coalesce((SELECT xid FROM meters_rollupcursor), 0)"
STORED = "SELECT count(*) FROM meters_event"
COUNTED = "SELECT coalesce(sum(events), 0)::bigint FROM meters_daybucket WHERE meter_id {}"


class Watch(threading.Thread):
    """Reads live usage and looks at the backlog while the load runs."""

    def __init__(self, url: str, contracts: list[Contract], at: datetime) -> None:
        super().__init__(daemon=True)
        self._url, self._contracts, self._at = url, contracts, at
        self.reads: list[float] = []
        self.backlog: list[int] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for number in count():
                if self.stopping.wait(BETWEEN_READS):
                    return
                started = time.monotonic()
                live_statement(self._contracts[number % len(self._contracts)], self._at)
                self.reads.append(time.monotonic() - started)
                if number % 10 == 0:
                    self.backlog.append(_number(connection, BACKLOG))


def run(options: "Options") -> tuple[Result, str]:
    month = month_before(timezone.now())
    partitions.ensure([month])
    seconds = SECONDS * options.scale
    batch = (options.batch or BATCHES)[0]
    with psycopg.connect(options.url, autocommit=True) as connection:
        fill_dictionaries(connection)
        meters = make_meters()
        while roll_up().more:
            pass
        contracts = make_contracts(meters, range(READERS_CUSTOMERS), month)
        limits = [_limit(options, month, number) for number in range(2)]
        connection.execute("TRUNCATE meters_event")
        connection.execute("CHECKPOINT")
        watch = Watch(options.url, contracts, next_month(month) - (next_month(month) - month) / 100)
        rollers = (options.processes or [1])[0]
        seen, cpu = _run(options, watch, month, batch, seconds, rollers)
        behind = _number(connection, BACKLOG)
        started = time.monotonic()
        while roll_up().more or _number(connection, BACKLOG):
            pass
        caught_up = time.monotonic() - started
        stored = _number(connection, STORED)
        counted = _number(connection, COUNTED.format("= 0")), _number(connection, COUNTED.format("> 0"))
        settings = server_settings(connection)
    if not seen.events + 1 == stored == counted[0] == counted[1]:  # one to see the roller at work
        raise RuntimeError(f"{seen.events + 1:,} acknowledged, {stored:,} stored, {counted} counted.")
    speed, limit = rate([seen]), median(limits)
    result = Result(
        name="everything",
        scale=options.scale,
        product={"rate": speed, "live_p99_ms": percentile(watch.reads, 0.99) * 1e3, "backlog": watch.backlog},
        limit={"copy": limit},
        ratio=speed / limit,
        target=TARGET,
        unit="events/s",
        details={"events": stored, "behind": behind, "server": settings},
    )
    head = ["seconds", "batch", "rollers", "in /s", "COPY alone /s", "ratio", "HTTP p50 ms", "p99 ms", "live p50 ms"]
    head += ["live p99 ms", "backlog median", "highest", "at the end", "s to catch up", "us an event, all"]
    row: Row = [
        seconds,
        batch,
        rollers,
        speed,
        limit,
        speed / limit,
        percentile(seen.latencies, 0.5) * 1e3,
        percentile(seen.latencies, 0.99) * 1e3,
        percentile(watch.reads, 0.5) * 1e3,
        percentile(watch.reads, 0.99) * 1e3,
        int(median(watch.backlog)),
        max(watch.backlog),
        behind,
        caught_up,
        cpu / stored * 1e6,
    ]
    lost = f"{stored:,} events acknowledged, stored and counted; none lost, none twice."
    return result, f"{settings}\n\n{table(head, [row])}\n\n{lost}"


def _run(
    options: "Options", watch: Watch, month: datetime, batch: int, seconds: float, rollers: int
) -> tuple[Seen, float]:
    secret = ApiKey.issue("Benchmark", ["ingest"])[1]
    postmaster = processes.postmaster(options.url)
    with processes.web_server() as (port, web), processes.rollers(rollers, "--every", "1") as counting:
        plan = Plan(
            kind="post",
            batch=batch,
            first=RUN * 100,
            batches=RUN,
            seconds=seconds,
            starting_at=month.replace(day=28).isoformat(),
            port=port,
            path="/api/v1/events",
            secret=secret,
            connections=16,
            prepared=False,
        )
        wait_for_roller(options.url, month)
        pids = [web, *([postmaster] if postmaster else []), *(each.pid for each in counting)]
        before = sum(cpu_seconds(pid) for pid in pids)
        watch.start()
        (seen,) = measure([plan])
        watch.stopping.set()
        watch.join()
        used = sum(cpu_seconds(pid) for pid in pids) - before
    if set(seen.answers) != {"204"}:
        print(f"answers: {seen.answers} {seen.refused}", file=sys.stderr)
    return seen, used


def wait_for_roller(url: str, month: datetime) -> None:
    """One event, until it is counted: processes take seconds to start."""
    ingest_events([Event("first", customer_key(0), event_type(0), month, b'{"input_tokens":1}')])
    with psycopg.connect(url, autocommit=True) as connection:
        while _number(connection, BACKLOG):
            time.sleep(0.1)


def _limit(options: "Options", month: datetime, number: int) -> float:
    seconds = options.seconds
    plans = [
        Plan(
            kind="copy",
            batch=1000,
            first=(1 + 2 * number + side) * RUN,
            batches=int(300 * seconds),
            seconds=seconds,
            starting_at=month.replace(day=28).isoformat(),
        )
        for side in range(2)
    ]
    return rate(measure(plans))


def _number(connection: psycopg.Connection, statement: str) -> int:
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
