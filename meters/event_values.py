"""The values of single events, for prices that look at each of them."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from django.db import connection

from meters.aggregation import known_cursor
from meters.archived import check_reach
from meters.matching import Parameters, group, is_among, matches, value
from meters.usage_statement import UsageRequest

STATEMENT = """
SELECT {groups}, {value} AS value
FROM meters_event AS e JOIN meters_subject AS s ON s.id = e.subject_id
WHERE s.key = ANY({keys}) AND e.time >= {start} AND e.time < {end} AND {matches}
AND ({behind} OR NOT EXISTS (SELECT FROM meters_eventkey AS k WHERE k.key = e.key AND k.time <> e.time))
ORDER BY e.time, e.key
"""


def event_values(requests: Sequence[UsageRequest]) -> dict[tuple[int, tuple[str | None, ...]], tuple[Decimal, ...]]:
    """The value of every event that counts, in order of time, by request and group values.

    One query for each request: only prices with a part for each event need it.
    """
    found: dict[tuple[int, tuple[str | None, ...]], list[Decimal]] = defaultdict(list)
    for request in requests:
        parameters, known = Parameters(), known_cursor()
        if known.has_archives:
            check_reach([request], every_event=True)
        among = [is_among(key, values, parameters) for key, values in request.where]
        statement = STATEMENT.format(
            groups=group(request.group_by, parameters),
            value=value(request.meter, parameters),
            keys=parameters.add(list(request.customer_keys or ()), "text[]"),
            start=parameters.add(request.period.starting_at, "timestamptz"),
            end=parameters.add(request.period.ending_before, "timestamptz"),
            matches=" AND ".join([matches(request.meter, parameters), *among]),
            behind=f"NOT ({known.beyond('e')})",
        )
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            for groups, number in cursor.fetchall():
                if number is not None:
                    found[request.key, tuple(groups)].append(number)
    return {place: tuple(values) for place, values in found.items()}
