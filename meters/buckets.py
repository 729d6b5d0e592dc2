"""Writing hour and day buckets: one statement per meter, over any set of events not yet counted in them."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from meters.matching import DIGEST, Parameters, distinct, group, matches, value
from meters.models import Aggregation, Meter

HOUR = "date_bin('1 hour', {}, '1970-01-01 00:00:00+00')"
DAY = "date_bin('1 day', {}, '1970-01-01 00:00:00+00')"
LATEST = "(array_agg({} ORDER BY {} DESC))[1]"

# Per column: how it is aggregated from events, from hours, and how a bucket takes up more of it.
EVENTS = ("events", "count(*)", "sum(events)", "b.events + excluded.events")
TOTAL = ("total", "sum(value)", "sum(total)", "b.total + excluded.total")
SMALLEST = ("smallest", "min(value)", "min(smallest)", "least(b.smallest, excluded.smallest)")
LARGEST = ("largest", "max(value)", "max(largest)", "greatest(b.largest, excluded.largest)")
MOMENT = ("moment", "sum(value * extract(epoch FROM time))", "sum(moment)", "b.moment + excluded.moment")
NEWER = "CASE WHEN (excluded.last_time, excluded.last_key) > (b.last_time, b.last_key) THEN excluded.{0} ELSE b.{0} END"
LAST = [
    (
        f"last_{name}",
        LATEST.format(name, "time DESC, key"),
        LATEST.format(f"last_{name}", "last_time DESC, last_key"),
        NEWER.format(f"last_{name}"),
    )
    for name in ("value", "time", "key")
]
COLUMNS = {
    Aggregation.COUNT: [EVENTS],
    Aggregation.SUM: [EVENTS, TOTAL],
    Aggregation.AVERAGE: [EVENTS, TOTAL],
    Aggregation.MIN: [EVENTS, SMALLEST],
    Aggregation.MAX: [EVENTS, LARGEST],
    Aggregation.LATEST: [EVENTS, *LAST],
    Aggregation.UNIQUE_COUNT: [EVENTS],
    Aggregation.TIME_WEIGHTED: [EVENTS, TOTAL, MOMENT],
}

STATEMENT = """
WITH matched AS (
    SELECT e.subject_id, {hour} AS starting_at, {group} AS groups, {value} AS value, e.time, e.key
    FROM meters_event AS e
    WHERE {chosen} AND {matches}
    OFFSET 0 -- keeps the value from being computed once per aggregate
), cells AS MATERIALIZED (
    SELECT subject_id, starting_at, groups, {from_events}
    FROM matched WHERE value IS NOT NULL GROUP BY subject_id, starting_at, groups
), digests AS MATERIALIZED (
    SELECT groups, digest, (SELECT id FROM meters_groupvalues AS g WHERE g.digest = found.digest) AS id
    FROM (
        SELECT groups, {digest} AS digest
        FROM cells GROUP BY groups OFFSET 0
    ) AS found
), fresh AS (
    INSERT INTO meters_groupvalues (values, digest) SELECT groups, digest FROM digests WHERE id IS NULL
    RETURNING id, digest
), numbered AS MATERIALIZED (
    SELECT coalesce(d.id, fresh.id) AS group_id, cells.*
    FROM cells JOIN digests AS d USING (groups) LEFT JOIN fresh USING (digest)
), hours AS (
    INSERT INTO meters_hourbucket AS b (meter_id, subject_id, starting_at, group_id, {names})
    SELECT {meter}, subject_id, starting_at, group_id, {names}
    FROM numbered ORDER BY subject_id, starting_at, group_id
    ON CONFLICT (meter_id, subject_id, starting_at, group_id) DO UPDATE SET {update}
)
INSERT INTO meters_daybucket AS b (meter_id, subject_id, starting_at, group_id, {names})
SELECT {meter}, subject_id, {day}, group_id, {from_hours}
FROM numbered GROUP BY 2, 3, 4 ORDER BY 2, 3, 4
ON CONFLICT (meter_id, subject_id, starting_at, group_id) DO UPDATE SET {update}
"""
# After the buckets, which number the groups.
VALUES = """
WITH seen AS MATERIALIZED (
    SELECT subject_id, starting_at, {digest} AS digest, value FROM (
        SELECT DISTINCT e.subject_id, {hour} AS starting_at, {group} AS groups, {distinct} AS value
        FROM meters_event AS e WHERE {chosen} AND {matches}
    ) AS matched WHERE value IS NOT NULL
), numbered AS MATERIALIZED (
    SELECT seen.subject_id, seen.starting_at, g.id AS group_id, seen.value
    FROM seen JOIN meters_groupvalues AS g USING (digest)
), hours AS (
    INSERT INTO meters_hourvalue (meter_id, subject_id, starting_at, group_id, value)
    SELECT {meter}, subject_id, starting_at, group_id, value FROM numbered ORDER BY 2, 3, 4, 5
    ON CONFLICT DO NOTHING
)
INSERT INTO meters_dayvalue (meter_id, subject_id, starting_at, group_id, value)
SELECT DISTINCT {meter}, subject_id, {day}, group_id, value FROM numbered ORDER BY 2, 3, 4, 5
ON CONFLICT DO NOTHING
"""
GROUP_DIGEST = DIGEST.format("array_to_json(groups)::text")
# The planner knows nothing of the rows on their way: it would compare every cell with every group, and sort all events
# to group them.
PLAIN = "SELECT set_config('enable_nestloop', 'off', true), set_config('enable_sort', 'off', true)"
USUAL = "SELECT set_config('enable_nestloop', 'on', true), set_config('enable_sort', 'on', true)"


@contextmanager
def plain_plans() -> Iterator[None]:
    """Around `add_to_buckets`, in its transaction."""
    with connection.cursor() as cursor:
        cursor.execute(PLAIN)
        yield
        cursor.execute(USUAL)


def add_to_buckets(meter: Meter, chosen: str, parameters: Parameters) -> None:
    """Count the chosen events (a condition on `e`) in the meter's buckets. Only for the holder of the cursor."""
    columns = COLUMNS[Aggregation(meter.aggregation)]
    statement = STATEMENT.format(
        digest=GROUP_DIGEST,
        hour=HOUR.format("e.time"),
        day=DAY.format("starting_at"),
        group=group(meter.group_by, parameters),
        value=value(meter, parameters),
        chosen=chosen,
        matches=matches(meter, parameters),
        meter=parameters.add(meter.pk, "int"),
        names=", ".join(name for name, *_ in columns),
        from_events=", ".join(f"{first} AS {name}" for name, first, _, _ in columns),
        from_hours=", ".join(later for _, _, later, _ in columns),
        update=", ".join(f"{name} = {more}" for name, _, _, more in columns),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
    if meter.aggregation == Aggregation.UNIQUE_COUNT:
        _add_values(meter, chosen, parameters)


def _add_values(meter: Meter, chosen: str, parameters: Parameters) -> None:
    statement = VALUES.format(
        digest=GROUP_DIGEST,
        hour=HOUR.format("e.time"),
        day=DAY.format("starting_at"),
        group=group(meter.group_by, parameters),
        distinct=distinct(meter, parameters),
        chosen=chosen,
        matches=matches(meter, parameters),
        meter=parameters.add(meter.pk, "int"),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
