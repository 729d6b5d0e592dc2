"""What changed in a deal, field by field, in the words of its form. Pure.

Terms with a key are the same term wherever they stand; others are matched in order, as lines of a text are.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any
from zoneinfo import ZoneInfo

from catalog.document_form import place_text
from contracts.deal_dates import shown_document
from contracts.deal_words import deal_form

Change = tuple[str, str, str]
NAMES = ("key", "feature")


def deal_changes(before: Mapping[str, Any], after: Mapping[str, Any], zone: ZoneInfo) -> list[Change]:
    """Where, what it was, what it is; empty for what was not there, or is not there any more."""
    old, new = shown_document(before, zone), shown_document(after, zone)
    return [
        (place_text(deal_form(), path), _text(one), _text(other)) for path, one, other in _differences("", old, new)
    ]


def beyond_text(excess: str) -> str:
    """What goes beyond the guardrails, its path in the words of the contract's form."""
    path, colon, rest = excess.partition(": ")
    if not colon:
        return excess
    column = {"net_days": "Days to pay", "ending_before": "Term"}.get(path)
    return f"{column or place_text(deal_form(), path)}: {rest}"


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys((*old, *new)):
            yield from _differences(f"{path}.{name}" if path else name, old.get(name), new.get(name))
    elif _is_rows(old) and _is_rows(new):
        for place, one, other in _pairs(old or [], new or []):
            yield from _differences(f"{path}[{place}]", one, other)
    else:
        yield path, old, new


def _is_rows(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, Mapping) for each in value))


def _pairs(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[str, Any, Any]]:
    """Rows that are the same term, by name or place."""
    name = next((each for each in NAMES if all(each in row for row in (*old, *new))), None)
    if name:
        before, after = ({row[name]: row for row in rows} for rows in (old, new))
        for key in dict.fromkeys((*before, *after)):
            yield str(key), before.get(key), after.get(key)
        return
    one_by_one, others = ([json.dumps(row, sort_keys=True) for row in rows] for rows in (old, new))
    for kind, first, last, start, end in SequenceMatcher(None, one_by_one, others, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        for offset in range(max(last - first, end - start)):
            one = old[first + offset] if first + offset < last else None
            other = new[start + offset] if start + offset < end else None
            yield str(start + offset if other is not None else first + offset), one, other


def _text(value: Any) -> str:
    """A value, or everything in a term, on one line."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{name.replace('_', ' ')} {_text(each)}" for name, each in value.items())
        case list():
            return "; ".join(map(_text, value))
        case _:
            return str(value)
