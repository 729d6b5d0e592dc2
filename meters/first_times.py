"""Events whose clients leave the time to us happen when they first arrive, however often they are sent."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection
from django.utils import timezone

from meters.events import Event
from meters.wire.reading import Untimed

# In the order of keys, so that two requests which share events do not wait for each other. Not in the roller's own
# table: of an event sent with a time and then without one, the first counts, whether it was rolled up yet or not.
KEEP = """
INSERT INTO meters_firsttime (key, time, seen_on)
SELECT given.key, coalesce(counted.time, given.time), %(today)s
FROM unnest(%(keys)s::uuid[], %(times)s::timestamptz[]) AS given (key, time)
LEFT JOIN meters_eventkey AS counted ON counted.key = given.key
ORDER BY given.key
ON CONFLICT (key) DO NOTHING
"""
KEPT = "SELECT key, time FROM meters_firsttime WHERE key = ANY(%(keys)s::uuid[])"
FORGET = """
DELETE FROM meters_firsttime WHERE key IN (SELECT key FROM meters_firsttime WHERE seen_on < %s LIMIT %s)
"""


def with_first_times(events: Sequence[Event]) -> list[Event]:
    """The same events; those without a time get the one at which their identity arrived first.

    Without this a request sent again would make another event: time is part of what tells events apart. It holds as
    long as identities are remembered: settings.METERS_IDENTITY_DAYS. Commits, before any of the events is stored.
    """
    given = {uuid.UUID(bytes=event.key): event.time for event in events if isinstance(event, Untimed)}
    if not given:
        return list(events)
    parameters: dict[str, Any] = {"keys": list(given), "times": list(given.values()), "today": timezone.now().date()}
    with connection.cursor() as cursor:
        cursor.execute(KEEP, parameters)
        cursor.execute(KEPT, parameters)
        kept = dict(cursor.fetchall())
    return [_at(event, kept) if isinstance(event, Untimed) else event for event in events]


def forget_old_times(chunk: int = 20_000) -> None:
    """Drop what is older than settings.METERS_IDENTITY_DAYS."""
    oldest = timezone.now().date() - timedelta(days=settings.METERS_IDENTITY_DAYS)
    forgotten = chunk
    while forgotten == chunk:
        with connection.cursor() as cursor:
            cursor.execute(FORGET, [oldest, chunk])
            forgotten = cursor.rowcount


def _at(event: Untimed, kept: dict[uuid.UUID, datetime]) -> Event:
    return msgspec.structs.replace(event, time=kept.get(uuid.UUID(bytes=event.key), event.time))
