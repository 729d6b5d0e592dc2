"""The close of a month: 10,000 contracts on 5 meters with graduated tiers and a commit, by one process and by two.

With 1,000 contracts each run ends with the review: every draft is built anew once its grace is over. CPU time is that
of the process and of its database connection together. The limit is SQL alone that reads the same day buckets, prices
them per unit, and writes as many invoices and lines.
Day buckets are made up, 30 for each contract and meter, so nothing else of a month's usage has to be there.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import psycopg
from django.utils import timezone

from contracts.billing_periods import write_periods
from invoicing.close import close_periods, grace
from invoicing.models import Invoice, InvoiceLine
from meters.models import GroupValues, RollupCursor
from meters.partitions import next_month
from tests.benchmarks.database import server_settings
from tests.benchmarks.history import fill_dictionaries
from tests.benchmarks.made_contracts import add_contracts, make_contracts
from tests.benchmarks.made_meters import make_meters
from tests.benchmarks.report import Result, Row, table
from tests.benchmarks.stream import month_before
from tests.benchmarks.together import together

if TYPE_CHECKING:
    from tests.benchmarks.__main__ import Options

CONTRACTS = 10_000
TARGET = 0.3
PROCESSES = [1, 2]
REVIEWED = 1_000  # with more contracts the review, which takes longer, is left out
BUCKETS = """
INSERT INTO meters_daybucket (meter_id, subject_id, starting_at, group_id, events, total, smallest, largest,
                              last_value, last_time, last_key)
SELECT m.id, s.id, %(start)s::timestamptz + day * interval '1 day', %(group)s, 40, 100 + (s.id * 37 + day) %% 9000,
       1, 900, 500, %(start)s::timestamptz + day * interval '1 day', md5(s.id::text)::uuid
FROM meters_meter AS m, meters_subject AS s, generate_series(0, %(days)s - 1) AS day
WHERE s.id > %(first)s AND s.id <= %(until)s ORDER BY 1, 2, 3
"""
BARE_TABLES = """
CREATE TABLE bare_invoice (id bigserial PRIMARY KEY, subject_id int, total numeric);
CREATE TABLE bare_line (id bigserial PRIMARY KEY, invoice_id bigint, meter_id int, quantity numeric, amount numeric,
                        explanation jsonb);
CREATE INDEX ON bare_line (invoice_id)
"""
BARE = """
WITH usage AS (
    SELECT subject_id, meter_id, sum(total) AS quantity FROM meters_daybucket
    WHERE starting_at >= %(start)s AND starting_at < %(end)s GROUP BY 1, 2
), invoices AS (
    INSERT INTO bare_invoice (subject_id, total)
    SELECT subject_id, round(sum(quantity * 0.0021), 2) FROM usage GROUP BY 1
    RETURNING id, subject_id
)
INSERT INTO bare_line (invoice_id, meter_id, quantity, amount, explanation)
SELECT i.id, u.meter_id, u.quantity, round(u.quantity * 0.0021, 2),
       jsonb_build_object('quantity', u.quantity, 'rate', 1)
FROM usage AS u JOIN invoices AS i USING (subject_id),
     generate_series(1, CASE WHEN u.meter_id %% 5 < 3 THEN 2 ELSE 1 END) -- 8 lines an invoice, as ours have
