"""What a meter's definition may say, and its one normal form."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

from meters.expressions import ExpressionError, parse, paths
from meters.numbers import is_numeric

if TYPE_CHECKING:
    from meters.models import Meter

MEANING = ("key", "event_types", "aggregation", "value_property", "value_expression", "filters", "group_by")
MAX_TYPES = 50
MAX_GROUP_KEYS = 10
MAX_FILTERS = 20
MAX_DEPTH = 10
MAX_VALUES = 1000
LISTS = ("in", "not_in")
BOUNDS = ("gt", "gte", "lt", "lte")


def clean_definition(meter: "Meter") -> None:
    """Bring the definition to its normal form. Raises ValidationError by field."""
    checks: dict[str, Callable[[], Any]] = {
        "event_types": lambda: _event_types(meter.event_types),
        "value_property": lambda: _value_property(meter),
        "value_expression": lambda: _value_expression(meter),
        "filters": lambda: _filters(meter.filters),
        "group_by": lambda: _group_by(meter.group_by),
    }
    problems: dict[str, ValidationError] = {}
    for name, check in checks.items():
        try:
            setattr(meter, name, check())
        except ValidationError as error:
            problems[name] = error
    if problems:
        raise ValidationError(problems)


def split_path(path: object) -> list[str]:
    """The steps of a dotted path. Raises ValidationError."""
    if not isinstance(path, str) or not path:
        raise ValidationError("Name a property, such as model or usage.output_tokens.", code="no_path")
    steps = path.split(".")
    if not all(step.strip() for step in steps) or len(steps) > MAX_DEPTH or "\0" in path or len(path) > 500:
        raise ValidationError(
            f'"{path[:100]}" is not a property path: write names joined by single dots, at most {MAX_DEPTH} of them.',
            code="bad_path",
        )
    return steps


def _event_types(given: Any) -> list[str]:
    types = list(given or [])
    if not types or len(types) > MAX_TYPES or not all(isinstance(each, str) and each.strip() for each in types):
        raise ValidationError(f"Name between 1 and {MAX_TYPES} event types.", code="event_types")
    _check_repeats(types)
    return types


def _value_property(meter: "Meter") -> str:
    if meter.aggregation == "count":
        if meter.value_property:
            raise ValidationError("A count takes no property: leave it empty.", code="unused")
        return ""
    if meter.value_property or not meter.value_expression:
        split_path(meter.value_property)
    return meter.value_property


def _value_expression(meter: "Meter") -> str:
    given = meter.value_expression
    if not isinstance(given, str):
        raise ValidationError("An expression is text, such as input_tokens - cached_tokens.", code="not_text")
    text = given.strip()
    if text and meter.aggregation in {"count", "unique_count"}:
        raise ValidationError(f"A {meter.aggregation} takes no expression: leave it empty.", code="unused")
    if text and meter.value_property:
        raise ValidationError("Name a property or give an expression, not both.", code="both")
    if text:
        try:
            named = paths(parse(text))
        except ExpressionError as error:
            raise ValidationError(str(error), code="bad_expression") from error
        for path in named:
            split_path(path)
        if not named:
            raise ValidationError("Name at least one property in it, such as input_tokens.", code="no_property")
    return text


def _group_by(given: Any) -> list[str]:
    keys = list(given or [])
    if len(keys) > MAX_GROUP_KEYS:
        raise ValidationError(f"A meter has at most {MAX_GROUP_KEYS} group keys.", code="too_many")
    for key in keys:
        split_path(key)
    _check_repeats(keys)
    return keys


def _check_repeats(names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValidationError(f"{', '.join(repeated)}: named twice.", code="repeated")


def _filters(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list) or len(given) > MAX_FILTERS:
        raise ValidationError(f"Filters are a list of at most {MAX_FILTERS} conditions.", code="not_a_list")
    cleaned, problems = [], []
    for index, one in enumerate(given):
        try:
            cleaned.append(_filter(one))
        except ValidationError as error:
            problems += [ValidationError(f"filters[{index}]: {text}", code=error.code) for text in error.messages]
    if problems:
        raise ValidationError(problems)
    return cleaned


def _filter(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ValidationError(
            'A condition is an object like {"property": "status", "in": ["ok"]}.', code="not_an_object"
        )
    rules = {name: value for name, value in given.items() if name != "property"}
    unknown = sorted(set(rules) - {*LISTS, *BOUNDS, "exists"})
    if unknown or not rules:
        raise ValidationError(
            f"{', '.join(unknown) or 'no rule'}: use in, not_in, exists, gt, gte, lt or lte.", code="unknown_rule"
        )
    split_path(given.get("property"))
    return {"property": given["property"], **{name: _rule(name, value) for name, value in rules.items()}}


def _rule(name: str, value: Any) -> Any:
    if name == "exists":
        if not isinstance(value, bool):
            raise ValidationError("exists is true or false.", code="not_a_boolean")
        return value
    if name in BOUNDS:
        bound = _plain(value)
        if isinstance(value, bool) or bound is None or not is_numeric(bound):
            raise ValidationError(f"{name} takes a number.", code="not_a_number")
        return bound
    texts = [_plain(each) for each in value] if isinstance(value, list) else []
    if not texts or len(texts) > MAX_VALUES or None in texts:
        raise ValidationError(
            f"{name} takes a list of 1 to {MAX_VALUES} texts, numbers or booleans.", code="not_values"
        )
    return texts


def _plain(value: Any) -> str | None:
    """A value as the text it is compared by; None for what has none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return None if "\0" in value else value
    # A float here is a literal of a handful of digits from a form or a file: its shortest text is what was typed.
    return str(value) if isinstance(value, int | float | Decimal) else None
