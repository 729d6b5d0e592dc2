"""How a meter reads an event, in SQL over `meters_event AS e`. Whatever a definition says is passed as a parameter."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from meters.models import Meter
from meters.numbers import MAX_LENGTH, TEXT_PATTERN

COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Parameters(dict[str, Any]):
    """The named parameters of one statement."""

    def add(self, value: Any, cast: str) -> str:
        """The placeholder that stands for the value."""
        name = f"p{len(self)}"
        self[name] = value
        return f"%({name})s::{cast}"


def matches(meter: Meter, parameters: Parameters) -> str:
    """The condition under which an event counts, if its `value` is a number and not null."""
    types = parameters.add(list(meter.event_types), "text[]")
    conditions = [f"e.event_type_id IN (SELECT id FROM meters_eventtype WHERE name = ANY({types}))"]  # noqa: S608
    for one in meter.filters:
        conditions += _filter(one, parameters)
    return " AND ".join(conditions)


def value(meter: Meter, parameters: Parameters) -> str:
    """The number an event counts for: 1 where only events are counted."""
    return _number(meter.value_property, parameters) if meter.value_property else "1::numeric"


def group(keys: Sequence[str], parameters: Parameters) -> str:
    """The values of the group keys, null where the event has none."""
    return f"ARRAY[{', '.join(_text(key, parameters) for key in keys)}]::text[]"


def is_among(key: str, values: Sequence[str], parameters: Parameters) -> str:
    """The condition that a property is one of these texts."""
    return f"{_text(key, parameters)} = ANY({parameters.add(list(values), 'text[]')})"


def _filter(one: Mapping[str, Any], parameters: Parameters) -> Iterable[str]:
    text = _text(one["property"], parameters)
    for rule, wanted in one.items():
        if rule == "exists":
            yield f"{text} IS {'NOT ' if wanted else ''}NULL"
        elif rule == "in":
            yield is_among(one["property"], wanted, parameters)
        elif rule == "not_in":
            yield f"({text} = ANY({parameters.add(list(wanted), 'text[]')})) IS NOT TRUE"
        elif rule in COMPARISONS:
            bound = parameters.add(str(wanted), "numeric")
            yield f"{_number(one['property'], parameters)} {COMPARISONS[rule]} {bound}"


def _text(path: str, parameters: Parameters) -> str:
    """A property as text; null where it is missing or JSON's null."""
    steps = path.split(".")
    if len(steps) == 1:
        return f"(e.properties ->> {parameters.add(path, 'text')})"
    return f"(e.properties #>> {parameters.add(steps, 'text[]')})"


def _number(path: str, parameters: Parameters) -> str:
    """A property as a number, as `meters.numbers` reads it; null for anything else: no value may stop the roller."""
    text = _text(path, parameters)
    found = text.replace("->>", "->").replace("#>>", "#>")
    pattern = parameters.add(f"^({TEXT_PATTERN})$", "text")
    return (
        f"CASE jsonb_typeof({found}) WHEN 'number' THEN {found}::numeric WHEN 'string' THEN"
        f" CASE WHEN length({text}) <= {MAX_LENGTH} AND {text} ~ {pattern} THEN {text}::numeric END END"
    )
