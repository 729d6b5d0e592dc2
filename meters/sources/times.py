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
_finer = re.compile(r"\.([0-9]{6})([0-9]{1,12})(?![0-9])")
_sample = datetime(2026, 11, 30, 23, 59, 58, tzinfo=UTC)


class Clock(enum.StrEnum):
    """How a time is written."""

    ISO = "iso"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


_microseconds: dict[str, Decimal] = {
    Clock.SECONDS: Decimal(1_000_000),
    Clock.MILLISECONDS: Decimal(1000),
    Clock.MICROSECONDS: Decimal(1),
    Clock.NANOSECONDS: Decimal("0.001"),
}


def known_format(text: str) -> str:
    """A clock, or a pattern of strptime that tells the whole date. Raises ValueError."""
    if text in set(Clock):
        return Clock(text)
    if "%" not in text or not _tells_the_date(text):
        raise ValueError(
            f'"{text[:64]}" is no time format: give iso, s, ms, us or ns, or a pattern of the whole date such as '
            "%m/%d/%Y %H:%M:%S, with an offset as %z."
        )
    return text


def _tells_the_date(pattern: str) -> bool:
    """%Z would be read and forgotten."""
    try:
        read = datetime.strptime(_sample.strftime(pattern), pattern)  # noqa: DTZ007 - only its date counts
    except (ValueError, re.error):
        return False
    return read.date() == _sample.date() and "%Z" not in pattern


def read_origin(text: str, clock: str, zone: ZoneInfo) -> datetime:
    """The instant from which a trace counts its times. Raises ValueError."""
    if not text:
        return EPOCH
    if clock not in _microseconds:
        raise ValueError("A time origin is for times that count something: give their format too, as s, ms, us or ns.")
    return read_time(text, Clock.ISO, zone).astimezone(UTC)  # the time that has passed, not what a clock shows


def read_time(given: object, clock: str, zone: ZoneInfo, origin: datetime = EPOCH) -> datetime:
    """An instant, to the microsecond; one without an offset is local to the zone. `clock` as `known_format` has it;
    what counts something counts from `origin`.

    Raises ValueError.
    """
    if given is None or given == "":
        raise ValueError("The time is missing.")
    if isinstance(given, datetime):
        moment = given
    elif isinstance(given, date):
        moment = datetime.combine(given, time.min)
    elif clock == Clock.ISO:
        moment = _read_text(given)
    elif clock in _microseconds:
        moment = _since(origin, given, Clock(clock))
    else:
        moment = _by_pattern(str(given), clock)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _read_text(given: object) -> datetime:
    if not isinstance(given, str) or _looks_like_a_number.fullmatch(given):
        raise ValueError(
            f"The time {given} is a number: say with --time-format what it counts (s, ms, us or ns), and with "
            "--time-origin from when, if not from 1970."
        )
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


def _by_pattern(given: str, pattern: str) -> datetime:
    """Digits beyond the microsecond are rounded half-up."""
    text = given.strip()
    finer = _finer.search(text)
    try:
        moment = datetime.strptime(_finer.sub(r".\1", text), pattern)  # noqa: DTZ007 - the caller adds the zone
        return moment + timedelta(microseconds=1) if finer and finer[2] >= "5" else moment
    except (ValueError, OverflowError):
        raise ValueError(f'The time "{given[:64]}" is not written like {pattern}.') from None


def _since(origin: datetime, given: object, clock: Clock) -> datetime:
    try:
        number = Decimal(str(given)) * _microseconds[clock]
        return origin + timedelta(microseconds=int(number.quantize(Decimal(1), ROUND_HALF_UP)))
    except (InvalidOperation, OverflowError, ValueError):
        since = "1970" if origin == EPOCH else origin.isoformat()
        raise ValueError(f'The time "{str(given)[:64]}" is not a number of {clock.value} since {since}.') from None
