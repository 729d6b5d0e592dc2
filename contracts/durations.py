"""ISO 8601 durations from a start, by the calendar: P1M from 31 January is 28 February, P2M is 31 March. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from meters.periods import boundary, local_midnight

WRITTEN = re.compile(
    r"P(?=\d|T\d)(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,5})M)?(?:(?P<weeks>\d{1,5})W)?(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,8})S)?)?"
)
NAMES = re.compile(r"\?P<[a-z]+>")
PATTERN = f"^{NAMES.sub('', WRITTEN.pattern)}$"  # as JSON Schema writes it


def is_day(text: str) -> bool:
    """Whether a text is a date, such as 2026-01-15."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Duration:
    """Calendar months and days, then exact seconds."""

    months: int = 0
    days: int = 0
    seconds: int = 0

    def after(self, start: datetime, zone: ZoneInfo) -> datetime:
        """The instant this long after a start, at the same local time of day; a day that a month lacks is its last.

        Raises OverflowError past the calendar's end.
        """
        local = start.astimezone(zone)
        try:
            day = boundary("month", local.date(), self.months) + timedelta(days=self.days)
            return at_local(day, local.time(), zone) + timedelta(seconds=self.seconds)
        except ValueError as error:
            raise OverflowError(str(error)) from error


def parse_duration(text: str) -> Duration:
    """Raises ValueError with what is expected."""
    found = WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError(f"is {text!r}; write a duration from the contract's start, such as P1M, P1Y or P0D")
    part = {name: int(value or 0) for name, value in found.groupdict().items()}
    return Duration(
        months=part["years"] * 12 + part["months"],
        days=part["weeks"] * 7 + part["days"],
        seconds=part["hours"] * 3600 + part["minutes"] * 60 + part["seconds"],
    )


def between(start: datetime, end: datetime, zone: ZoneInfo) -> Duration:
    """The duration from one instant to another: whole months and then days where that is exact, else seconds too."""
    first, last = start.astimezone(zone), end.astimezone(zone)
    months = (last.year - first.year) * 12 + last.month - first.month
    while months > 0 and boundary("month", first.date(), months) > last.date():
        months -= 1
    days = (last.date() - boundary("month", first.date(), max(months, 0))).days
    calendar = Duration(max(months, 0), days)
    rest = end - calendar.after(start, zone)
    return Duration(calendar.months, calendar.days, int(rest.total_seconds()))


def at_local(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """A local day and time as an instant."""
    if clock == time(0):
        return local_midnight(day, zone)
    return datetime.combine(day, clock.replace(fold=0), tzinfo=zone).astimezone(UTC)
