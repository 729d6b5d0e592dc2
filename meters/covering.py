"""How a span of time is laid out in whole UTC days, whole hours and ragged edges. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from meters.periods import Period

Span = tuple[datetime, datetime]
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Covering:
    """Half-open spans that join to the whole period: at most one of days, two of hours, two of neither."""

    days: tuple[Span, ...]
    hours: tuple[Span, ...]
    edges: tuple[Span, ...]


@lru_cache(maxsize=1000)
def cover(period: Period) -> Covering:
    start, end = period.starting_at.astimezone(UTC), period.ending_before.astimezone(UTC)
    hours, edges = _inside(start, end, HOUR)
    if hours is None:
        return Covering((), (), edges)
    days, ragged = _inside(*hours, DAY)
    return Covering((days,) if days else (), ragged, edges)


def _inside(start: datetime, end: datetime, step: timedelta) -> tuple[Span | None, tuple[Span, ...]]:
    """The whole steps inside a span, and what is left of it on both sides."""
    day = start.replace(hour=0, minute=0, second=0, microsecond=0)
    first = day + -((day - start) // step) * step
    day = end.replace(hour=0, minute=0, second=0, microsecond=0)
    last = day + (end - day) // step * step
    if first >= last:
        return None, ((start, end),)
    return (first, last), tuple(each for each in ((start, first), (last, end)) if each[0] < each[1])


def merge(spans: Iterable[Span]) -> list[Span]:
    """The same instants as spans that do not overlap, in order."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
