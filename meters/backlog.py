"""How far the roller is behind, and when that is too far for more events to be taken.

Reading usage looks at every event not yet counted. While a roller is at work and does not keep up, posts are stored the
later the further it is behind: it gets the time it needs, and both go on at one pace. Far beyond that clients are asked
to come back.
"""

import threading
import time
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from meters.aggregation import known_cursor

LOOK_AGAIN = 1.0  # seconds
WAIT = 5.0  # and while it is too long
AT_WORK = timedelta(seconds=30)  # since a roller was seen
SLOWEST = 0.0005  # seconds an event, reached at FULL times the backlog at which slowing begins
FULL = 5
LONGEST_PAUSE = 2.0
HIGHEST = """
SELECT (SELECT last_value FROM meters_event_seq), coalesce((SELECT last_seq FROM meters_rollupcursor), -1),
       EXISTS (SELECT FROM meters_rollerminute WHERE seen_at > %s)
"""
COUNT = "SELECT count(*) FROM (SELECT FROM meters_event AS e WHERE {beyond} LIMIT %s) AS found"


class Backlog:
    """Of this process: looks once a second at most, whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self._too_long = False
        self._slowness = 0.0
        self._next_look = 0.0
        self._counted = -1
        self._unused = (-1, 0)

    def is_too_long(self) -> bool:
        """Whether more than settings.METERS_MAX_BACKLOG events wait to be counted; 0 is no limit."""
        self._look_again()
        return self._too_long

    def pause(self, events: int) -> float:
        """Seconds for which a post of so many events should wait, none while fewer than
        settings.METERS_SLOWING_BACKLOG events wait to be counted; 0 there is never.
        """
        self._look_again()
        return min(events * SLOWEST * self._slowness, LONGEST_PAUSE)

    def _look_again(self) -> None:
        if not (settings.METERS_MAX_BACKLOG or settings.METERS_SLOWING_BACKLOG):
            self._too_long, self._slowness = False, 0.0
        elif time.monotonic() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._look(settings.METERS_MAX_BACKLOG, settings.METERS_SLOWING_BACKLOG)
                self._next_look = time.monotonic() + (WAIT if self._too_long else LOOK_AGAIN)
            finally:
                self._lock.release()

    def _look(self, most: int, easy: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(HIGHEST, [timezone.now() - AT_WORK])
            drawn, counted, at_work = cursor.fetchone()
        slows = easy if at_work else 0
        waiting = self._waiting(drawn, counted, most, slows)
        self._too_long = 0 < most < waiting
        self._slowness = min(max(waiting / slows - 1, 0) / (FULL - 1), 1) if slows else 0.0

    def _waiting(self, drawn: int, counted: int, most: int, slows: int) -> int:
        """By the numbers drawn for events. A duplicate draws one for nothing: before anybody is refused, or slowed
        where nothing was counted since the last look, what seems to wait is counted itself.
        """
        until, unused = self._unused
        waiting: int = drawn - counted - (unused if until == counted else 0)
        stands, self._counted = counted == self._counted, counted
        if 0 < most < waiting or (stands and 0 < slows < waiting):
            with connection.cursor() as cursor:
                cursor.execute(COUNT.format(beyond=known_cursor().beyond("e")), [(most or slows * FULL) + 1])
                (waiting,) = cursor.fetchone()
            self._unused = (counted, drawn - counted - waiting)
        return waiting


backlog = Backlog()


def uncounted_events() -> bool:
    """Whether any event waits for the roller."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT.format(beyond=known_cursor().beyond("e")), [1])
        return bool(cursor.fetchone()[0])
