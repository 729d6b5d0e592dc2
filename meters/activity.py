"""Which customer keys send events, and what they sent last: whatever any meter or contract makes of it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from meters.aggregation import known_cursor
from meters.buckets import DAY
from meters.matching import Parameters
from meters.models import Event
from meters.usage_statement import Known

# Day buckets of meter 0 count every event.
BY_SUBJECT = """
WITH {tail_tables}, counted AS (
    SELECT subject_id, starting_at AS day, events FROM meters_daybucket WHERE meter_id = 0 AND {is_ours}
    UNION ALL
    SELECT e.subject_id, {day}, 1 FROM meters_event AS e WHERE {tail}
)
SELECT s.key, sum(c.events)::bigint, min(c.day), max(c.day)
FROM counted AS c JOIN meters_subject AS s ON s.id = c.subject_id
WHERE s.key <> ALL({leaving_out})
GROUP BY s.key ORDER BY 2 DESC, 1 LIMIT {limit}
"""
SINCE = """
WITH {tail_tables}, subjects AS MATERIALIZED (
    SELECT id FROM meters_subject WHERE key = ANY({keys})
), days AS (
    SELECT starting_at, sum(events) AS events FROM meters_daybucket
    WHERE meter_id = 0 AND {is_ours} AND subject_id IN (SELECT id FROM subjects) GROUP BY 1
), newest AS (
    SELECT starting_at, sum(events) OVER (ORDER BY starting_at DESC) - events AS newer FROM days
)
SELECT least(
    (SELECT min(starting_at) FROM newest WHERE newer < {limit}),
    (SELECT min(e.time) FROM meters_event AS e WHERE {tail} AND e.subject_id IN (SELECT id FROM subjects))
)
"""


@dataclass(frozen=True, slots=True)
class SubjectEvents:
    """A customer key, how many events it sent, and the UTC days of the first and the last one."""

    key: str
    events: int
    first_day: datetime
    last_day: datetime


def events_by_subject(*, leaving_out: Collection[str] = (), limit: int = 1000) -> list[SubjectEvents]:
    """Customer keys by number of events, most first; without the claimed ones these are unclaimed usage."""
    parameters, known = Parameters(), known_cursor()
    statement = BY_SUBJECT.format(
        tail_tables=known.tail_tables,
        is_ours=parameters.add(known.is_ours, "boolean"),
        day=DAY.format("e.time"),
        tail=_tail(known),
        leaving_out=parameters.add(list(leaving_out), "text[]"),
        limit=parameters.add(limit, "int"),
    )
    return [SubjectEvents(*row) for row in _rows(statement, parameters)]


def latest_events(customer_keys: Collection[str], limit: int = 20) -> list[Event]:
    """The last events of a customer by their time, `subject` and `event_type` selected along.

    Events have no index by customer. Their number by day says how far back to look.
    """
    parameters, known = Parameters(), known_cursor()
    statement = SINCE.format(
        tail_tables=known.tail_tables,
        is_ours=parameters.add(known.is_ours, "boolean"),
        keys=parameters.add(list(customer_keys), "text[]"),
        tail=_tail(known),
        limit=parameters.add(limit, "int"),
    )
    ((since,),) = _rows(statement, parameters)
    if since is None:
        return []
    found = Event.objects.filter(subject__key__in=customer_keys, time__gte=since)
    return list(found.select_related("subject", "event_type").order_by("-time", "-key")[:limit])


def _tail(known: Known) -> str:
    # The known cursor may be a moment old: an event counted since would be found twice.
    now = "e.xid >= (SELECT coalesce(max(xid), 0) FROM meters_rollupcursor)"
    return f"{known.tail} AND {now}" if known.is_ours else known.tail


def _rows(statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
