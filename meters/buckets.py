"""Writing hour and day buckets, over any set of events not yet counted in them.

Events are added up once, to cells: one row for each meter, customer key, hour and group. Meters that look at the same
events and split them alike are added up together. All cells are then added to the hour buckets at once, and, added up
once more, to the day buckets. Cells lie in a temporary table: only the holder of the cursor writes buckets, so what is
not updated there can be inserted without another look.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from django.db import connection

from meters.matching import DIGEST, Parameters, distinct, group, matches, value
from meters.models import Aggregation, Meter

HOUR = "date_bin('1 hour', {}, '1970-01-01 00:00:00+00')"
DAY = "date_bin('1 day', {}, '1970-01-01 00:00:00+00')"
LATEST_EVENT = "(array_agg({} ORDER BY time DESC, key DESC) FILTER (WHERE {{value}} IS NOT NULL))[1]"
LATEST_HOUR = "(array_agg({} ORDER BY last_time DESC, last_key DESC))[1]"

# Per column: how it is aggregated from events, from hours, and how a bucket takes up more of it.
EVENTS = ("events", "count({value})", "sum(events)", "b.events + c.events")
TOTAL = ("total", "sum({value})", "sum(total)", "b.total + c.total")
SMALLEST = ("smallest", "min({value})", "min(smallest)", "least(b.smallest, c.smallest)")
LARGEST = ("largest", "max({value})", "max(largest)", "greatest(b.largest, c.largest)")
MOMENT = ("moment", "sum({value} * extract(epoch FROM time))", "sum(moment)", "b.moment + c.moment")
NEWER = "CASE WHEN (c.last_time, c.last_key) > (b.last_time, b.last_key) THEN c.{0} ELSE b.{0} END"
LAST = [
    (
        f"last_{name}",
        LATEST_EVENT.format(of_event),
        LATEST_HOUR.format(f"last_{name}"),
        NEWER.format(f"last_{name}"),
    )
    for name, of_event in (("value", "{value}"), ("time", "time"), ("key", "key"))
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

NULLS = {"last_value": "NULL::numeric", "last_time": "NULL::timestamptz", "last_key": "NULL::uuid"}
MEASURES = {name: column for columns in COLUMNS.values() for name, *column in columns}
NAMES = ", ".join(MEASURES)

MAKE_CELLS = """
CREATE TEMPORARY TABLE IF NOT EXISTS rolled_cells (
    starting_at timestamptz, events bigint, last_time timestamptz, meter_id int, subject_id int, group_id int,
    last_key uuid, total numeric, smallest numeric, largest numeric, moment numeric, last_value numeric
) ON COMMIT DELETE ROWS
"""
CLEAR_CELLS = "DELETE FROM rolled_cells"
CELLS = """
WITH matched AS (
    SELECT e.subject_id, {hour} AS starting_at, {group} AS groups, {values}, e.time, e.key
    FROM meters_event AS e
    WHERE {chosen} AND {matches}
    OFFSET 0 -- keeps the value from being computed once per aggregate
), cells AS MATERIALIZED (
    SELECT subject_id, starting_at, groups, {measures}
    FROM matched WHERE coalesce({value_names}) IS NOT NULL GROUP BY subject_id, starting_at, groups
), digests AS MATERIALIZED (
    SELECT groups, digest, (SELECT id FROM meters_groupvalues AS g WHERE g.digest = found.digest) AS id
    FROM (
        SELECT groups, {digest} AS digest
        FROM cells GROUP BY groups OFFSET 0
    ) AS found
), fresh AS (
    INSERT INTO meters_groupvalues (values, digest) SELECT groups, digest FROM digests WHERE id IS NULL
    RETURNING id, digest
)
INSERT INTO rolled_cells (meter_id, subject_id, starting_at, group_id, {names})
SELECT one.meter_id, subject_id, starting_at, coalesce(d.id, fresh.id), {of_one}
FROM cells JOIN digests AS d USING (groups) LEFT JOIN fresh USING (digest)
CROSS JOIN LATERAL (VALUES {meters}) AS one (meter_id, {names})
WHERE one.events > 0 ORDER BY 1, 2, 3, 4
"""
# Meter 0 counts every event of a customer key, by day: unclaimed usage is found there.
COUNT_ALL = f"""
INSERT INTO rolled_cells (meter_id, subject_id, starting_at, group_id, events)
SELECT 0, e.subject_id, {DAY.format("e.time")}, 0, count(*)
FROM meters_event AS e WHERE {{chosen}} GROUP BY 2, 3 ORDER BY 2, 3
RETURNING subject_id, starting_at
"""  # noqa: S608
HOURS = "SELECT * FROM rolled_cells WHERE meter_id > 0"
# One hour of each day, as in most passes: hours need not be added up to days.
HOURS_AS_DAYS = f"""
SELECT meter_id, subject_id, {DAY.format("starting_at")} AS starting_at, group_id, {NAMES} FROM rolled_cells
"""  # noqa: S608
ONE_HOUR_A_DAY = f"""
SELECT count(*) = count(DISTINCT {DAY.format("starting_at")})
FROM (SELECT starting_at FROM rolled_cells WHERE meter_id > 0 GROUP BY 1) AS hours
"""  # noqa: S608
# To find the last of many takes sorting them, which only the cells of meters that ask for it are worth.
LASTLESS = [later if not name.startswith("last_") else NULLS[name] for name, (_, later, _) in MEASURES.items()]
DAYS = f"""
SELECT meter_id, subject_id, {DAY.format("starting_at")} AS starting_at, group_id,
       {", ".join(f"{measure} AS {name}" for name, measure in zip(MEASURES, LASTLESS, strict=True))}
