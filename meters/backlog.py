"""How far the roller is behind, and when that is too far for more events to be taken.

Reading usage looks at every event not yet counted. Clients are asked to wait before that makes reading, and then
everything, slow.
"""

import threading
import time

from django.conf import settings
from django.db import connection

from meters.aggregation import known_cursor

LOOK_AGAIN = 1.0  # seconds
WAIT = 5.0  # and while it is too long
HIGHEST = """
SELECT (SELECT last_value FROM meters_event_seq), coalesce((SELECT last_seq FROM meters_rollupcursor), -1)
"""
COUNT = "SELECT count(*) FROM (SELECT FROM meters_event AS e WHERE {beyond} LIMIT %s) AS found"


class Backlog:
    """Of this process: looks once a second at most, whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self._too_long = False
        self._next_look = 0.0
        self._unused = (-1, 0)

    def is_too_long(self) -> bool:
        """Whether more than settings.METERS_MAX_BACKLOG events wait to be counted; 0 is no limit."""
        most: int = settings.METERS_MAX_BACKLOG
        if not most:
            return False
        if time.monotonic() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._too_long = self._exceeds(most)
                self._next_look = time.monotonic() + (WAIT if self._too_long else LOOK_AGAIN)
            finally:
                self._lock.release()
        return self._too_long

    def _exceeds(self, most: int) -> bool:
        """By the numbers drawn for events; counted only where these say so, as a duplicate draws one for nothing."""
        with connection.cursor() as cursor:
            cursor.execute(HIGHEST)
            drawn, counted = cursor.fetchone()
            until, unused = self._unused
            if drawn - counted - (unused if until == counted else 0) <= most:
                return False
            cursor.execute(COUNT.format(beyond=known_cursor().beyond("e")), [most + 1])
            waiting: int = cursor.fetchone()[0]
        self._unused = (counted, drawn - counted - waiting)
        return waiting > most


backlog = Backlog()


def uncounted_events() -> bool:
    """Whether any event waits for the roller."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT.format(beyond=known_cursor().beyond("e")), [1])
        return bool(cursor.fetchone()[0])
