"""Instants of a deal as a screen shows them: local days and times of the contract's zone. Pure.

A local midnight is a bare day, any other instant a local time without offset; what a clock change makes ambiguous keeps
its offset, so that reading gives the same instant back.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from contracts.deal_format import INSTANTS, VALUES
from meters.periods import local_midnight


def shown_document(written: Any, zone: ZoneInfo) -> Any:
    """The document with its instants as local text; `read_document` gives the same instants back."""
    return _mapped(written, lambda text: local_text(text, zone))


def read_document(shown: Any, zone: ZoneInfo) -> Any:
    """The document with local times as instants. Bare days are left: the reader of deals knows them."""
    return _mapped(shown, lambda text: _instant(text, zone))


def local_text(text: Any, zone: ZoneInfo) -> Any:
    """2026-03-01, 2026-03-01T14:20, or as it was."""
    try:
        instant = datetime.fromisoformat(text)
        local = instant.astimezone(zone).replace(tzinfo=None, fold=0)
    except (TypeError, ValueError, OverflowError):
        return text
    if local_midnight(local.date(), zone) == instant:
        return local.date().isoformat()
    short = local.isoformat(timespec="minutes" if not (local.second or local.microsecond) else "auto")
    return short if local.replace(tzinfo=zone).astimezone(UTC) == instant else text


def _instant(text: Any, zone: ZoneInfo) -> Any:
    try:
        local = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return text
    if "T" not in text or local.tzinfo is not None:
        return text
    return local.replace(tzinfo=zone).astimezone(UTC).isoformat()


def _mapped(written: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(written, Mapping):
        return {key: _place(key, value, change) for key, value in written.items()}
    if isinstance(written, list | tuple):
        return [_mapped(each, change) for each in written]
    return written


def _place(key: str, value: Any, change: Callable[[Any], Any]) -> Any:
    if key in VALUES:
        return value
    return change(value) if key in INSTANTS else _mapped(value, change)
