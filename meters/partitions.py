"""Months of the events table, made when the first event of a month comes, or ahead of time."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import LiteralString

from django.db import connection, transaction
from psycopg import sql

from billing_project.locks import lock
from meters.archive_models import EventArchive

FIRST = datetime(2015, 1, 1, tzinfo=UTC)  # anything earlier lies in one partition of its own

LOOK_AGAIN = 30.0
ANALYZE_EVERY = 50_000
WITHOUT_STATISTICS = """
SELECT relname FROM pg_class
WHERE starts_with(relname, 'meters_') AND relkind = 'r' AND reltuples <= 0 AND pg_table_is_visible(oid)
AND pg_relation_size(oid) > 0
"""


class GoneError(Exception):
    """The month was archived and dropped: it comes back by being restored."""


_known: set[datetime] = set()
_counted = 0
_dropped: tuple[float, frozenset[datetime]] = (0.0, frozenset())


def month_of(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def ensure_for(times: Sequence[datetime]) -> None:
    """Have a partition for each of the times, given in order."""
    at = bisect_left(times, FIRST)
    while at < len(times):
        month = month_of(times[at])
        if month not in _known:
            ensure([month])
        at = bisect_left(times, next_month(month), at)


def ensure(months: Iterable[datetime]) -> None:
    """Have a partition for each of the months, in a transaction that ends before any event is written."""
    for month in months:
        with transaction.atomic():
            lock("meters", "partition", month.isoformat())
            if not _exists(month):
                if EventArchive.objects.filter(month=month).exclude(dropped_at=None).exists():
                    raise GoneError
                create(month)
                attach(month)
            transaction.on_commit(lambda month=month: _known.add(month))  # type: ignore[misc]


def ensure_ahead(now: datetime) -> None:
    """This month and the next: nobody's request should wait for a table."""
    month = month_of(now)
    ensure(each for each in (month, next_month(month)) if each not in _known)


def analyze_new(counted: int) -> None:
    """Statistics for tables that have rows and none yet, or statistics of an empty table; looked for every
    ANALYZE_EVERY events that were counted.

    Autovacuum does it too, a minute later: until then the planner takes a filling month for an empty one, and whoever
    prepared a statement goes on reading all of it.
    """
    global _counted
    _counted += counted
    if _counted < ANALYZE_EVERY:
        return
    _counted = 0
    with connection.cursor() as cursor:
        cursor.execute(WITHOUT_STATISTICS)
        for (name,) in cursor.fetchall():
            cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(name)).as_string())


def dropped_months() -> frozenset[datetime]:
    """Months that lie in files alone, as known half a minute ago. A writer that finds no partition looks again."""
    global _dropped
    until, months = _dropped
    if time.monotonic() >= until:
        months = frozenset(EventArchive.objects.exclude(dropped_at=None).values_list("month", flat=True))
        _dropped = (time.monotonic() + LOOK_AGAIN, months)
    return months


def forget() -> None:
    global _dropped
    _known.clear()
    _dropped = (0.0, frozenset())


def name_of(month: datetime) -> str:
    return f"meters_event_{month:%Y_%m}"


def _exists(month: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name_of(month)])
        return bool(cursor.fetchone()[0])


def create(month: datetime) -> None:
    """The month's table, beside the others.

    ATTACH lets writers go on, CREATE ... PARTITION OF would wait for them all.
    """
    _execute(
        "CREATE TABLE {} (LIKE meters_event INCLUDING DEFAULTS, CHECK (time >= {} AND time < {}))"
        " WITH (autovacuum_analyze_scale_factor = 0.02)",
        month,
    )


def attach(month: datetime) -> None:
    _execute("ALTER TABLE meters_event ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})", month)


def _execute(statement: LiteralString, month: datetime) -> None:
    name, start, end = sql.Identifier(name_of(month)), sql.Literal(month), sql.Literal(next_month(month))
    with connection.cursor() as cursor:
        # As text: pghistory, inside a request of the admin, reads nothing else.
        cursor.execute(sql.SQL(statement).format(name, start, end).as_string())
