"""What a customer owes right now: usage read, priced, drawn down and serialised, one customer after the other.

Customers are asked for as often as they send events. First nothing else happens, then 20,000 events a second come in
over HTTP and the roller counts them. The limit is one bare SQL statement that sums the same day buckets and
tail.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from django.db import connections
from django.utils import timezone

from billing_project.models import ApiKey
from contracts.billing_periods import write_periods
from invoicing.api.live import spend_rows
from meters import partitions
from meters.models import Meter
from meters.partitions import next_month
from tests.benchmarks import processes
from tests.benchmarks.database import server_settings
from tests.benchmarks.everything import wait_for_roller
from tests.benchmarks.history import count_history, fill_dictionaries, fill_events, forget_events
from tests.benchmarks.made_contracts import make_contracts
from tests.benchmarks.made_meters import make_meters
from tests.benchmarks.processes import measure
from tests.benchmarks.report import Result, Row, percentile, table
from tests.benchmarks.stream import CUSTOMERS, RUN, SKEW, customer_key, month_before
from tests.benchmarks.worker import Plan, Seen

if TYPE_CHECKING:
    from tests.benchmarks.__main__ import Options

ROWS = 1_000_000
READS = 400
TARGET, TARGET_UNDER_LOAD = 10.0, 25.0
LOAD = 20_000  # events a second
BATCH = 1000
BARE = """
SELECT meter_id, group_id, sum(events), sum(total) FROM (
    SELECT meter_id, group_id, events, total FROM meters_daybucket
    WHERE meter_id = ANY(%(meters)s) AND subject_id = %(subject)s AND starting_at >= %(start)s AND starting_at < %(end)s
    UNION ALL
    SELECT event_type_id, 0, 1, (properties ->> 'input_tokens')::numeric FROM meters_event
    WHERE xid >= (SELECT xid FROM meters_rollupcursor) AND subject_id = %(subject)s
) AS found GROUP BY 1, 2
"""


def run(options: "Options") -> tuple[Result, str]:
    month = month_before(timezone.now())
    partitions.ensure([month])
    drawn = random.Random(1).choices(  # noqa: S311
        range(CUSTOMERS), [1 / (rank + 1) ** SKEW for rank in range(CUSTOMERS)], k=int(READS * options.scale)
    )
    shown: list[Row] = []
    stages: list[dict[str, float]] = []
    with psycopg.connect(options.url, autocommit=True) as connection:
        fill_dictionaries(connection)
        meters = make_meters()
        make_contracts(meters, sorted(set(drawn)), month)
        write_periods(month)  # whoever asks first writes them, once a period
        for rows in options.rows or [ROWS]:
            print(f"filling up to {rows:,} events ...", file=sys.stderr)
            forget_events(connection)
            if rows:
                fill_events(options.url, 1, rows, month, rows)
            count_history(connection, meters)
            connection.execute("VACUUM ANALYZE")
            reader = _Reader(connection, meters, drawn, month, may_be_empty=rows < ROWS)
            idle, cpu = reader.read(), reader.cpu
            reader.cpu = []
            loaded = _under_load(options, reader, month)
            shown += [
                [rows, name, *_figures(product), target, *_figures(used), *_figures(bare)]
                for name, (product, bare), used, target in (
                    ("nothing", idle, cpu, TARGET),
                    (f"{LOAD:,} events/s", loaded, reader.cpu, TARGET_UNDER_LOAD),
                )
            ]
            stages.append(_stage(rows, idle, cpu, loaded))
        settings = server_settings(connection)
    last = stages[-1]
    result = Result(
        name="live_usage",
        scale=options.scale,
        product={name: last[name] for name in ("p50", "p99", "p99_under_load", "cpu_p50", "cpu_p99")},
        limit={name: last[f"bare_{name}"] for name in ("p50", "p99", "p99_under_load")},
        ratio=last["p99"] / last["bare_p99"],
        target=TARGET,
        unit="ms; the target is for product.p99",
        details={"stages": stages, "server": settings},
    )
    head = ["rows", "meanwhile", "p50 ms", "p99 ms", "target p99", "CPU ms p50", "p99", "bare SQL p50", "p99"]
    return result, f"{settings}\n\n" + table(head, shown)


def _stage(
    rows: int, idle: tuple[list[float], list[float]], cpu: list[float], loaded: tuple[list[float], list[float]]
) -> dict[str, float]:
    found: dict[str, float] = {"rows": rows, "cpu_p50": _figures(cpu)[0], "cpu_p99": _figures(cpu)[1]}
    for prefix, place in (("", 0), ("bare_", 1)):
        found[f"{prefix}p50"], found[f"{prefix}p99"] = _figures(idle[place])
        found[f"{prefix}p99_under_load"] = _figures(loaded[place])[1]
    return found


class _Reader:
    def __init__(
        self,
        connection: psycopg.Connection,
        meters: list[Meter],
        numbers: list[int],
        month: datetime,
        *,
        may_be_empty: bool,
    ) -> None:
        self._connection, self._meters = connection, [meter.pk for meter in meters]
        self._asked = numbers
        self._may_be_empty = may_be_empty
        self._month = month
        self.cpu: list[float] = []
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            self._backend = Path(f"/proc/{cursor.fetchone()[0]}/schedstat")
        self._at = next_month(month).replace(day=1) - (next_month(month) - month) / 100

    def read(self) -> tuple[list[float], list[float]]:
        """How long each read took, by the product and by bare SQL, in turns."""
        product, bare = [], []
        for number in self._asked:
            before = self._cpu()
            product.append(_timed(lambda number=number: self._product(number)))  # type: ignore[misc]
            self.cpu.append(self._cpu() - before)
            bare.append(_timed(lambda number=number: self._bare(number)))  # type: ignore[misc]
        return product, bare

    def _cpu(self) -> float:
        """Seconds used by this process and, where it runs on this machine, its session of the database."""
        used = int(self._backend.read_text().split()[0]) / 1e9 if self._backend.exists() else 0.0
        return time.process_time() + used

    def _product(self, number: int) -> None:
        """What GET /api/v1/customers/{key}/spend answers."""
        (row,) = spend_rows(customer_key(number), self._at)
        json.dumps(row)
        if not (self._may_be_empty or row["statement"]["lines"]):
            raise RuntimeError(f"{customer_key(number)} has no lines.")

    def _bare(self, number: int) -> None:
        given = {
            "meters": self._meters,
            "subject": number + 1,
            "start": self._month,
            "end": next_month(self._month),
        }
        self._connection.execute(BARE, given).fetchall()


def _timed(work: Callable[[], None]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _figures(times: list[float]) -> tuple[float, float]:
    return percentile(times, 0.5) * 1e3, percentile(times, 0.99) * 1e3


def _under_load(options: "Options", reader: _Reader, month: datetime) -> tuple[list[float], list[float]]:
    """The same while events come in and are counted."""
    secret = ApiKey.issue("Benchmark", ["ingest"])[1]
    with processes.web_server() as (port, _), processes.rollers(1, "--every", "1"):
        plan = Plan(
            kind="post",
            batch=BATCH,
            first=RUN,
            batches=60 * LOAD // BATCH,
            seconds=60,
            starting_at=month.replace(day=28).isoformat(),
            port=port,
            path="/api/v1/events",
            secret=secret,
            connections=16,
            rate=LOAD / BATCH,
        )
        wait_for_roller(options.url, month)
        seen: list[Seen] = []
        load = threading.Thread(target=lambda: seen.extend(measure([plan])), daemon=True)
        load.start()
        time.sleep(5)  # until the load is prepared and runs
        found: tuple[list[float], list[float]] = ([], [])
        while load.is_alive() and len(found[0]) < 3000:
            for all_of_them, these in zip(found, reader.read(), strict=True):
                all_of_them.extend(these)
        load.join()
    print(f"meanwhile: {seen[0].events:,} events in, answers {seen[0].answers}", file=sys.stderr)
    return found