"""


@dataclass(frozen=True, slots=True)
class Run:
    """Invoices closed a second, microseconds of CPU time each, drafts reviewed a second, lines, and the memory of the
    largest process.
    """

    speed: float
    cpu: float
    reviewed: float
    lines: int
    memory: float


FIGURES = ("speed", "cpu", "reviewed", "lines", "memory")


def run(options: "Options") -> tuple[Result, str]:
    month = month_before(timezone.now())
    until = next_month(month)
    stages = options.contracts or [int(CONTRACTS * options.scale)]
    rows: list[Row] = []
    product: dict[str, dict[str, float]] = {}
    limits: list[float] = []
    with psycopg.connect(options.url, autocommit=True) as connection:
        fill_dictionaries(connection, stages[-1])
        connection.execute(BARE_TABLES)
        prepare(connection, month, until)
        there = 1
        for many in stages:
            add(connection, month, until, there, many)
            there = many
            figures, limit = _stage(connection, options, many, month, until)
            limits.append(limit)
            first = next(iter(figures.values()))["speed"]
            for processes, found in figures.items():
                product[f"{many} contracts, {processes} processes"] = found
                speed, *others = found.values()
                target: object = TARGET if processes == 1 else ""
                rows.append([many, processes, speed, limit, speed / limit, target, speed / first, *others])
        settings = server_settings(connection)
    result = Result(
        name="close",
        scale=options.scale,
        product=product,
        limit={"bare_sql": limits[0]},
        ratio=next(iter(product.values()))["speed"] / limits[0],
        target=TARGET,
        unit="invoices/s",
        details={"contracts": stages, "bare_sql": limits, "server": settings},
    )
    head = ["contracts", "processes", "invoices /s", "bare SQL /s", "ratio", "target", "times one process"]
    return result, f"{settings}\n\n" + table([*head, "us CPU", "reviewed /s", "lines", "MB a process"], rows)


def _stage(
    connection: psycopg.Connection, options: "Options", many: int, month: datetime, until: datetime
) -> tuple[dict[int, dict[str, float]], float]:
    """The figures with each number of processes, and the limit, with so many contracts."""
    runs: dict[int, list[Run]] = {processes: [] for processes in options.processes or PROCESSES}
    limits = []
    for _ in range(options.rounds):
        limits.append(many / _bare(connection, month, until))
        for processes, found in runs.items():
            found.append(_close(processes, many, until))
            _take_back(connection)
    figures = {
        processes: {name: median(getattr(each, name) for each in found) for name in FIGURES}
        for processes, found in runs.items()
    }
    return figures, median(limits)


def _bare(connection: psycopg.Connection, month: datetime, until: datetime) -> float:
    """Seconds that SQL alone takes."""
    connection.execute("TRUNCATE bare_invoice, bare_line")
    started = time.monotonic()
    connection.execute(BARE, {"start": month, "end": until})
    return time.monotonic() - started


def prepare(connection: psycopg.Connection, month: datetime, until: datetime) -> None:
    """All that one contract needs; the others are copies of it."""
    meters = make_meters(group_by=[])
    type(meters[0]).objects.update(built_at=timezone.now())
    GroupValues.objects.create(values=[], digest="00000000-0000-0000-0000-000000000001")
    (identifier,) = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone() or (0,)
    (xid,) = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone() or (0,)
    RollupCursor.objects.create(xid=xid, base_seq=-1, last_seq=-1, system_identifier=identifier)
    make_contracts(meters, [0], month)
    write_periods(until - timedelta(seconds=1))
    _add_buckets(connection, month, until, 0, 1)


def add(connection: psycopg.Connection, month: datetime, until: datetime, first: int, many: int) -> None:
    add_contracts(connection, first, many)
    _add_buckets(connection, month, until, first, many)
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


def _add_buckets(connection: psycopg.Connection, month: datetime, until: datetime, first: int, many: int) -> None:
    group = GroupValues.objects.get()
    given = {"start": month, "days": (until - month).days, "group": group.pk, "first": first, "until": many}
    connection.execute(BUCKETS, given)


def _close(processes: int, many: int, until: datetime) -> Run:
    closed = together([partial(close_periods, until)] * processes)
    reviewed, memory = 0.0, closed.memory
    if many <= REVIEWED:
        review = together([partial(close_periods, until + grace() + timedelta(hours=1))] * processes)
        reviewed, memory = many / review.seconds, max(memory, review.memory)
    if Invoice.objects.count() != many:
        raise RuntimeError(f"{Invoice.objects.count()} invoices for {many} contracts.")
    lines = InvoiceLine.objects.count()
    return Run(many / closed.seconds, closed.cpu / many * 1e6, reviewed, lines, memory)


def _take_back(connection: psycopg.Connection) -> None:
    """Every period open again."""
    connection.execute("SET session_replication_role = replica")  # invoices are never deleted otherwise
    connection.execute("DELETE FROM invoicing_invoiceline")
    connection.execute("DELETE FROM invoicing_invoice")
    connection.execute("UPDATE contracts_billingperiod SET closed_at = NULL")
    connection.execute("SET session_replication_role = origin")
    connection.execute("VACUUM ANALYZE")
