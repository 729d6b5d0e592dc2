"""The close of a month: 10,000 contracts on 5 meters with graduated tiers and a commit, by one process and by two.

The limit is SQL alone that reads the same day buckets, prices them per unit, and writes as many invoices and lines.
Day buckets are made up, 30 for each contract and meter, so nothing else of a month's usage has to be there.
"""

import multiprocessing
import resource
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
from django.db import connections
from django.utils import timezone

from contracts.billing_periods import write_periods
from invoicing.close import close_periods
from invoicing.models import Invoice, InvoiceLine
from meters.models import GroupValues, RollupCursor
from meters.partitions import next_month
from tests.benchmarks.database import fill_dictionaries, server_settings
from tests.benchmarks.made_contracts import make_contracts
from tests.benchmarks.made_meters import make_meters
from tests.benchmarks.report import Result, Row, table
from tests.benchmarks.stream import month_before

if TYPE_CHECKING:
    from tests.benchmarks.__main__ import Options

CONTRACTS = 10_000
TARGET = 0.3
PROCESSES = [1, 2]
MEGABYTE = 1024  # ru_maxrss counts kilobytes
BUCKETS = """
INSERT INTO meters_daybucket (meter_id, subject_id, starting_at, group_id, events, total, smallest, largest,
                              last_value, last_time, last_key)
SELECT m.id, s.id, %(start)s::timestamptz + day * interval '1 day', %(group)s, 40, 100 + (s.id * 37 + day) %% 9000,
       1, 900, 500, %(start)s::timestamptz + day * interval '1 day', md5(s.id::text)::uuid
FROM meters_meter AS m, meters_subject AS s, generate_series(0, %(days)s - 1) AS day
WHERE s.id <= %(customers)s ORDER BY 1, 2, 3
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
FROM usage AS u JOIN invoices AS i USING (subject_id)
"""


def run(options: "Options") -> tuple[Result, str]:
    month = month_before(timezone.now())
    until = next_month(month)
    many = int(CONTRACTS * options.scale)
    with psycopg.connect(options.url, autocommit=True) as connection:
        fill_dictionaries(connection)
        _prepare(connection, month, until, many)
        connection.execute(BARE_TABLES)
        started = time.monotonic()
        connection.execute(BARE, {"start": month, "end": until})
        limit = many / (time.monotonic() - started)
        rows = []
        for processes in options.processes or PROCESSES:
            rows.append(_close(processes, many, until))
            _take_back(connection)
        settings = server_settings(connection)
    first = rows[0][1]
    result = Result(
        name="close",
        scale=options.scale,
        product={f"{row[0]} processes": row[1] for row in rows},
        limit={"bare_sql": limit},
        ratio=first / limit,
        target=TARGET,
        unit="invoices/s",
        details={"contracts": many, "server": settings},
    )
    shown: list[Row] = [
        [many, processes, speed, limit, speed / limit, TARGET if processes == 1 else "", speed / first, lines, memory]
        for processes, speed, lines, memory in rows
    ]
    head = ["contracts", "processes", "invoices /s", "bare SQL /s", "ratio", "target", "times one process", "lines"]
    return result, f"{settings}\n\n" + table([*head, "MB a process"], shown)


def _prepare(connection: psycopg.Connection, month: datetime, until: datetime, many: int) -> None:
    meters = make_meters(group_by=[])
    type(meters[0]).objects.update(built_at=timezone.now())
    group = GroupValues.objects.create(values=[], digest="00000000-0000-0000-0000-000000000001")
    (identifier,) = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone() or (0,)
    (xid,) = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone() or (0,)
    RollupCursor.objects.create(xid=xid, base_seq=-1, last_seq=-1, system_identifier=identifier)
    make_contracts(meters, range(many), month)
    write_periods(until - timedelta(seconds=1))
    given = {"start": month, "days": (until - month).days, "group": group.pk, "customers": many}
    connection.execute(BUCKETS, given)
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


def _close(processes: int, many: int, until: datetime) -> tuple[int, float, int, float]:
    """Processes, invoices a second, lines, and the memory of the largest process."""
    connections.close_all()
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[float] = context.Queue()
    ready = context.Barrier(processes + 1)
    children = [context.Process(target=_closing, args=(until, ready, answers)) for _ in range(processes)]
    for child in children:
        child.start()
    ready.wait()
    started = time.monotonic()
    memory = max(answers.get() for _ in children)
    took = time.monotonic() - started
    for child in children:
        child.join()
    if Invoice.objects.count() != many:
        raise RuntimeError(f"{Invoice.objects.count()} invoices for {many} contracts.")
    return processes, many / took, InvoiceLine.objects.count(), memory / MEGABYTE


def _closing(
    until: datetime, ready: "multiprocessing.synchronize.Barrier", answers: "multiprocessing.Queue[float]"
) -> None:
    connections["default"].ensure_connection()
    ready.wait()
    close_periods(until)
    answers.put(float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def _take_back(connection: psycopg.Connection) -> None:
    """Every period open again."""
    connection.execute("SET session_replication_role = replica")  # invoices are never deleted otherwise
    connection.execute("DELETE FROM invoicing_invoiceline")
    connection.execute("DELETE FROM invoicing_invoice")
    connection.execute("UPDATE contracts_billingperiod SET closed_at = NULL")
    connection.execute("SET session_replication_role = origin")
    connection.execute("VACUUM ANALYZE")
