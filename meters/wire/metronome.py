"""Metronome: POST /v1/ingest, a bare array of events. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from meters.events import MAX_ID, Decoded, Event, Rejection
from meters.exact_json import MalformedError, split, text
from meters.numbers import parse_json_number
from meters.wire.quick import Given, Name, make_quickly, read_quickly, timely
from meters.wire.reading import MOST, Arrival, make, moment, properties, read_each

ID = "transaction_id"


class _Sent(msgspec.Struct, gc=False):
    """As it arrives where there is nothing to object to."""

    transaction_id: Name
    customer_id: Name
    event_type: Name
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    properties: Given = msgspec.UNSET


_decoder = msgspec.json.Decoder(list[_Sent], float_hook=parse_json_number)


def decode(body: bytes, arrival: Arrival) -> Decoded:
    """Raises MalformedError."""
    if not body.lstrip(b" \t\r\n").startswith(b"["):
        raise MalformedError("not_an_array", "The body is a JSON array of events: send [{...}, {...}].")
    quick = read_quickly(body, _decoder, lambda found: found, lambda sent, _: _quick(sent, arrival))
    return quick or read_each(split(body, MOST), lambda raw, _: read(raw, arrival), ID)


def read(raw: dict[str, Any], arrival: Arrival) -> Event:
    """Raises RefusedError naming the field."""
    return make(
        text(raw, ID, MAX_ID),
        text(raw, "customer_id", MAX_ID),
        text(raw, "event_type", MAX_ID),
        moment(raw.get("timestamp"), "timestamp", arrival.latest),
        properties(raw),
        arrival.now,
    )


def _quick(sent: _Sent, arrival: Arrival) -> Event:
    time = timely(sent.timestamp, arrival.latest)
    return make_quickly(sent.transaction_id, sent.customer_id, sent.event_type, time, sent.properties, arrival.now)


def explain(problem: Mapping[str, Any], rejected: Sequence[Rejection]) -> dict[str, Any]:
    """What Metronome's clients find in a refusal: a message."""
    return {"message": " ".join([problem["detail"], *(f"Event {one.index}: {one.message}" for one in rejected[:10])])}
