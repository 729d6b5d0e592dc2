"""Do the buckets equal the events? A naive recount of everything behind the cursor, compared in one snapshot."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from meters.buckets import COLUMNS, DAY, HOUR
from meters.matching import Parameters, distinct, group, matches, value
from meters.models import Aggregation, Meter

COUNTED = """(e.xid < (SELECT xid FROM meters_rollupcursor) OR e.seq <= (SELECT base_seq FROM meters_rollupcursor))"""

# Months whose events lie in files cannot be recounted: restored, they can.
HERE = """NOT EXISTS (
    SELECT FROM meters_eventarchive AS a
    WHERE a.dropped_at IS NOT NULL AND b.starting_at >= a.month AND b.starting_at < a.month + interval '1 month'
)"""

COMPARE = """
WITH recounted AS (
    SELECT subject_id, starting_at, groups, {from_events} FROM (
        SELECT e.subject_id, {starting_at} AS starting_at, {group} AS groups, {value} AS value, e.time, e.key
        FROM meters_event AS e WHERE {counted} AND {matches} OFFSET 0
    ) AS matched WHERE value IS NOT NULL GROUP BY 1, 2, 3
), stored AS (
    SELECT b.subject_id, b.starting_at, g.values AS groups, {names}
    FROM meters_{size}bucket AS b JOIN meters_groupvalues AS g ON g.id = b.group_id
    WHERE b.meter_id = {meter} AND {here}
)
SELECT (SELECT key FROM meters_subject WHERE id = subject_id), starting_at, groups, s::text, r::text
FROM recounted AS r FULL JOIN stored AS s USING (subject_id, starting_at, groups)
WHERE ({stored_measures}) IS DISTINCT FROM ({measures})
ORDER BY 1, 2, 3 LIMIT {limit}
"""
COMPARE_ALL = f"""
WITH recounted AS (
    SELECT e.subject_id, {DAY.format("e.time")} AS starting_at, count(*) AS events
    FROM meters_event AS e WHERE {COUNTED} GROUP BY 1, 2
), stored AS (
    SELECT subject_id, starting_at, events FROM meters_daybucket AS b WHERE meter_id = 0 AND {HERE}
)
SELECT (SELECT key FROM meters_subject WHERE id = subject_id), starting_at, ARRAY[]::text[], s.events, r.events
FROM recounted AS r FULL JOIN stored AS s USING (subject_id, starting_at)
WHERE s.events IS DISTINCT FROM r.events
ORDER BY 1, 2 LIMIT %(limit)s
"""  # noqa: S608

COMPARE_VALUES = """
WITH recounted AS (
    SELECT DISTINCT * FROM (
        SELECT e.subject_id, {starting_at} AS starting_at, {group} AS groups, {distinct} AS value
        FROM meters_event AS e WHERE {counted} AND {matches}
    ) AS matched WHERE value IS NOT NULL
), stored AS (
    SELECT b.subject_id, b.starting_at, g.values AS groups, b.value
    FROM meters_{size}value AS b JOIN meters_groupvalues AS g ON g.id = b.group_id
    WHERE b.meter_id = {meter} AND {here}
)
SELECT (SELECT key FROM meters_subject WHERE id = subject_id), starting_at, groups, s.value::text, r.value::text
FROM recounted AS r FULL JOIN stored AS s USING (subject_id, starting_at, groups, value)
WHERE r.value IS NULL OR s.value IS NULL
ORDER BY 1, 2, 3 LIMIT {limit}
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """A bucket that does not hold what the events say. None where there is no bucket, or no event."""

    meter: str
    size: str
    customer: str
    starting_at: datetime
    group: tuple[str | None, ...]
    stored: str | None
    recounted: str | None


def find_drift(meters: Iterable[Meter] | None = None, limit: int = 100) -> list[Drift]:
    """Buckets that differ from a recount of the events: none, ever. Reads every event once per meter and size."""
    built = Meter.objects.exclude(built_at=None).order_by("key") if meters is None else meters
    found = [_drift("every event", "day", row) for row in _rows(COMPARE_ALL, Parameters(limit=limit))]
    for meter in built:
        for size, starting_at in (("hour", HOUR), ("day", DAY)):
            compared = [_compare(meter, size, starting_at.format("e.time"), limit)]
            if meter.aggregation == Aggregation.UNIQUE_COUNT:
                compared.append(_compare_values(meter, size, starting_at.format("e.time"), limit))
            for statement, parameters in compared:
                found += [_drift(meter.key, size, row) for row in _rows(statement, parameters)]
    return found


def _compare(meter: Meter, size: str, starting_at: str, limit: int) -> tuple[str, Parameters]:
    parameters = Parameters()
    columns = COLUMNS[Aggregation(meter.aggregation)]
    statement = COMPARE.format(
        size=size,
        starting_at=starting_at,
        counted=COUNTED,
        here=HERE,
        group=group(meter.group_by, parameters),
        value=value(meter, parameters),
        matches=matches(meter, parameters),
        meter=parameters.add(meter.pk, "int"),
        limit=parameters.add(limit, "int"),
        names=", ".join(name for name, *_ in columns),
        from_events=", ".join(f"{first.format(value='value')} AS {name}" for name, first, _, _ in columns),
        measures=", ".join(f"r.{name}" for name, *_ in columns),
        stored_measures=", ".join(f"s.{name}" for name, *_ in columns),
    )
    return statement, parameters


def _compare_values(meter: Meter, size: str, starting_at: str, limit: int) -> tuple[str, Parameters]:
    parameters = Parameters()
    statement = COMPARE_VALUES.format(
        size=size,
        starting_at=starting_at,
        counted=COUNTED,
        here=HERE,
        group=group(meter.group_by, parameters),
        distinct=distinct(meter, parameters),
        matches=matches(meter, parameters),
        meter=parameters.add(meter.pk, "int"),
        limit=parameters.add(limit, "int"),
    )
    return statement, parameters


def _drift(meter: str, size: str, row: tuple[Any, ...]) -> Drift:
    customer, starting_at, groups, stored, recounted = row
    text = [None if each is None else str(each) for each in (stored, recounted)]
    return Drift(meter, size, customer, starting_at, tuple(groups), text[0], text[1])


def _rows(statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
