"""The columns of exported tables, and their values as text. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from billing_project.decimals import plain

# Parquet's decimals have 38 digits at most; readers know no wider ones.
DIGITS = 38


class Kind(Enum):
    """AMOUNT is money with 6 places, NUMBER has 18; EXACT any decimal: with 18 places where that holds every digit, and
    always as text in a column beside it, of the same name with `_text`.
    """

    TEXT = "text"
    INTEGER = "integer"
    AMOUNT = "amount"
    NUMBER = "number"
    EXACT = "exact"
    INSTANT = "instant"
    DAY = "day"
    JSON = "json"


PLACES = {Kind.AMOUNT: 6, Kind.NUMBER: 18, Kind.EXACT: 18}


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    kind: Kind = Kind.TEXT


def columns(**named: Kind) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name, kind in named.items())


def fits(value: Decimal, places: int) -> bool:
    """Whether a decimal column of so many places holds every digit."""
    whole, _, fraction = plain(value).lstrip("-").partition(".")
    return len(fraction) <= places and len(whole.lstrip("0")) <= DIGITS - places


def as_text(value: Any) -> str:
    """As it stands in a CSV file; nothing is empty text."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict | list):
        return json_text(value)
    return str(value)


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def csv_rows(rows: Iterable[Sequence[Any]]) -> Iterable[list[str]]:
    for row in rows:
        yield [as_text(value) for value in row]
