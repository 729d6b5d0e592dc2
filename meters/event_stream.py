"""The single events of a request, oldest first, one after the other: however many, they are never all in memory."""

from collections.abc import Iterator

from django.db import connection

from meters.aggregation import known_cursor
from meters.events_behind import MeasuredEvent
from meters.matching import Parameters, group, is_among, matches, value
from meters.usage_statement import UsageRequest

CHUNK = 2000
STATEMENT = """
SELECT time, customer, type, value::numeric, groups, key FROM (
    SELECT e.time, s.key AS customer, t.name AS type, {value} AS value, {groups} AS groups, e.key
    FROM meters_event AS e
    JOIN meters_subject AS s ON s.id = e.subject_id JOIN meters_eventtype AS t ON t.id = e.event_type_id
    WHERE s.key = ANY({keys}) AND e.time >= {start} AND e.time < {end} AND {matches}
    AND ({behind} OR NOT EXISTS (SELECT FROM meters_eventkey AS k WHERE k.key = e.key AND k.time <> e.time))
) AS matched WHERE value IS NOT NULL AND groups = {group} ORDER BY time, key
"""


def events_in_order(request: UsageRequest, group_values: tuple[str | None, ...]) -> Iterator[MeasuredEvent]:
    """The events that count for one set of group values; without their properties.

    Expects that nothing of the request is archived: see `archived.check_reach`.
    """
    parameters, known = Parameters(), known_cursor()
    conditions = [matches(request.meter, parameters)]
    conditions += [is_among(key, values, parameters) for key, values in request.where]
    statement = STATEMENT.format(
        value=value(request.meter, parameters),
        groups=group(request.group_by, parameters),
        keys=parameters.add(list(request.customer_keys or ()), "text[]"),
        start=parameters.add(request.period.starting_at, "timestamptz"),
        end=parameters.add(request.period.ending_before, "timestamptz"),
        matches=" AND ".join(conditions),
        behind=f"NOT ({known.beyond('e')})",
        group=parameters.add(list(group_values), "text[]"),
    )
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement, parameters)
        while rows := cursor.fetchmany(CHUNK):
            for time, customer, kind, number, groups, key in rows:
                yield MeasuredEvent(time, customer, kind, number, tuple(groups), "", key)
