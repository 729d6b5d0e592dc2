"""A clock that is moved: for this process, and for the database connection that writes the history."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

# Found before PostgreSQL's own by the session that names the schema first.
FUNCTIONS = """
CREATE SCHEMA IF NOT EXISTS moved;
CREATE OR REPLACE FUNCTION moved.now() RETURNS timestamptz LANGUAGE sql STABLE AS
$$ SELECT pg_catalog.now() + current_setting('moved.by')::interval $$;
"""
REAL = timezone.now


class Clock:
    """What time it is. It runs on by itself, so that later is later in the books and in their history."""

    def __init__(self, at: datetime) -> None:
        self._by = timedelta()
        self.move_to(at)

    def now(self) -> datetime:
        return REAL() + self._by

    def move_to(self, at: datetime) -> None:
        self._by = at - REAL()
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('moved.by', %s, false)", [f"{self._by.total_seconds()} seconds"])


@contextmanager
def moved_clock(at: datetime) -> Iterator[Clock]:
    """Outside a transaction, and with a connection that is kept until the end."""
    with connection.cursor() as cursor:
        cursor.execute(FUNCTIONS)
        cursor.execute("SET search_path TO moved, pg_catalog, public")
    clock = Clock(at)
    timezone.now = clock.now
    try:
        yield clock
    finally:
        timezone.now = REAL
        with connection.cursor() as cursor:
            cursor.execute("RESET search_path")
