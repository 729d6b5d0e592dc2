"""Usage events as they arrive: from the bytes of a request to typed events, or the reason why not. Pure.

A whole body is decoded at once by msgspec. Only when that is not enough (something is wrong, or something is there that
the quick way cannot vouch for: an escape, an unknown attribute) each event is read on its own, to name the bad ones.
Numbers never pass through a binary float.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Any

import msgspec

from meters.exact_json import (
    MAX_KEY_LENGTH,
    Elements,
    MalformedError,
    RefusedError,
    check,
    encode,
    kind_of,
    not_an_object,
    split,
    text,
)
from meters.numbers import TooBigError, parse_json_number

MAX_EVENTS = 10_000
MAX_ID = 256
MAX_SOURCE = 1024
AHEAD = timedelta(hours=24)
# Nothing was metered before 1970; what claims so is a zero value (year 1) or seconds taken for milliseconds.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
DIGITS = bytes.maketrans(b"123456789", b"000000000")
LONG_NUMBER = b"0" * 100


class Event(msgspec.Struct, frozen=True, gc=False):
    """One usage event, checked. `properties` is a JSON object as text, exact to the digit."""

    id: str
    customer: str
    type: str
    time: datetime
    properties: bytes = b"{}"
    source: str = ""

    @property
    def key(self) -> bytes:
        """The identity, source and id, as 128 bits. Neither can hold U+0000, so nothing else joins to the same text."""
        return blake2b(f"{self.source}\0{self.id}".encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event we do not take: its place in the request, its id if it has one, why, and what was sent."""

    index: int
    id: str
    path: str
    code: str
    message: str
    body: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """`positions[n]` is the place of `events[n]` in the request."""

    events: list[Event]
    positions: Sequence[int]
    rejected: list[Rejection]
    single: bool = False


class TooManyEventsError(MalformedError):
    def __init__(self) -> None:
        super().__init__("too_many_events", f"A request holds at most {MAX_EVENTS:,} events.")


