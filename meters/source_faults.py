"""What is wrong with the fields of an event source, by field."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meters.sources.cells import number_reader
from meters.sources.lines import UnreadableError, known_encoding
from meters.sources.rows import dialect
from meters.sources.times import known_format, read_origin

if TYPE_CHECKING:
    from meters.source_models import EventSource

EITHER = (("event_type", "type_column"), ("customer", "customer_column"), ("source_name", "source_column"))


def faults_of(source: "EventSource") -> dict[str, str]:
    checks: dict[str, Callable[[], Any]] = {
        "time_format": lambda: known_format(source.time_format),
        "time_origin": lambda: read_origin(source.time_origin, source.time_format, ZoneInfo("UTC")),
        "thousands_sign": lambda: number_reader(source.decimal_sign, source.thousands_sign),
        "separator": lambda: source.separator and dialect(source.separator, spaced=False),
        "encoding": lambda: known_encoding(source.encoding),
    }
    problems = {name: said for name, check in checks.items() if (said := _said(check))}
    if source.every_minutes == 0:
        problems["every_minutes"] = "Give at least 1 minute, or leave it empty."
    if not isinstance(source.properties, dict) or not all(
        type(value) in {str, int} for value in source.properties.values()
    ):
        problems["properties"] = 'Give names and values: {"region": "eu", "weight": 3}.'
    if not _are_joined(source.joined_columns):
        problems["joined_columns"] = 'Give a name and a list of columns: {"at": ["Date", "Time"]}.'
    try:
        ZoneInfo(source.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        problems["timezone"] = "There is no such time zone: give one like Europe/Berlin."
    for one, other in EITHER:
        if getattr(source, one) and getattr(source, other):
            problems[other] = "Give one value for all events or a column, not both."
    if source.id_from_row and source.id_column:
        problems["id_column"] = "Ids come from a column or from rows, not both."
    return problems


def _said(check: Callable[[], Any]) -> str:
    try:
        check()
    except UnreadableError as error:
        return error.message
    except ValueError as error:
        return str(error)
    return ""


def _are_joined(given: object) -> bool:
    return isinstance(given, dict) and all(
        name and isinstance(parts, list) and parts and all(isinstance(part, str) and part for part in parts)
        for name, parts in given.items()
    )
