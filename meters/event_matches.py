"""What each meter makes of single events: the value and group for which one counts, or why it does not."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from meters.aggregation import known_cursor
from meters.matching import Parameters, group, matches, value
from meters.models import Event, Meter

COUNTS = """
WITH {tail_tables}, asked AS MATERIALIZED (
    SELECT * FROM unnest({times}, {keys}) AS given (time, key)
)
SELECT e.time, e.key, (NOT ({beyond}) OR ({tail}))
FROM meters_event AS e WHERE e.time = ANY({times}) AND (e.time, e.key) IN (SELECT time, key FROM asked)
"""
MEASURED = """
SELECT e.time, e.key, {meter}, {value}::text, {groups}, {found}, ARRAY[{filters}]::boolean[]
FROM meters_event AS e WHERE e.time = ANY({times}) AND e.key = ANY({keys}) AND {of_type}
"""


@dataclass(frozen=True, slots=True)
class Match:
    """`reason` says why the event does not count; `value` and `group` are None then."""

    meter: str
    value: str | None
    group: dict[str, str | None] | None
    reason: str = ""

    @property
    def matched(self) -> bool:
        return not self.reason


Identity = tuple[datetime, uuid.UUID]


def events_that_count(events: Iterable[Event]) -> set[Identity]:
    """Those that are counted, or will be: an event the roller has not reached may share its identity with another."""
    parameters, known = Parameters(), known_cursor()
    times, keys = _columns(events, parameters)
    statement = COUNTS.format(
        tail_tables=known.tail_tables, beyond=known.beyond("e"), tail=known.tail, times=times, keys=keys
    )
    return {(time, key) for time, key, counts in _rows(statement, parameters) if counts}


def matches_of(events: Sequence[Event], meters: Iterable[Meter]) -> dict[Identity, list[Match]]:
    """For each event, the meters that count events of its type, by one statement."""
    parameters = Parameters()
    types = {event.event_type.name for event in events}
    asked = {meter.pk: meter for meter in meters if types & set(meter.event_types)}
    if not asked:
        return {}
    times, keys = _columns(events, parameters)
    statement = " UNION ALL ".join(_measured(meter, times, keys, parameters) for meter in asked.values())
    found: dict[Identity, list[Match]] = {}
    for time, key, meter, number, groups, property_text, passed in _rows(statement, parameters):
        match = _match(asked[meter], number, groups, property_text, passed)
        found.setdefault((time, key), []).append(match)
    return {identity: sorted(each, key=lambda match: match.meter) for identity, each in found.items()}


def _measured(meter: Meter, times: str, keys: str, parameters: Parameters) -> str:
    parts = [Meter(event_types=meter.event_types, filters=[one]) for one in meter.filters]
    text = f"({group([meter.value_property], parameters)})[1]" if meter.value_property else "NULL::text"
    return MEASURED.format(
        meter=parameters.add(meter.pk, "int"),
        value=value(meter, parameters),
        groups=group(meter.group_by, parameters),
        found=text,
        filters=", ".join(f"coalesce({matches(part, parameters)}, false)" for part in parts),
        of_type=matches(Meter(event_types=meter.event_types, filters=[]), parameters),
        times=times,
        keys=keys,
    )


def _match(
    meter: Meter, number: str | None, groups: Sequence[str | None], found: str | None, passed: Sequence[bool]
) -> Match:
    failed = [one for one, holds in zip(meter.filters, passed, strict=True) if not holds]
    if failed:
        return Match(meter.key, None, None, f"The condition does not hold: {_in_words(failed[0])}.")
    if number is None and meter.value_expression:
        return Match(meter.key, None, None, f"{meter.value_expression} has no value: a property in it is no number.")
    if number is None and meter.value_expression:
        return Match(meter.key, None, None, f"{meter.value_expression} is no number here.")
    if number is None and found is None:
        return Match(meter.key, None, None, f"It has no property {meter.value_property}.")
    if number is None:
        return Match(meter.key, None, None, f"Its {meter.value_property} is no number: {(found or '')[:100]}")
    return Match(meter.key, number, dict(zip(meter.group_by, groups, strict=True)))


def _in_words(one: dict[str, Any]) -> str:
    rules = [(name, wanted) for name, wanted in one.items() if name != "property"]
    return f"{one['property']} " + ", ".join(f"{name} {_listed(wanted)}" for name, wanted in rules)


def _listed(wanted: object) -> str:
    if isinstance(wanted, list):
        return ", ".join(map(str, wanted[:10]))
    return str(wanted).lower() if isinstance(wanted, bool) else str(wanted)


def _columns(events: Iterable[Event], parameters: Parameters) -> tuple[str, str]:
    listed = list(events)
    times = parameters.add([event.time for event in listed], "timestamptz[]")
    return times, parameters.add([event.key for event in listed], "uuid[]")


def _rows(statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
