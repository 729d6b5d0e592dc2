"""Which customer keys send events, and what they sent last: whatever any meter or contract makes of it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db import connection
from django.db.models import Q

from meters.aggregation import known_cursor
from meters.buckets import DAY
from meters.covering import DAY as ONE_DAY
from meters.covering import Span, merge
from meters.matching import Parameters, matches
from meters.models import Event, Meter
from meters.periods import Period
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
DAYS = """
WITH {tail_tables}, subjects AS MATERIALIZED (
    SELECT id FROM meters_subject WHERE key = ANY({keys})
), counted AS (
    SELECT starting_at AS day, events FROM meters_daybucket
    WHERE meter_id = 0 AND {is_ours} AND subject_id IN (SELECT id FROM subjects)
    UNION ALL
    SELECT {day}, 1 FROM meters_event AS e WHERE {tail} AND e.subject_id IN (SELECT id FROM subjects)
), days AS (
    SELECT day, sum(events) AS events FROM counted
    WHERE day > {since} - interval '1 day' AND day < {until} GROUP BY day
)
SELECT day FROM (SELECT day, sum(events) OVER (ORDER BY day DESC) - events AS newer FROM days) AS newest
WHERE newer < {enough} ORDER BY day DESC LIMIT {most}
"""
BUSIEST = """
WITH {tail_tables}, counted AS (
    SELECT subject_id, events FROM meters_daybucket
    WHERE meter_id = {meter} AND {is_ours} AND starting_at >= {start} AND starting_at < {end}
    UNION ALL
    SELECT e.subject_id, 1 FROM meters_event AS e
    WHERE {tail} AND e.time >= {start} AND e.time < {end} AND {matches}
)
SELECT s.key FROM counted AS c JOIN meters_subject AS s ON s.id = c.subject_id
GROUP BY s.key ORDER BY sum(c.events) DESC, s.key LIMIT {limit}
"""
MOST_DAYS = 31
ALWAYS, FOR_EVER = datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


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


def busiest(meter: Meter, period: Period, limit: int = 25) -> list[str]:
    """The customer keys with most events of a meter in a period of whole UTC days, most first.

    A meter that was made a moment ago, and has no buckets yet, knows only those of late.
    """
    parameters, known = Parameters(), known_cursor()
    statement = BUSIEST.format(
        tail_tables=known.tail_tables,
        meter=parameters.add(meter.pk, "int"),
        is_ours=parameters.add(known.is_ours, "boolean"),
        start=parameters.add(period.starting_at, "timestamptz"),
        end=parameters.add(period.ending_before, "timestamptz"),
        tail=_tail(known),
        matches=matches(meter, parameters),
        limit=parameters.add(limit, "int"),
    )
    return [key for (key,) in _rows(statement, parameters)]


def days_with_events(
    customer_keys: Collection[str], enough: int, *, since: datetime | None = None, until: datetime | None = None
) -> list[Span]:
    """The newest days (UTC) on which a customer sent events, with `enough` of them in all, neighbours joined.

    `until` itself belongs to the days looked at: events of that very instant may.

    Events have no index by customer: these days, at most MOST_DAYS of them, are where to look.
    """
    parameters, known = Parameters(), known_cursor()
    statement = DAYS.format(
        tail_tables=known.tail_tables,
        keys=parameters.add(list(customer_keys), "text[]"),
        is_ours=parameters.add(known.is_ours, "boolean"),
        day=DAY.format("e.time"),
        tail=_tail(known),
        since=parameters.add(since or ALWAYS, "timestamptz"),
        until=parameters.add(min(until, FOR_EVER) + INSTANT if until else FOR_EVER, "timestamptz"),
        enough=parameters.add(enough, "int"),
        most=parameters.add(MOST_DAYS, "int"),
    )
    return merge((day, day + ONE_DAY) for (day,) in _rows(statement, parameters))


def newest_of(customer_keys: Collection[str], enough: int) -> Q:
    """The filter for a customer's newest events, at least `enough` of them if there are; bounded in what it reads."""
    spans = [Q(time__gte=start, time__lt=end) for start, end in days_with_events(customer_keys, enough)]
    return reduce(or_, spans, Q(pk__in=[])) & Q(subject__key__in=customer_keys)


def latest_events(customer_keys: Collection[str], limit: int = 20) -> list[Event]:
    """The last events of a customer by their time, `subject` and `event_type` selected along."""
    found = Event.objects.filter(newest_of(customer_keys, limit)).select_related("subject", "event_type")
    return list(found.order_by("-time", "-key")[:limit])


def _tail(known: Known) -> str:
    # The known cursor may be a moment old: an event counted since would be found twice.
    now = "e.xid >= (SELECT coalesce(max(xid), 0) FROM meters_rollupcursor)"
    return f"{known.tail} AND {now}" if known.is_ours else known.tail


def _rows(statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
