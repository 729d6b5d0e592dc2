"""Usage computed in the plainest Python, event by event: what the database must agree with."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Any

from meters.expressions import evaluate, parse
from meters.models import Meter
from meters.periods import Period

Sent = Mapping[str, Any]
Found = tuple[datetime, int, Any]
Usage = dict[tuple[str | None, ...], tuple[Decimal, int]]
NUMERIC = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def usage(meter: Meter, sent: Iterable[Sent], customers: Sequence[str], period: Period) -> Usage:
    """Quantity and events by group. The first event of an identity counts; of two at one instant the last is latest."""
    seen: set[tuple[str, str]] = set()
    groups: dict[tuple[str | None, ...], list[Found]] = {}
    levels: dict[tuple[str | None, ...], Decimal] = {}
    for place, event in enumerate(sent):
        identity = (event.get("source", ""), event["id"])
        if identity in seen:
            continue
        seen.add(identity)
        found = value(meter, event)
        if event["customer"] not in customers or not counts(meter, event) or found is None:
            continue
        group = tuple(text(event["properties"], key) for key in meter.group_by)
        if event["time"] in period:
            groups.setdefault(group, []).append((event["time"], place, found))
        elif event["time"] < period.starting_at and isinstance(found, Decimal):
            levels[group] = exact().add(levels.get(group, Decimal()), found)
    if meter.aggregation != "time_weighted":
        return {group: (aggregate(meter.aggregation, each), len(each)) for group, each in groups.items()}
    return {
        group: (weighted(levels.get(group, Decimal()), groups.get(group, []), period), len(groups.get(group, [])))
        for group in {*groups, *(group for group, level in levels.items() if level)}
    }


def weighted(level: Decimal, changes: Sequence[Found], period: Period) -> Decimal:
    """The level between any two changes times how long it held."""
    with localcontext(exact()):
        area, since = Decimal(), period.starting_at
        for time, _, change in sorted(changes):
            area += level * lasted(since, time)
            level, since = level + change, time
        area += level * lasted(since, period.ending_before)
        return round(area / lasted(period.starting_at, period.ending_before), 40)


def lasted(start: datetime, end: datetime) -> Decimal:
    return Decimal((end - start) // timedelta(microseconds=1)) / 10**6


def exact() -> Context:
    return Context(prec=500, rounding=ROUND_HALF_UP)


def aggregate(aggregation: str, found: Sequence[Found]) -> Decimal:
    if aggregation == "unique_count":
        return Decimal(len({seen for _, _, seen in found}))
    numbers: list[Decimal] = [number for _, _, number in found]
    with localcontext(exact()):
        if aggregation == "count":
            return Decimal(len(numbers))
        if aggregation == "average":
            return round(sum(numbers, Decimal()) / len(numbers), 40)
        if aggregation == "latest":
            return Decimal(max(found)[2])
        results = {"sum": sum(numbers, Decimal()), "min": min(numbers), "max": max(numbers)}
        return results[aggregation]


def value(meter: Meter, event: Sent) -> Any:
    if meter.aggregation == "unique_count":
        return text(event["properties"], meter.value_property)
    if meter.value_expression:
        return evaluate(parse(meter.value_expression), lambda path: term(event["properties"], path))
    return number(at(event["properties"], meter.value_property)) if meter.value_property else Decimal(1)


def term(properties: Any, path: str) -> Decimal | None:
    found = at(properties, path)
    return Decimal() if found is None else number(found)


def counts(meter: Meter, event: Sent) -> bool:
    return event["type"] in meter.event_types and all(_passes(one, event["properties"]) for one in meter.filters)


def _passes(one: Mapping[str, Any], properties: Any) -> bool:
    found, held = text(properties, one["property"]), number(at(properties, one["property"]))
    return all(_holds(rule, wanted, found, held) for rule, wanted in one.items() if rule != "property")


def _holds(rule: str, wanted: Any, found: str | None, held: Decimal | None) -> bool:
    if rule in {"in", "not_in"}:
        return (found in wanted) == (rule == "in")
    if rule == "exists":
        return (found is not None) == bool(wanted)
    compare = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}[rule]
    return held is not None and bool(compare(held, Decimal(wanted)))


def at(properties: Any, path: str) -> Any:
    """What lies under each step of the path; failing that under its last steps taken as one key, ever more of them."""
    steps = path.split(".")
    for start in range(len(steps) - 1, -1, -1):
        found = under([*steps[:start], ".".join(steps[start:])], properties)
        if found is not None:
            return found
    return None


def under(steps: Sequence[str], properties: Any) -> Any:
    for step in steps:
        if not isinstance(properties, Mapping):
            return None
        properties = properties.get(step)
    return properties


def number(found: Any) -> Decimal | None:
    if isinstance(found, bool) or found is None:
        return None
    if isinstance(found, int | Decimal):
        return Decimal(found)
    if isinstance(found, str) and len(found) <= 100 and NUMERIC.fullmatch(found):
        exponent = re.split("[eE]", found)[1:]
        return Decimal(found) if not exponent or abs(int(exponent[0])) <= 100 else None
    return None


def text(properties: Any, path: str) -> str | None:
    """Texts, numbers and booleans as they are compared and grouped by."""
    found = at(properties, path)
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, Decimal):
        return f"{found:f}"
    return None if found is None else str(found)
