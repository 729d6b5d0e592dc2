"""What the formats share: elements read one by one, customers, properties, times. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from meters.events import (
    AHEAD,
    MAX_EVENTS,
    MAX_ID,
    Decoded,
    Event,
    Rejection,
    TooManyEventsError,
    printable,
    within,
)
from meters.exact_json import Elements, RefusedError, check, encode, kind_of, not_an_object, text
from meters.sources.times import Clock, read_time

# A number before it is a zero value or counts something else; nobody's usage is that old (decision 0087).
FIRST_SECONDS = datetime(1980, 1, 1, tzinfo=UTC)
MOST = MAX_EVENTS + 1  # one too many is enough to know

_utc = ZoneInfo("UTC")


class Untimed(Event, frozen=True, gc=False):
    """An event whose client leaves the time to us: `time` is when it arrived, unless its id has arrived before."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a request beside its body. `id` names it: a client that tries again sends the same."""

    now: datetime
    id: str = ""

    @property
    def latest(self) -> datetime:
        return self.now + AHEAD


def read_each(
    elements: Elements | Iterable[tuple[object, str]],
    read: Callable[[dict[str, Any], int], Event],
    id_name: str,
    *,
    single: bool = False,
) -> Decoded:
    """Every element as an event, or the reason why not. Raises MalformedError."""
    events, positions, rejected = [], [], []
    for index, (raw, sent) in enumerate(elements):
        if index == MAX_EVENTS:
            raise TooManyEventsError
        try:
            if not isinstance(raw, dict):
                raise not_an_object(raw)
            check(raw, "")
            events.append(read(raw, index))
            positions.append(index)
        except RefusedError as error:
            rejected.append(Rejection(index, _id_of(raw, id_name), error.path, error.code, error.message, sent))
    return Decoded(events, positions, rejected, single)


def make(id_: str, customer: str, type_: str, time: datetime | None, given: dict[str, Any], now: datetime) -> Event:
    """The event; one without a time happens now."""
    kind = Untimed if time is None else Event
    return kind(id=id_, customer=customer, type=type_, time=time or now, properties=encode(given))


def one_of(raw: dict[str, Any], preferred: str, other: str) -> str:
    """The customer key, which stands under one of two names. Raises RefusedError."""
    if raw.get(other) is None:
        return text(raw, preferred, MAX_ID)
    if raw.get(preferred) is None:
        return text(raw, other, MAX_ID)
    if raw[preferred] != raw[other]:
        raise RefusedError(preferred, "ambiguous", f"`{preferred}` and `{other}` name two different customers.")
    return text(raw, preferred, MAX_ID)


def properties(raw: dict[str, Any], name: str = "properties") -> dict[str, Any]:
    """Raises RefusedError."""
    given = raw.get(name)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise RefusedError(name, "not_an_object", f"`{name}` is {kind_of(given)}: send an object, {{...}}.")
    return given


def moment(given: object, name: str, latest: datetime, *, unix: bool = False, utc: bool = False) -> datetime:
    """An instant in RFC 3339; with `unix` also in seconds since 1970, with `utc` also without an offset.

    Raises RefusedError.
    """
    if given is None:
        raise RefusedError(name, "required", f"`{name}` is missing.")
    try:
        is_number = unix and _is_number(given)
        time = read_time(given, Clock.SECONDS, _utc) if is_number else msgspec.convert(given, datetime)
    except (msgspec.ValidationError, ValueError):
        example = "1769903999.5, in seconds, or 2026-01-31T23:59:59.5Z" if unix else "2026-01-31T23:59:59.5Z"
        raise RefusedError(name, "invalid_time", f"`{name}` is a time like {example}.") from None
    if time.tzinfo is None and not utc:
        raise RefusedError(name, "no_offset", f"`{name}` needs an offset from UTC, such as Z or +01:00.")
    if is_number and time < FIRST_SECONDS:
        remedy = "it counts seconds since 1970; leave it out where the event happens now"
        raise RefusedError(name, "too_early", f"`{name}` lies in {time.year}: {remedy}.")
    return within(time if time.tzinfo else time.replace(tzinfo=UTC), name, latest)


def moment_or_none(given: object, name: str, latest: datetime) -> datetime | None:
    """The instant, where the client may leave it out. Raises RefusedError."""
    if given is None or given is msgspec.UNSET:
        return None
    return moment(given, name, latest, unix=True)


def iso(time: datetime) -> str:
    """As answers write it, in UTC to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_number(given: object) -> bool:
    if isinstance(given, str):
        return given.isascii() and given.strip().replace(".", "", 1).isdecimal()
    return isinstance(given, Decimal | int) and not isinstance(given, bool)


def _id_of(raw: object, name: str) -> str:
    found = raw.get(name) if isinstance(raw, dict) else None
    return printable(found)[:MAX_ID] if isinstance(found, str) else ""
