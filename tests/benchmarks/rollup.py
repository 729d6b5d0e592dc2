"""Whether the roller keeps up: events a second counted in the buckets of 5 meters, beside those that come in over HTTP.

Product, ingestion and bare SQL take turns over the same events. Bare SQL is one upsert a meter into a table like the
hour buckets, without identities, day buckets, exact reading of numbers or group dictionaries.
"""

import time
from itertools import count
from typing import TYPE_CHECKING

import psycopg
from django.utils import timezone

from billing_project.models import ApiKey
from meters import partitions
from meters.models import RollupCursor
from meters.rollup import roll_up
from tests.benchmarks import processes
from tests.benchmarks.database import server_settings
from tests.benchmarks.history import count_history, fill_dictionaries, fill_events
from tests.benchmarks.made_meters import KINDS, make_meters
from tests.benchmarks.processes import cpu_seconds, measure, rate
from tests.benchmarks.report import Result, median, table
from tests.benchmarks.stream import RUN, TYPES, month_before
from tests.benchmarks.worker import Plan

if TYPE_CHECKING:
    from tests.benchmarks.__main__ import Options

TARGET = 1.0
BATCH = 1000
MOST = 200_000
TABLE = """
CREATE TABLE bare_bucket (
    starting_at timestamptz, events bigint, meter_id int, subject_id int, model text, region text,
    total numeric, smallest numeric, largest numeric, last_time timestamptz,
    PRIMARY KEY (meter_id, subject_id, starting_at, model, region)
) WITH (fillfactor = 70)
"""
BARE = """
INSERT INTO bare_bucket AS b
SELECT date_bin('1 hour', time, '1970-01-01 00:00:00+00'), count(*), %(meter)s, subject_id, properties ->> 'model',
       properties ->> 'region', sum((properties ->> %(path)s)::numeric), min((properties ->> %(path)s)::numeric),
       max((properties ->> %(path)s)::numeric), max(time)
FROM meters_event WHERE xid >= %(xid)s AND event_type_id = ANY(%(types)s) GROUP BY 1, 4, 5, 6 ORDER BY 4, 1, 5, 6
ON CONFLICT (meter_id, subject_id, starting_at, model, region) DO UPDATE
SET events = b.events + excluded.events, total = b.total + excluded.total,
    smallest = least(b.smallest, excluded.smallest), largest = greatest(b.largest, excluded.largest),
    last_time = greatest(b.last_time, excluded.last_time)
"""


def run(options: "Options") -> tuple[Result, str]:
    rows = (options.rows or [0])[0]
    month = month_before(timezone.now())
    partitions.ensure([month])
    with psycopg.connect(options.url, autocommit=True) as connection:
        fill_dictionaries(connection)
        connection.execute(TABLE)
        if rows:
            fill_events(options.url, 1, rows, month, rows)
        lines = []
        for of_all_types in (False, True):
            connection.execute("ALTER TABLE meters_meter DISABLE TRIGGER USER")
            connection.execute("TRUNCATE meters_meter CASCADE")
            count_history(connection, make_meters(of_all_types=of_all_types))
            lines.append(_turns(options, connection, month.replace(day=28).isoformat(), of_all_types))
        settings = server_settings(connection)
    head = ["rows", "counted by", "roller /s", "over HTTP /s", "ratio", "target", "bare SQL /s", "roller / bare SQL"]
    head += ["us database", "us roller"]
    shown = [
        [rows, "5 meters" if of_all else "1 of 5 meters", r, i, r / i, TARGET, b, r / b, d, o]
        for of_all, (r, i, b, d, o) in zip((False, True), lines, strict=True)
    ]
    rolled, incoming, bare, *_ = lines[0]
    result = Result(
        name="rollup",
        scale=options.scale,
        product={"rate": rolled, "of_all_types": lines[1][0]},
        limit={"rate": incoming, "bare_sql": bare},
        ratio=rolled / incoming,
        target=TARGET,
        unit="events/s",
        details={"server": settings},
    )
    return result, f"{settings}\n\n" + table(head, shown)


def _turns(
    options: "Options", connection: psycopg.Connection, starting_at: str, of_all_types: bool
) -> tuple[float, float, float, float, float]:
    postmaster = processes.postmaster(options.url)
    rolled, incoming, bare, database, own = [], [], [], [], []
    secret = ApiKey.issue("Benchmark", ["ingest"])[1]
    numbers = count(1)
    size = int(MOST * options.scale)
    for _ in range(options.rounds):
        with processes.web_server() as (port, _):
            plan = Plan(
                kind="post",
                batch=BATCH,
                first=next(numbers) * RUN + RUN * 1000 * of_all_types,
                batches=size // BATCH,
                seconds=600,
                starting_at=starting_at,
                port=port,
                path="/api/v1/events",
                secret=secret,
                connections=16,
            )
            incoming.append(rate(measure([plan])))
        xid = RollupCursor.objects.get().xid
        bare.append(_bare(connection, xid, size, of_all_types))
        before = (cpu_seconds(postmaster) if postmaster else 0.0, time.process_time())
        started = time.monotonic()
        events = _roll()
        rolled.append(events / (time.monotonic() - started))
        database.append(((cpu_seconds(postmaster) if postmaster else 0.0) - before[0]) / events * 1e6)
        own.append((time.process_time() - before[1]) / events * 1e6)
    return median(rolled), median(incoming), median(bare), median(database), median(own)


def _roll() -> int:
    events = 0
    while True:
        result = roll_up()
        events += result.events
        if not result.more:
            return events


def _bare(connection: psycopg.Connection, xid: int, events: int, of_all_types: bool) -> float:
    started = time.monotonic()
    for number, (_, path) in enumerate(KINDS):
        types = list(range(1, TYPES + 1)) if of_all_types else [number + 1]
        given = {"meter": number, "path": path or "input_tokens", "xid": xid, "types": types}
        connection.execute(BARE, given)
    return events / (time.monotonic() - started)
