"""Word between processes that something has happened, through the database: who listens need not ask all the time.

Word may be missed by who was not there, or whose connection passes through a pool: whoever listens looks now and then
all the same.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from django.db import connection
from psycopg import Connection
from psycopg.sql import SQL, Identifier

USAGE_COUNTED = "usage_counted"
SLICE = 0.5  # seconds


def tell(channel: str) -> None:
    """Heard when the transaction commits, once whatever was told in it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [channel])


@contextmanager
def hearing(channel: str) -> Iterator[Callable[[float, threading.Event], None]]:
    """Yields a wait: for word (also what came since the last wait), so many seconds, or a sign to stop. Outside a
    transaction only.
    """
    with connection.cursor() as cursor:
        cursor.execute(SQL("LISTEN {}").format(Identifier(channel)))
    listener: Connection = connection.connection
    try:
        yield partial(_wait, listener)
    finally:
        if not listener.closed:
            listener.execute(SQL("UNLISTEN {}").format(Identifier(channel)))


def _wait(listener: Connection, seconds: float, stop: threading.Event) -> None:
    """In slices, as a signal does not interrupt it."""
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        if list(listener.notifies(timeout=min(left, SLICE), stop_after=1)):
            return
