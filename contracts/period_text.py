"""Instants and spans of time as people read them, in the time zone they were agreed in. Pure."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo


def day_text(instant: datetime, zone: ZoneInfo) -> str:
    local = instant.astimezone(zone)
    return f"{local:%-d %b %Y}"


def instant_text(instant: datetime, zone: ZoneInfo) -> str:
    """1 Mar 2026, and the time of day where it is not midnight."""
    local = instant.astimezone(zone)
    return f"{local:%-d %b %Y}" if local.time() == time.min else f"{local:%-d %b %Y %H:%M:%S}".removesuffix(":00")


def minute_text(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%-d %b %Y %H:%M}"


def period_text(starting_at: datetime, ending_before: datetime | None, zone: ZoneInfo) -> str:
    """A half-open span: with its last day where it ends at midnight (1 – 31 Mar 2026), else with its first instant
    after.
    """
    start = starting_at.astimezone(zone)
    if ending_before is None:
        return f"from {instant_text(start, zone)}"
    end = ending_before.astimezone(zone)
    if start.time() != time.min or end.time() != time.min:
        return f"{start:%-d %b %Y %H:%M} – {end:%-d %b %Y %H:%M}"
    last = end - timedelta(days=1)
    if start.date() == last.date():
        return f"{last:%-d %b %Y}"
    first = "%-d %b %Y" if start.year != last.year else "%-d %b" if start.month != last.month else "%-d"
    return f"{start:{first}} – {last:%-d %b %Y}"
