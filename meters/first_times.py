"""Events whose clients leave the time to us happen when they first arrive, however often they are sent."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone

from meters.events import Event
from meters.wire.reading import Untimed

# In the order of keys, so that two requests which share events do not wait for each other. The roller finds the key
# with the event's own time, as if it had kept it itself.
KEEP = """
INSERT INTO meters_eventkey (key, time, seen_on)
SELECT key, time, %(today)s FROM unnest(%(keys)s::uuid[], %(times)s::timestamptz[]) AS given (key, time) ORDER BY key
ON CONFLICT (key) DO NOTHING
"""
KEPT = "SELECT key, time FROM meters_eventkey WHERE key = ANY(%(keys)s::uuid[])"


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


def _at(event: Untimed, kept: dict[uuid.UUID, datetime]) -> Event:
    return msgspec.structs.replace(event, time=kept.get(uuid.UUID(bytes=event.key), event.time))
