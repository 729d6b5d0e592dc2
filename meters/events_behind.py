"""The single events behind a quantity, newest first: for people who ask where a number comes from."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from meters.activity import days_with_events
from meters.aggregation import known_cursor
from meters.matching import Parameters, group, is_among, matches, value
from meters.usage_statement import UsageRequest

STATEMENT = """
WITH {tail_tables}
SELECT time, customer, type, value::numeric, groups, properties, key FROM (
    SELECT e.time, s.key AS customer, t.name AS type, {value} AS value, {groups} AS groups,
           e.properties::text AS properties, e.key
    FROM meters_event AS e
    JOIN meters_subject AS s ON s.id = e.subject_id JOIN meters_eventtype AS t ON t.id = e.event_type_id
    WHERE e.time >= {start} AND e.time < {end} AND {matches} AND (NOT ({beyond}) OR ({tail}))
) AS matched WHERE value IS NOT NULL AND ({group}::text[] IS NULL OR groups = {group})
ORDER BY time DESC, key DESC LIMIT {limit}
"""


@dataclass(frozen=True, slots=True)
class MeasuredEvent:
    """An event that counts, with the value and the group the meter reads; `properties` as JSON to the digit."""

    time: datetime
    customer: str
    type: str
    value: Decimal
    group: tuple[str | None, ...]
    properties: str
    key: uuid.UUID


def events_behind(
    request: UsageRequest, group_values: tuple[str | None, ...] | None = None, limit: int = 100
) -> list[MeasuredEvent]:
    """The newest events of a request, of one set of group values if they are given.

    Only days on which the customer sent anything are read.
    """
    start, end = request.period.starting_at, request.period.ending_before
    parameters, known = Parameters(), known_cursor()
    conditions = [matches(request.meter, parameters)]
    conditions += [is_among(key, values, parameters) for key, values in request.where]
    if request.customer_keys is not None:
        conditions.append(f"s.key = ANY({parameters.add(list(request.customer_keys), 'text[]')})")
        days = days_with_events(request.customer_keys, limit, since=start, until=end)
        if not days:
            return []
        conditions.append(f"e.time < {parameters.add(days[-1][1], 'timestamptz')}")
    statement = STATEMENT.format(
        tail_tables=known.tail_tables,
        beyond=known.beyond("e"),
        tail=known.tail,
        value=value(request.meter, parameters),
        groups=group(request.group_by, parameters),
        start=parameters.add(start, "timestamptz"),
        end=parameters.add(end, "timestamptz"),
        matches=" AND ".join(conditions),
        group=parameters.add(None if group_values is None else list(group_values), "text[]"),
        limit=parameters.add(limit, "int"),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [
            MeasuredEvent(time, customer, kind, number, tuple(groups), properties, key)
            for time, customer, kind, number, groups, properties, key in cursor.fetchall()
        ]