FROM rolled_cells WHERE last_time IS NULL GROUP BY 1, 2, 3, 4
UNION ALL
SELECT meter_id, subject_id, {DAY.format("starting_at")} AS starting_at, group_id,
       {", ".join(f"{later} AS {name}" for name, (_, later, _) in MEASURES.items())}
FROM rolled_cells WHERE last_time IS NOT NULL GROUP BY 1, 2, 3, 4
"""  # noqa: S608
SAME = """
(b.meter_id, b.subject_id, b.starting_at, b.group_id) = (c.meter_id, c.subject_id, c.starting_at, c.group_id)
"""
# Two steps, not ON CONFLICT: that locks each row before it updates it, and takes twice as long.
UPDATE = f"""
UPDATE meters_{{size}}bucket AS b SET {", ".join(f"{name} = {more}" for name, (_, _, more) in MEASURES.items())}
FROM ({{cells}}) AS c WHERE {SAME}
"""  # noqa: S608
INSERT = f"""
INSERT INTO meters_{{size}}bucket (meter_id, subject_id, starting_at, group_id, {NAMES})
SELECT meter_id, subject_id, starting_at, group_id, {NAMES} FROM ({{cells}}) AS c
WHERE NOT EXISTS (SELECT FROM meters_{{size}}bucket AS b WHERE {SAME}) ORDER BY 1, 2, 3, 4
"""  # noqa: S608
# One step where hardly any bucket is there yet: it is looked for once.
INSERT_OR_UPDATE = f"""
INSERT INTO meters_{{size}}bucket AS b (meter_id, subject_id, starting_at, group_id, {NAMES})
SELECT meter_id, subject_id, starting_at, group_id, {NAMES} FROM ({{cells}}) AS c ORDER BY 1, 2, 3, 4
ON CONFLICT (meter_id, subject_id, starting_at, group_id)
DO UPDATE SET {", ".join(f"{name} = {more.replace('c.', 'excluded.')}" for name, (_, _, more) in MEASURES.items())}
"""  # noqa: S608
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
# The planner knows nothing of the rows on their way: it would compare every cell with every group, sort all events to
# group them, and read all buckets to find some.
PLANS = {
    "counting": {"enable_nestloop": "off", "enable_sort": "off"},
    "adding": {"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off"},
}


def add_to_buckets(
    meters: Iterable[Meter], chosen: str, parameters: Parameters, *, all_events: bool = False, mostly_new: bool = False
) -> set[tuple[int, datetime]]:
    """Count the chosen events (a condition on `e`) in the meters' buckets. Only for the holder of the cursor.

    With `all_events` in meter 0 as well: returns customer keys (their ids) and UTC days of all of them. `mostly_new`:
    hardly any of these buckets is there yet.
    """
    touched: set[tuple[int, datetime]] = set()
    with connection.cursor() as cursor:
        cursor.execute(MAKE_CELLS)
        cursor.execute(CLEAR_CELLS)
        with _planned("counting"):
            if all_events:
                cursor.execute(COUNT_ALL.format(chosen=chosen), parameters)
                touched = set(cursor.fetchall())
            for alike in _counted_together(meters):
                _count_cells(alike, chosen, Parameters(parameters))
        with _planned("adding"):
            cursor.execute(ONE_HOUR_A_DAY)
            (one_hour,) = cursor.fetchone()
            for size, cells in (("hour", HOURS), ("day", HOURS_AS_DAYS if one_hour else DAYS)):
                if mostly_new:
                    cursor.execute(INSERT_OR_UPDATE.format(size=size, cells=cells))
                else:
                    _add_cells(size, cells)
    return touched


def _counted_together(meters: Iterable[Meter]) -> Iterable[Sequence[Meter]]:
    """Meters that look at the same events and split them alike. To find the last of many takes sorting them, which the
    others are spared.
    """
    found: dict[tuple[object, ...], list[Meter]] = defaultdict(list)
    for meter in meters:
        sorts = meter.aggregation == Aggregation.LATEST
        found[tuple(meter.event_types), json.dumps(meter.filters), tuple(meter.group_by), sorts].append(meter)
    return found.values()


def _count_cells(meters: Sequence[Meter], chosen: str, parameters: Parameters) -> None:
    """Of meters that are counted together."""
    columns = {meter.pk: COLUMNS[Aggregation(meter.aggregation)] for meter in meters}
    taken = {name for each in columns.values() for name, *_ in each}
    names = [name for name in MEASURES if name in taken]
    values: dict[tuple[str, ...], str] = {}
    of_events: dict[str, str] = {}
    rows = []
    for meter in meters:
        what = (meter.value_property, meter.value_expression, str(meter.aggregation == Aggregation.UNIQUE_COUNT))
        if what not in values:
            values[what] = f"{value(meter, parameters)} AS value_{len(values)}"
        number = list(values).index(what)
        own = {name: f"{name}_{number}" for name, *_ in columns[meter.pk]}
        of_events |= {own[name]: first.format(value=f"value_{number}") for name, first, *_ in columns[meter.pk]}
        rows.append(", ".join([parameters.add(meter.pk, "int"), *(own.get(name, "NULL") for name in names)]))
    statement = CELLS.format(
        digest=GROUP_DIGEST,
        hour=HOUR.format("e.time"),
        group=group(meters[0].group_by, parameters),
        values=", ".join(values.values()),
        value_names=", ".join(f"value_{number}" for number in range(len(values))),
        chosen=chosen,
        matches=matches(meters[0], parameters),
        measures=", ".join(f"{measure} AS {name}" for name, measure in of_events.items()),
        meters=", ".join(f"({row})" for row in rows),
        names=", ".join(names),
        of_one=", ".join(f"one.{name}" for name in names),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
    for meter in meters:
        if meter.aggregation == Aggregation.UNIQUE_COUNT:
            _add_values(meter, chosen, parameters)


def _add_cells(size: str, cells: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(UPDATE.format(size=size, cells=cells))
        updated = cursor.rowcount
        cursor.execute(f"SELECT count(*) FROM ({cells}) AS c")  # noqa: S608
        if cursor.fetchone()[0] > updated:
            cursor.execute(INSERT.format(size=size, cells=cells))


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


@contextmanager
def _planned(kind: str) -> Iterator[None]:
    """Sets what the planner may choose from, to the end of the block."""
    with connection.cursor() as cursor:
        for name, setting in PLANS[kind].items():
            cursor.execute("SELECT set_config(%s, %s, true)", [name, setting])
        yield
        for name in PLANS[kind]:
            cursor.execute("SELECT set_config(%s, 'on', true)", [name])
