"""Made-up history: events written by SQL, and counted in buckets as the roller counts the history of new meters."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from meters import builds
from meters.models import Meter, MeterBuild, RollupCursor
from meters.rollup import roll_up
from tests.benchmarks.stream import CUSTOMERS, MODELS, REGIONS, TYPES, customer_key, event_type

CHUNK = 500_000  # events
WRITERS = 2
PART = 1_000_000  # events a pass of building: nobody waits for the roller meanwhile
FILL = """
INSERT INTO meters_event (time, key, subject_id, event_type_id, properties)
SELECT %(start)s::timestamptz + %(span)s::interval * (n::float8 / %(total)s) + interval '1 microsecond' * (n %% 7),
       md5(n::text)::uuid,
       -- Some use far more than others: as a power of an even draw.
       1 + (least(power(random(), 5), 0.99999999) * %(customers)s)::int %% %(customers)s,
       1 + n %% %(types)s,
       jsonb_build_object('model', 'model-' || (random() * %(models)s)::int %% %(models)s,
                          'region', (%(regions)s::text[])[1 + (random() * 3)::int],
                          'input_tokens', 1 + (random() * 4998)::int, 'output_tokens', 1 + (random() * 1998)::int)
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
INDEXES = {
    "meters_event_time_key": "CREATE UNIQUE INDEX meters_event_time_key ON meters_event (time, key)",
    "meters_event_xid": "CREATE INDEX meters_event_xid ON meters_event (xid)",
}
EMPTY = """
TRUNCATE meters_event, meters_eventkey, meters_hourbucket, meters_daybucket, meters_hourvalue, meters_dayvalue,
         meters_meterbuild, meters_rollupcursor
"""


def fill_dictionaries(connection: psycopg.Connection, customers: int = CUSTOMERS) -> None:
    """The numbers the stream's rows are written with."""
    with connection.cursor() as cursor:
        keys = [(number + 1, customer_key(number)) for number in range(max(customers, CUSTOMERS))]
        cursor.executemany("INSERT INTO meters_subject (id, key) OVERRIDING SYSTEM VALUE VALUES (%s, %s)", keys)
        types = [(number + 1, event_type(number)) for number in range(TYPES)]
        cursor.executemany("INSERT INTO meters_eventtype (id, name) OVERRIDING SYSTEM VALUE VALUES (%s, %s)", types)
        for table in ("meters_subject", "meters_eventtype"):
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")


def fill_events(url: str, first: int, last: int, start: datetime, total: int) -> None:
    """Events numbered `first` to `last` of `total`, spread over 30 days in one month; bulk first, then the indexes."""
    given = {
        "start": start,
        "span": timedelta(days=30),
        "total": total,
        "customers": CUSTOMERS,
        "types": TYPES,
        "models": MODELS,
        "regions": list(REGIONS),
    }

    def write(begin: int) -> int:
        end = min(begin + CHUNK - 1, last)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = off")
            connection.execute(FILL, {**given, "first": begin, "last": end})
        return end - begin + 1

    with psycopg.connect(url, autocommit=True) as connection:
        for name in INDEXES:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        with _progress("events") as show, ThreadPoolExecutor(WRITERS) as writers:
            written = 0
            for number in writers.map(write, range(first, last + 1, CHUNK)):
                written += number
                show(written, last - first + 1)
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("SET synchronous_commit = off")
        steps = [*INDEXES.values(), "VACUUM ANALYZE meters_event", "CHECKPOINT"]
        with _progress("indexes") as show:
            for number, statement in enumerate(steps, start=1):
                connection.execute(statement)
                show(number, len(steps))


def forget_events(connection: psycopg.Connection) -> None:
    """No events, none counted; meters and contracts stay."""
    connection.execute(EMPTY)


def count_history(connection: psycopg.Connection, meters: Sequence[Meter]) -> None:
    """All events there are in the buckets of all meters: none of them is left for the roller."""
    (identifier,) = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone() or (0,)
    (xid,) = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone() or (0,)
    (seq, events) = connection.execute("SELECT max(seq), count(*) FROM meters_event").fetchone() or (0, 0)
    cursor = {"xid": xid, "base_seq": -1, "last_seq": seq or -1, "system_identifier": identifier}
    RollupCursor.objects.update_or_create(pk=1, defaults=cursor)
    MeterBuild.objects.all().delete()
    Meter.objects.filter(pk__in=[each.pk for each in meters]).update(built_at=None)
    builds.PART = PART
    with _progress("events counted") as show:
        done = 0
        while roll_up().more:
            position = MeterBuild.objects.values_list("position", flat=True).first()
            row = connection.execute("SELECT count(*) FROM meters_event WHERE time < %s", [position]).fetchone()
            done = int(row[0]) if row else done
            show(done, events)
        show(events, events)
    connection.execute("VACUUM ANALYZE meters_daybucket")
    connection.execute("VACUUM ANALYZE meters_hourbucket")
    connection.execute("CHECKPOINT")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A line that is written over on a terminal, and once every tenth elsewhere."""
    started, told = time.monotonic(), -1

    def show(done: int, total: int) -> None:
        nonlocal told
        tenth = 10 * done // total if total else 10
        if sys.stderr.isatty() or tenth > told:
            told = tenth
            end = "\r" if sys.stderr.isatty() and done < total else "\n"
            seconds = time.monotonic() - started
            print(f"  {what}: {done:,} of {total:,}, {seconds:,.0f} s", end=end, file=sys.stderr, flush=True)

    yield show
