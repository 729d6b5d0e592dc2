"""Proration: a part of a period costs its share of the period's seconds. Pure."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from catalog.money import ONE, divide
from meters.periods import CALENDAR_ANCHOR, DAYS, MONTHS, Period, boundaries, boundary, local_midnight


@dataclass(frozen=True, slots=True)
class Calendar:
    """The contract's calendar: how often it bills, the local date its periods are counted from, its zone and bounds."""

    zone: ZoneInfo
    starting_at: datetime
    ending_before: datetime | None = None
    every: str = "month"
    anchor: date = CALENDAR_ANCHOR


@dataclass(frozen=True, slots=True)
class Span:
    """A whole period of a recurring term, and the part of it in which the term holds."""

    number: int
    whole: Period
    held: Period

    @property
    def share(self) -> Decimal:
        return share(self.held, self.whole)


def share(part: Period, whole: Period) -> Decimal:
    """The part's seconds over the whole's, never above one."""
    return min(divide(Decimal(part.seconds), Decimal(whole.seconds)), ONE)


def spans(
    every: str | None, calendar: Calendar, starting_at: datetime | None, ending_before: datetime | None, until: datetime
) -> list[Span]:
    """The periods of a recurring term that start at or before `until`, numbered from 0.

    Periods no longer than the contract's billing period are counted from where its periods are counted from; longer
    ones (a yearly fee on a monthly contract) from the term's own start. The term holds within the contract.
    """
    start = max(starting_at or calendar.starting_at, calendar.starting_at)
    ends = [end for end in (ending_before, calendar.ending_before) if end is not None]
    end = min(ends, default=None)
    step = every or calendar.every
    longer = _length(step) > _length(calendar.every)
    anchor = start.astimezone(calendar.zone).date() if longer else calendar.anchor
    result: list[Span] = []
    first = _last_boundary(step, anchor, calendar.zone, start)
    for edge in boundaries(step, anchor, calendar.zone, start):
        if start > until or (end is not None and start >= end):
            break
        held = Period(start, edge if end is None else min(edge, end))
        result.append(Span(len(result), Period(first, edge), held))
        first = start = edge
    return result


def _length(every: str) -> int:
    return DAYS.get(every) or MONTHS[every] * 28


def _last_boundary(every: str, anchor: date, zone: ZoneInfo, instant: datetime) -> datetime:
    """The start of the period that holds an instant."""
    step = DAYS.get(every) or MONTHS[every] * 30
    number = (instant.astimezone(zone).date() - anchor).days // step + 2
    while local_midnight(boundary(every, anchor, number), zone) > instant:
        number -= 1
    following = local_midnight(boundary(every, anchor, number + 1), zone)
    while following <= instant:
        number += 1
        following = local_midnight(boundary(every, anchor, number + 1), zone)
    return local_midnight(boundary(every, anchor, number), zone)
