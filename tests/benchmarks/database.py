"""A database of the benchmark's own, beside the default one on the same server, and made-up history in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from billing_project import embedded
from tests.benchmarks.stream import CUSTOMERS, MODELS, REGIONS, TYPES, customer_key, event_type

SHOWN = ("server_version", "shared_buffers", "fsync", "synchronous_commit", "full_page_writes", "max_wal_size")
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


@contextmanager
def own_database(name: str) -> Iterator[str]:
    """Yields its URL; it is dropped in the end."""
    embedded.ensure_started()
    parts = urlsplit(embedded.database_url())
    default = parts.path.lstrip("/")
    own = f"{default}_benchmark_{name}_{os.getpid()}"
    url = urlunsplit(parts._replace(path=f"/{own}"))
    server = urlunsplit(parts._replace(path="/postgres"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(own)))
    try:
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(own)))


def server_settings(connection: psycopg.Connection) -> dict[str, str]:
    """What a figure depends on."""
    return {name: str(connection.execute(f"SHOW {name}").fetchone()[0]) for name in SHOWN}  # type: ignore[index]


def fill_dictionaries(connection: psycopg.Connection, customers: int = CUSTOMERS) -> None:
    """The numbers the stream's rows are written with."""
    with connection.cursor() as cursor:
        keys = [(number + 1, customer_key(number)) for number in range(max(customers, CUSTOMERS))]
        cursor.executemany("INSERT INTO meters_subject (id, key) OVERRIDING SYSTEM VALUE VALUES (%s, %s)", keys)
        types = [(number + 1, event_type(number)) for number in range(TYPES)]
        cursor.executemany("INSERT INTO meters_eventtype (id, name) OVERRIDING SYSTEM VALUE VALUES (%s, %s)", types)
        for table in ("meters_subject", "meters_eventtype"):
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")


def fill_events(connection: psycopg.Connection, first: int, last: int, start: datetime, total: int) -> None:
    """Events numbered `first` to `last` of `total`, spread over 30 days in one month; bulk first, then the indexes."""
    given = {
        "start": start,
        "span": timedelta(days=30),
        "total": total,
        "first": first,
        "last": last,
        "customers": CUSTOMERS,
        "types": TYPES,
        "models": MODELS,
        "regions": list(REGIONS),
    }
    for name in INDEXES:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    connection.execute(FILL, given)
    connection.execute("SET maintenance_work_mem = '1GB'")
    for statement in INDEXES.values():
        connection.execute(statement)
    connection.execute("VACUUM ANALYZE meters_event")
    connection.execute("CHECKPOINT")
