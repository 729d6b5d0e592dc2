"""How a meter reads an event, in SQL over `meters_event AS e`. Whatever a definition says is passed as a parameter."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from meters.expressions import (
    QUOTIENT_PLACES,
    RESULT_BELOW,
    RESULT_PLACES,
    Expression,
    Number,
    Property,
    parse,
)
from meters.models import Meter
from meters.numbers import MAX_LENGTH, TEXT_PATTERN

COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
PLAIN_ARRAYS = {"int[]", "boolean[]", "timestamptz[]"}
DIGEST = "encode(substring(sha256(convert_to({}, 'UTF8')) FOR 16), 'hex')::uuid"

# Subqueries, so that what is used twice is computed once. OFFSET 0 keeps the planner from putting it in twice.
RESULT = """(
    SELECT CASE WHEN abs(r.found) < {below} THEN trim_scale(round(r.found, {places})) END
    FROM (SELECT {expression} AS found OFFSET 0) AS r
)"""
QUOTIENT = """(
    SELECT CASE WHEN q.below <> 0 THEN trim_scale(
        sign(q.above) * sign(q.below) * div(abs(q.above) * 2 * {unit} + abs(q.below), 2 * abs(q.below)) * {tiny}
    ) END
    FROM (SELECT {above} AS above, {below} AS below OFFSET 0) AS q
)"""


class Parameters(dict[str, Any]):
    """The named parameters of one statement."""

    def add(self, value: Any, cast: str) -> str:
        """The placeholder that stands for the value."""
        name = f"p{len(self)}"
        # psycopg looks at every element of a list for itself; here there are thousands.
        self[name] = f"{{{','.join(map(str, value))}}}" if cast in PLAIN_ARRAYS else value
        return f"%({name})s::{cast}"


def matches(meter: Meter, parameters: Parameters) -> str:
    """The condition under which an event counts, if its `value` is a number and not null."""
    types = parameters.add(list(meter.event_types), "text[]")
    # An array is looked up once; a join would be made for each event.
    conditions = [f"e.event_type_id = ANY(ARRAY(SELECT id FROM meters_eventtype WHERE name = ANY({types})))"]  # noqa: S608
    for one in meter.filters:
        conditions += _filter(one, parameters)
    return " AND ".join(conditions)


def value(meter: Meter, parameters: Parameters) -> str:
    """The number an event counts for: 1 where only events are counted."""
    if meter.value_expression:
        return _result(parse(meter.value_expression), parameters)
    if meter.aggregation == "unique_count":
        # Whatever it is, it counts once more or not; how often is up to those who read `distinct`.
        return f"CASE WHEN {_text(meter.value_property, parameters)} IS NOT NULL THEN 1::numeric END"
    return _number(meter.value_property, parameters) if meter.value_property else "1::numeric"


def distinct(meter: Meter, parameters: Parameters) -> str:
    """What a unique count tells apart: 16 bytes for the text of the property, null where the event has none."""
    return DIGEST.format(_text(meter.value_property, parameters))


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
    return _as_text(_ways(path, parameters))


def _as_text(ways: Sequence[tuple[str, str]]) -> str:
    return _first([f"(e.properties {arrow}> {place})" for arrow, place in ways])


def _as_json(ways: Sequence[tuple[str, str]]) -> str:
    """JSON's null is no property where there are other ways to it."""
    found = [f"(e.properties {arrow} {place})" for arrow, place in ways]
    return found[0] if len(found) == 1 else _first([f"nullif({each}, 'null')" for each in found])


def _first(found: Sequence[str]) -> str:
    return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


def _ways(path: str, parameters: Parameters) -> list[tuple[str, str]]:
    """The places a path may mean, each with the operator that goes there. `a.b.c` is c in b in a; failing that, what
    follows some dot is one key with dots in it, as flattened objects and labels have them: `b.c` in a, or `a.b.c`.
    """
    steps = path.split(".")
    splits = [[*steps[:at], ".".join(steps[at:])] for at in range(len(steps) - 1, -1, -1)]
    return [
        ("#>", parameters.add(split, "text[]")) if len(split) > 1 else ("->", parameters.add(split[0], "text"))
        for split in splits
    ]


def _number(path: str, parameters: Parameters) -> str:
    """A property as a number, as `meters.numbers` reads it; null for anything else: no value may stop the roller."""
    ways = _ways(path, parameters)
    text, found = _as_text(ways), _as_json(ways)
    pattern = parameters.add(f"^({TEXT_PATTERN})$", "text")
    return (
        f"CASE jsonb_typeof({found}) WHEN 'number' THEN {found}::numeric WHEN 'string' THEN"
        f" CASE WHEN length({text}) <= {MAX_LENGTH} AND {text} ~ {pattern} THEN {text}::numeric END END"
    )


def _result(expression: Expression, parameters: Parameters) -> str:
    """As `meters.expressions.evaluate`."""
    return RESULT.format(
        expression=_arithmetic(expression, parameters),
        below=parameters.add(RESULT_BELOW, "numeric"),
        places=RESULT_PLACES,
    )


def _arithmetic(expression: Expression, parameters: Parameters) -> str:
    if isinstance(expression, Number):
        return parameters.add(expression.value, "numeric")
    if isinstance(expression, Property):
        number, text = _number(expression.path, parameters), _text(expression.path, parameters)
        return f"(CASE WHEN {text} IS NULL THEN 0 ELSE {number} END)"
    left, right = _arithmetic(expression.left, parameters), _arithmetic(expression.right, parameters)
    if expression.sign == "/":
        unit = Decimal(10) ** QUOTIENT_PLACES
        # Multiplied in the end, not divided: numeric multiplies exactly.
        tiny = parameters.add(Decimal(1).scaleb(-QUOTIENT_PLACES), "numeric")
        return QUOTIENT.format(above=left, below=right, unit=parameters.add(unit, "numeric"), tiny=tiny)
    return f"({left} {expression.sign} {right})"