class _Incoming(msgspec.Struct, gc=False, omit_defaults=True):
    """The attributes we know, with the types that let the quick way accept them."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    source: Annotated[str, msgspec.Meta(max_length=MAX_SOURCE)] = ""
    subject: Annotated[str, msgspec.Meta(max_length=MAX_ID)] = ""
    customer: Annotated[str, msgspec.Meta(max_length=MAX_ID)] = ""
    data: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    specversion: str = ""
    datacontenttype: str = ""
    dataschema: str = ""


_quick_many = msgspec.json.Decoder(list[_Incoming], float_hook=parse_json_number)
_quick_one = msgspec.json.Decoder(_Incoming, float_hook=parse_json_number)


def decode(body: bytes, *, now: datetime, single: bool = True, batch: bool = True) -> Decoded:
    """The events of a request body: one JSON object, or an array of them, as the content type allows.

    Raises MalformedError when there is no telling one event from the next, TooManyEventsError past the limit.
    """
    is_array = body.lstrip(b" \t\r\n")[:1] == b"["
    if is_array and not batch:
        raise MalformedError(
            "not_an_object",
            "This content type takes one event, a JSON object: send an array as application/cloudevents-batch+json.",
        )
    if not is_array and not single:
        raise MalformedError(
            "not_an_array",
            "This content type takes a JSON array of events: send a single one as application/cloudevents+json.",
        )
    quick = _decode_quickly(body, is_array, now + AHEAD)
    if quick is not None:
        return Decoded(quick, range(len(quick)), [], single=not is_array)
    return _decode_each(split(body, MAX_EVENTS + 1), now, single=not is_array)


def make_event(given: Mapping[str, Any], *, latest: datetime = END_OF_TIME) -> Event:
    """An event from Python values (`time` may be a datetime), under the rules of those that arrive as JSON.

    Raises RefusedError naming the field.
    """
    time = given.get("time")
    raw = {**given, "time": time.isoformat()} if isinstance(time, datetime) else dict(given)
    return _read(raw, latest)


def _decode_quickly(body: bytes, is_array: bool, latest: datetime) -> list[Event] | None:
    """The events, or None when the slow way has to look."""
    # Without escapes a quotation mark begins or ends a string: see _nothing_lost.
    if b"\\" in body or LONG_NUMBER in body.translate(DIGITS):
        return None
    try:
        incoming = _quick_many.decode(body) if is_array else [_quick_one.decode(body)]
        if len(incoming) > MAX_EVENTS or not _nothing_lost(body, incoming):
            return None
        flat = body.count(b"[") <= 1 and body.count(b"{") <= sum(_objects(each) for each in incoming)
        events = [_quick_event(each, latest, flat) for each in incoming]
    except (msgspec.MsgspecError, RefusedError, TooBigError, ValueError, RecursionError):
        return None
    return events


def _objects(raw: _Incoming) -> int:
    """How many an event has at least; where there are no more, nothing in it is nested."""
    return 1 + (raw.data is not None) + (raw.properties is not None)


def _nothing_lost(body: bytes, incoming: list[_Incoming]) -> bool:
    """Whether every string of the body is still there: a repeated key or an unknown attribute would have lost some."""
    return body.count(b'"') == encode(incoming).count(b'"')


def _quick_event(raw: _Incoming, latest: datetime, flat: bool) -> Event:
    customer = raw.subject or raw.customer
    given = raw.data if raw.properties is None else raw.properties
    if (
        not EARLIEST <= raw.time <= latest
        or raw.specversion not in {"", "1.0"}
        or (raw.subject and raw.customer)
        or (raw.data is not None and raw.properties is not None)
        or not (customer.strip() and raw.id.strip() and raw.type.strip())
        or (raw.datacontenttype and not raw.datacontenttype.endswith("json"))
    ):
        raise RefusedError("", "look_closer", "")
    if not given:
        return Event(raw.id, customer, raw.type, raw.time, b"{}", raw.source)
    properties = encode(given)
    if not flat or len(properties) > MAX_KEY_LENGTH:
        check(given, "", 1)
    return Event(raw.id, customer, raw.type, raw.time, properties, raw.source)


def _decode_each(elements: Elements, now: datetime, *, single: bool) -> Decoded:
    events, positions, rejected = [], [], []
    for index, (raw, sent) in enumerate(elements):
        if index == MAX_EVENTS:
            raise TooManyEventsError
        try:
            events.append(_read(raw, now + AHEAD))
            positions.append(index)
        except RefusedError as error:
            rejected.append(Rejection(index, _id_of(raw), error.path, error.code, error.message, sent))
    return Decoded(events, positions, rejected, single)


def _read(raw: object, latest: datetime) -> Event:
    """One event, exactly. Raises RefusedError naming the field."""
    if not isinstance(raw, dict):
        raise not_an_object(raw)
    check(raw, "")
    if raw.get("id") is None and isinstance(raw.get("events"), list):
        raise RefusedError("events", "not_an_event", "Send the array of events itself, [...], not within `events`.")
    _check_envelope(raw)
    return Event(
        id=text(raw, "id", MAX_ID),
        customer=_customer(raw),
        type=text(raw, "type", MAX_ID),
        time=_time(raw, latest),
        properties=encode(_properties(raw)),
        source=text(raw, "source", MAX_SOURCE, required=False),
    )


def _check_envelope(raw: dict[str, Any]) -> None:
    if raw.get("specversion", "1.0") != "1.0":
        raise RefusedError("specversion", "unknown_specversion", "We read CloudEvents 1.0.")
    kind = raw.get("datacontenttype")
    if kind is not None and not (isinstance(kind, str) and kind.partition(";")[0].strip().lower().endswith("json")):
        raise RefusedError("datacontenttype", "not_json", "An event's data is JSON.")
    if "data_base64" in raw:
        raise RefusedError("data_base64", "not_json", "An event's data is a JSON object, not binary.")


def _customer(raw: dict[str, Any]) -> str:
    if raw.get("subject") is None:
        return text(raw, "customer", MAX_ID)
    customer = text(raw, "subject", MAX_ID)
    if raw.get("customer") is not None and text(raw, "customer", MAX_ID) != customer:
        raise RefusedError("customer", "ambiguous", "`subject` and `customer` name two different customers.")
    return customer


def _time(raw: dict[str, Any], latest: datetime) -> datetime:
    given = text(raw, "time", 64)
    try:
        time = msgspec.convert(given, datetime)
    except msgspec.ValidationError:
        raise RefusedError("time", "invalid_time", "`time` is RFC 3339, like 2026-01-31T23:59:59.5Z.") from None
    if time.tzinfo is None:
        raise RefusedError("time", "no_offset", "`time` needs an offset from UTC, such as Z or +01:00.")
    return within(time, "time", latest)


def within(time: datetime, name: str, latest: datetime) -> datetime:
    """The time, which lies where events can lie. Raises RefusedError."""
    if time > latest:
        raise RefusedError(name, "too_far_ahead", f"`{name}` lies more than 24 hours ahead.")
    if time < EARLIEST:
        raise RefusedError(name, "too_early", f"`{name}` lies before 1970.")
    return time


def _properties(raw: dict[str, Any]) -> dict[str, Any]:
    name = "properties" if raw.get("data") is None else "data"
    if name == "data" and raw.get("properties") is not None:
        raise RefusedError("properties", "ambiguous", "Give `data` or `properties`, not both.")
    given = raw.get(name)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise RefusedError(name, "not_an_object", f"`{name}` is {kind_of(given)}: send an object, {{...}}.")
    return given


def _id_of(raw: object) -> str:
    found = raw.get("id") if isinstance(raw, dict) else None
    return printable(found)[:MAX_ID] if isinstance(found, str) else ""


def printable(given: str) -> str:
    """Text that PostgreSQL can hold: without U+0000, lone surrogates made visible."""
    return given.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")
