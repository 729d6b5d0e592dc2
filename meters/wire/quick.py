"""A whole body at once, by msgspec; where there is anything to object to, each event is read on its own. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar

import msgspec

from meters.events import DIGITS, LONG_NUMBER, MAX_EVENTS, MAX_ID, Decoded, Event, within
from meters.exact_json import MAX_KEY_LENGTH, RefusedError, check, encode
from meters.numbers import TooBigError
from meters.wire.reading import Untimed

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
Given: TypeAlias = dict[str, Any] | msgspec.UnsetType | None
Item = TypeVar("Item")


class Decoder(Protocol):
    def decode(self, body: bytes, /) -> Any: ...


class LookCloserError(RefusedError):
    """The quick way cannot vouch for this event."""

    def __init__(self) -> None:
        super().__init__("", "look_closer", "")


def read_quickly(
    body: bytes, decoder: Decoder, items: Callable[[Any], Sequence[Item]], event: Callable[[Item, int], Event]
) -> Decoded | None:
    """The events of a body, or None when the slow way has to look.

    Every string of the body must still be there when it is encoded again: a repeated key or a field we do not know
    would have lost some. Without escapes a quotation mark begins or ends a string.
    """
    if b"\\" in body or LONG_NUMBER in body.translate(DIGITS):
        return None
    try:
        decoded = decoder.decode(body)
        found = items(decoded)
        if len(found) > MAX_EVENTS or body.count(b'"') != encode(decoded).count(b'"'):
            return None
        events = [event(one, place) for place, one in enumerate(found)]
    except (msgspec.MsgspecError, RefusedError, TooBigError, ValueError, RecursionError):
        return None
    return Decoded(events, range(len(events)), [])


def make_quickly(id_: str, customer: str, type_: str, time: datetime | None, given: Given, now: datetime) -> Event:
    """The event; `time` was looked at. Raises RefusedError."""
    if len(id_) > MAX_ID or not (id_.strip() and customer.strip() and type_.strip()):
        raise LookCloserError
    properties = b"{}"
    if given:
        properties = encode(given)
        if len(properties) > MAX_KEY_LENGTH or properties.count(b"{") > 1 or b"[" in properties:
            check(given, "", 1)
    kind = Untimed if time is None else Event
    return kind(id=id_, customer=customer, type=type_, time=time or now, properties=properties)


def timely(time: datetime, latest: datetime) -> datetime:
    """Raises RefusedError."""
    return within(time, "", latest)
