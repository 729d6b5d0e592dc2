"""Periods: half-open spans of time, and the calendar of billing periods.

Pure: every instant is an argument, nothing reads a clock. Instants are aware datetimes, kept in UTC.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from msgspec import Struct

EVERY = ("day", "week", "month", "quarter", "year")
MONTHS = {"month": 1, "quarter": 3, "year": 12}
DAYS = {"day": 1, "week": 7}
CALENDAR_ANCHOR = date(
    2001, 1, 1
)  # a Monday, a first of January: the calendar's weeks, months, quarters and years start here


class Period(Struct, frozen=True, order=True, gc=False):
    """A half-open span of time `[starting_at, ending_before)`, both aware.

    Raises ValueError when an instant has no time zone or the span is empty.
    """

    starting_at: datetime
    ending_before: datetime

    def __post_init__(self) -> None:
        if self.starting_at.tzinfo is None or self.ending_before.tzinfo is None:
            raise ValueError("a period needs instants with a time zone")
        if self.starting_at >= self.ending_before:
            raise ValueError(f"a period must end after it starts: {self.starting_at} to {self.ending_before}")

    def __contains__(self, instant: datetime) -> bool:
        return self.starting_at <= instant < self.ending_before

    @property
    def seconds(self) -> int:
        return int((self.ending_before - self.starting_at).total_seconds())

    def overlap(self, starting_at: datetime | None, ending_before: datetime | None) -> "Period | None":
        """The part of this period inside `[starting_at, ending_before)`; None stands for no bound."""
        first = max(self.starting_at, starting_at) if starting_at else self.starting_at
        last = min(self.ending_before, ending_before) if ending_before else self.ending_before
        return Period(first, last) if first < last else None


def local_midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day, in UTC, also where a clock change skips or repeats midnight."""
    # fold=0 takes the offset before a change: for a skipped midnight that is the change itself, for a repeated one the
    # first.
    return datetime.combine(day, time(0), tzinfo=zone).astimezone(UTC)


def boundary(every: str, anchor: date, number: int) -> date:
    """The local date on which billing period `number` (any integer) starts, counted from the anchor.

    A day of the month that a month lacks is clamped to its last day and restored in the next (31 January, 28 February,
    31 March).
    """
    if every in DAYS:
        return anchor + timedelta(days=DAYS[every] * number)
    months = anchor.year * 12 + anchor.month - 1 + MONTHS[every] * number
    year, month = divmod(months, 12)
    first = date(year, month + 1, 1)
    after = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return min(first.replace(day=1) + timedelta(days=anchor.day - 1), after - timedelta(days=1))


def boundaries(every: str, anchor: date, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Every billing boundary later than `after`, in order, without end."""
    days = (after.astimezone(zone).date() - anchor).days
    step = DAYS.get(every) or MONTHS[every] * 30
    number = days // step - 2
    # The guess may lie early by the length of the months passed; walking forward from it is exact.
    while local_midnight(boundary(every, anchor, number), zone) > after:
        number -= 1
    while True:
        instant = local_midnight(boundary(every, anchor, number), zone)
        if instant > after:
            yield instant
        number += 1


def billing_periods(
    every: str, anchor: date, zone: ZoneInfo, starting_at: datetime, ending_before: datetime | None, until: datetime
) -> Iterator[Period]:
    """The billing periods of a contract that start at or before `until`; the first and the last may be short.

    `anchor` is any local date on which a period would start (CALENDAR_ANCHOR for calendar periods).
    """
    start = starting_at
    for instant in boundaries(every, anchor, zone, starting_at):
        if start > until or (ending_before and start >= ending_before):
            return
        yield Period(start, min(instant, ending_before) if ending_before else instant)
        start = instant


def cut(period: Period, instants: Iterable[datetime | None]) -> list[Period]:
    """The period cut at every instant that lies inside it; None and instants outside are ignored."""
    inside = {instant for instant in instants if instant and period.starting_at < instant < period.ending_before}
    if not inside:
        return [period]
    edges = [period.starting_at, *sorted(inside), period.ending_before]
    return [Period(start, end) for start, end in pairwise(edges)]
