"""The text of the statement that reads usage, in parts (`meters.usage_statement` puts them together)."""

from meters.models import Aggregation

LAST = ("last_time", "last_key", "last_value")
BY_LAST = "(array_agg({} ORDER BY last_time DESC, last_key DESC))[1] AS {}"
LAST_OF_GROUP = ", ".join(BY_LAST.format(name, name) for name in LAST)
NO_LAST = "NULL::timestamptz AS last_time, NULL::uuid AS last_key, NULL::numeric AS last_value"
NO_MOMENT = "NULL::numeric AS moment"
# What an aggregation takes from its buckets beside the number of events. It is a third of the time to take it all.
MEASURED = {
    Aggregation.SUM: {"total": "sum(total)"},
    Aggregation.AVERAGE: {"total": "sum(total)"},
    Aggregation.MIN: {"smallest": "min(smallest)"},
    Aggregation.MAX: {"largest": "max(largest)"},
    Aggregation.TIME_WEIGHTED: {"total": "sum(total)", "moment": "sum(moment)"},
}

SHARED = """
WITH who AS MATERIALIZED (
    SELECT given.who, s.id AS subject_id
    FROM unnest({who}, {keys}) AS given (who, key) JOIN meters_subject AS s ON s.key = given.key {everybody}
){events}
SELECT {cursor_ask} AS ask, ARRAY[]::text[] AS groups, coalesce(max(xid), 0) AS events,
       coalesce(max(base_seq), -1)::numeric AS total, NULL::numeric AS smallest, NULL::numeric AS largest,
       {no_last}, NULL::numeric AS moment, 0::bigint AS different
FROM meters_rollupcursor
"""
LOOSE = """, {fresh} loose AS MATERIALIZED (
    SELECT found.* FROM (
        {sources}
    ) AS found,
    -- One row that the planner takes for a hundred. Without statistics it would take thousands of loose events for a
    -- handful, and join them by nested loops.
    unnest(ARRAY(SELECT 1)), unnest(ARRAY(SELECT 1)) AS again
)
"""
IN_EDGES = """
SELECT e.time, e.key, e.subject_id, e.event_type_id, e.properties, false AS is_tail
FROM meters_event AS e
WHERE {behind} AND ({edges}) AND (e.subject_id IN (SELECT subject_id FROM who)) IS TRUE
"""
FRESH = """
fresh AS MATERIALIZED (
    SELECT e.time, e.key, e.subject_id, e.event_type_id, e.properties
    FROM meters_event AS e
    WHERE {beyond} AND ({times}) AND (e.subject_id IN (SELECT subject_id FROM who)) IS TRUE
), {tail_tables},
"""
# By its key each one costs an index look, whatever the planner believes about the months.
FOUND = """
SELECT e.*, true AS is_tail
FROM unnest({times}::timestamptz[], {keys}::uuid[]) AS given (time, key)
CROSS JOIN LATERAL (
    SELECT e.time, e.key, e.subject_id, e.event_type_id, e.properties
    FROM meters_event AS e WHERE e.time = given.time AND e.key = given.key OFFSET 0
) AS e
"""
OF_TAIL = "SELECT e.*, true AS is_tail FROM fresh AS e WHERE {uncontested}"
EVERYBODY = "UNION ALL SELECT {who}, id FROM meters_subject"
# In the tail two events may share an identity, and no key table says yet which one is kept: the first to come.
TAIL_TABLES = """
doubled AS MATERIALIZED (
    SELECT o.key FROM meters_event AS o WHERE {beyond}{among} GROUP BY o.key HAVING count(*) > 1
), first_of_doubled AS MATERIALIZED (
    SELECT DISTINCT ON (o.key) o.key, o.time FROM meters_event AS o
    WHERE {beyond} AND (o.key IN (SELECT key FROM doubled)) IS TRUE ORDER BY o.key, o.xid, o.seq
)
"""
# Grouping every key of the tail would take longer than all the rest: only those that matter are looked for.
AMONG_FRESH = " AND EXISTS (SELECT FROM fresh) AND (o.key IN (SELECT key FROM fresh)) IS TRUE"
# Subqueries, not joins: they cost the same for each event whatever the planner believes about their number.
UNCONTESTED = """
coalesce((SELECT k.time FROM meters_eventkey AS k WHERE k.key = e.key), e.time) = e.time
AND (e.key NOT IN (SELECT key FROM doubled) OR (e.key, e.time) IN (SELECT key, time FROM first_of_doubled))
"""
CURSOR_ASK = -1

