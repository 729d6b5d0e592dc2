"""What the cells of a row mean, alone and together. Pure.

A cell of a text becomes a number when it is a whole number or a plain decimal, digit for digit; anything else stays
text.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import unquote

from meters.numbers import MAX_LENGTH

NUMERIC = frozenset("-0123456789 ")
SIGNS = frozenset(".,' _\u00a0\u202f\u2019")
# How Hive writes that a folder's column has no value.
NOTHING = "__HIVE_DEFAULT_PARTITION__"

ToValue: TypeAlias = Callable[[str], int | Decimal | str]

_whole = re.compile(r"-?[0-9]+")
_decimal = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+")


@dataclass(frozen=True, slots=True)
class TextShape:
    """How a text is written. Of CSV: the lines before that of the column names, the names themselves where there is no
    such line, and the separator where it is not the one used most.
    """

    separator: str = ""
    columns: tuple[str, ...] = ()
    skip_lines: int = 0
    encoding: str = "utf-8"


def number_or_text(cell: str) -> int | Decimal | str:
    """Never through a binary float. Spaces around a number are none of it."""
    if cell[:1] not in NUMERIC or len(cell) > MAX_LENGTH:
        return cell
    text = cell.strip(" ")
    if _whole.fullmatch(text):
        return int(text)
    return Decimal(text) if _decimal.fullmatch(text) else cell


def number_reader(decimal: str, thousands: str) -> ToValue:
    """For numbers with these signs: 1.234,5 has a decimal comma and thousands points. Raises ValueError."""
    if decimal == "." and not thousands:
        return number_or_text
    if decimal not in {".", ","}:
        raise ValueError(f'"{decimal}" is no decimal sign: give . or a comma.')
    if thousands and (thousands not in SIGNS or thousands == decimal):
        raise ValueError(
            f'"{thousands}" is no sign between thousands beside the decimal sign "{decimal}": give a comma, a point, '
            "an apostrophe, an underscore or a space."
        )
    point, between = re.escape(decimal), re.escape(thousands)
    grouped = rf"[0-9]{{1,3}}(?:{between}[0-9]{{3}})+|" if thousands else ""
    return partial(_by_signs, re.compile(rf"(-?)({grouped}[0-9]+)(?:{point}([0-9]+))?"), thousands)


def _by_signs(number: re.Pattern[str], thousands: str, cell: str) -> int | Decimal | str:
    found = number.fullmatch(cell.strip(" ")) if len(cell) <= MAX_LENGTH else None
    if found is None:
        return cell
    whole = found[1] + (found[2].replace(thousands, "") if thousands else found[2])
    return int(whole) if found[3] is None else Decimal(f"{whole}.{found[3]}")


def joined(cells: Sequence[Any]) -> str | None:
    """One cell out of several, with a space between; none where all are empty."""
    texts = ["" if cell is None else str(cell) for cell in cells]
    return " ".join(texts) if any(texts) else None


def in_folders(path: str, columns: Collection[str]) -> dict[str, str]:
    """The columns in the names of folders, as in day=2026-01-05/part-0.parquet, save those the file has itself."""
    named = [step.partition("=") for step in path.split("/")[:-1]]
    found = {unquote(name): unquote(value) for name, sign, value in named if name and sign}
    return {name: value for name, value in found.items() if name not in columns and value != NOTHING}
