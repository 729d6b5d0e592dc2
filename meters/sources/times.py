"""Instants as files write them. Pure."""

import enum
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from zoneinfo import ZoneInfo

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_looks_like_a_date = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_looks_like_a_number = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Clock(enum.StrEnum):
    """How a time is written."""

    ISO = "iso"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


_microseconds = {
    Clock.SECONDS: Decimal(1_000_000),
    Clock.MILLISECONDS: Decimal(1000),
    Clock.MICROSECONDS: Decimal(1),
    Clock.NANOSECONDS: Decimal("0.001"),
}


def read_time(given: object, clock: Clock, zone: ZoneInfo) -> datetime:
    """An instant, to the microsecond; one without an offset is local to the zone. Raises ValueError."""
    if given is None or given == "":
        raise ValueError("The time is missing.")
    if isinstance(given, datetime):
        moment = given
    elif isinstance(given, date):
        moment = datetime.combine(given, time.min)
    elif clock is Clock.ISO:
        moment = _read_text(given)
    else:
        moment = _since_1970(given, clock)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _read_text(given: object) -> datetime:
    if not isinstance(given, str) or _looks_like_a_number.fullmatch(given):
        raise ValueError(f"The time {given} is a number: say what it counts with --time-format s, ms, us or ns.")
    text = given.strip().removesuffix(" UTC")
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        moment = _read_loosely(given, text)
    return moment.replace(tzinfo=UTC) if text != given.strip() else moment


def _read_loosely(given: str, text: str) -> datetime:
    """What databases write beside RFC 3339: a bare date, an offset of +00."""
    try:
        if _looks_like_a_date.match(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f'The time "{given[:64]}" is not written like 2026-01-31T23:59:59.5Z or 2026-01-31 23:59:59.')


def _since_1970(given: object, clock: Clock) -> datetime:
    try:
        number = Decimal(str(given)) * _microseconds[clock]
        return EPOCH + timedelta(microseconds=int(number.quantize(Decimal(1), ROUND_HALF_UP)))
    except (InvalidOperation, OverflowError, ValueError):
        raise ValueError(f'The time "{str(given)[:64]}" is not a number of {clock.value} since 1970.') from None