# Many ask the same of different customers: what they ask, such as the bounds of a period, is told once.
ASKED = """(
    SELECT given.ask, given.who, ({meters})[given.question] AS meter_id, ({tails})[given.question] AS is_tail,
           ({starts})[given.question] AS starting_at, ({ends})[given.question] AS ending_before
    FROM unnest({questions}, {asks}, {who}) AS given (question, ask, who)
) AS asked"""
BUCKETS = """
SELECT ask, {groups} AS groups, {measures} FROM ({by_group}) AS by_group
JOIN meters_groupvalues AS g ON g.id = by_group.group_id
WHERE {where}
GROUP BY 1, 2
"""
# The buckets of a customer lie side by side in the index: reading them there, for each in turn, takes half the time of
# a join that sorts all of them. Of everybody all buckets are read.
BY_GROUP = """
    SELECT asked.ask, found.*
    FROM {asked}
    JOIN who ON who.who = asked.who
    CROSS JOIN LATERAL (
        SELECT b.group_id, {measures} FROM meters_{size}bucket AS b
        WHERE b.meter_id = asked.meter_id AND b.subject_id = who.subject_id
            AND b.starting_at >= asked.starting_at AND b.starting_at < asked.ending_before
        GROUP BY b.group_id
    ) AS found
"""
# Where nobody asks for groups they need not be told apart.
OF_ALL_GROUPS = """
SELECT asked.ask, ARRAY[]::text[] AS groups, found.events, found.total, found.smallest, found.largest,
       {last}.last_time, {last}.last_key, {last}.last_value, found.moment, found.different
FROM {asked}
JOIN who ON who.who = asked.who
CROSS JOIN LATERAL (
    SELECT {measures} FROM meters_{size}bucket AS b
    WHERE b.meter_id = asked.meter_id AND b.subject_id = who.subject_id
        AND b.starting_at >= asked.starting_at AND b.starting_at < asked.ending_before
) AS found {latest} WHERE found.events > 0
"""
# The last of all groups is found in a third of the time by itself.
LATEST = """
CROSS JOIN LATERAL (
    SELECT b.last_time, b.last_key, b.last_value FROM meters_{size}bucket AS b
    WHERE b.meter_id = asked.meter_id AND b.subject_id = who.subject_id
        AND b.starting_at >= asked.starting_at AND b.starting_at < asked.ending_before
    ORDER BY b.last_time DESC, b.last_key DESC LIMIT 1
) AS latest
"""
BY_GROUP_OF_EVERYBODY = """
    SELECT asked.ask, b.group_id, {measures}
    FROM {asked}
    JOIN who ON who.who = asked.who
    JOIN meters_{size}bucket AS b ON b.meter_id = asked.meter_id AND b.subject_id = who.subject_id
        AND b.starting_at >= asked.starting_at AND b.starting_at < asked.ending_before
    GROUP BY asked.ask, b.group_id
"""
# Different values cannot be added up: one branch looks at all of them together.
DIFFERENT = """
SELECT ask, groups, 0::bigint AS events, NULL::numeric AS total, NULL::numeric AS smallest, NULL::numeric AS largest,
       {no_last}, NULL::numeric AS moment, count(DISTINCT value) AS different
FROM ({sources}) AS seen GROUP BY 1, 2
"""
STORED_VALUES = """
SELECT asked.ask, {groups} AS groups, b.value
FROM {asked}
JOIN who ON who.who = asked.who
JOIN meters_{size}value AS b ON b.meter_id = asked.meter_id AND b.subject_id = who.subject_id
    AND b.starting_at >= asked.starting_at AND b.starting_at < asked.ending_before
JOIN meters_groupvalues AS g ON g.id = b.group_id
WHERE {where}
"""
LOOSE_VALUES = """
SELECT ask, groups, value FROM (
    SELECT asked.ask, {groups} AS groups, {distinct} AS value
    FROM {asked}
    JOIN who ON who.who = asked.who
    JOIN loose AS e ON e.subject_id = who.subject_id AND e.is_tail = asked.is_tail
        AND e.time >= asked.starting_at AND e.time < asked.ending_before
    WHERE {matches}
) AS matched WHERE value IS NOT NULL
"""
EVENTS = """
SELECT ask, groups, {measures} FROM (
    SELECT asked.ask, {groups} AS groups, 1 AS events, {value} AS total, e.time AS last_time, e.key AS last_key
    FROM {asked}
    JOIN who ON who.who = asked.who
    JOIN loose AS e ON e.subject_id = who.subject_id AND e.is_tail = asked.is_tail
        AND e.time >= asked.starting_at AND e.time < asked.ending_before
    WHERE {matches}
    OFFSET 0
) AS matched WHERE total IS NOT NULL
GROUP BY 1, 2
"""
