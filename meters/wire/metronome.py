"""Metronome: POST /v1/ingest, a bare array of events. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from meters.events import MAX_ID, Decoded, Event, Rejection
from meters.exact_json import MalformedError, split, text
from meters.wire.reading import MOST, Arrival, make, moment, properties, read_each

ID = "transaction_id"


def decode(body: bytes, arrival: Arrival) -> Decoded:
    """Raises MalformedError."""
    if not body.lstrip(b" \t\r\n").startswith(b"["):
        raise MalformedError("not_an_array", "The body is a JSON array of events.")
    return read_each(split(body, MOST), lambda raw, _: read(raw, arrival), ID)


def read(raw: dict[str, Any], arrival: Arrival) -> Event:
    """Raises RefusedError naming the field."""
    return make(
        text(raw, ID, MAX_ID),
        text(raw, "customer_id", MAX_ID),
        text(raw, "event_type", MAX_ID),
        moment(raw, "timestamp", arrival.latest),
        properties(raw),
        arrival.now,
    )


def explain(problem: Mapping[str, Any], rejected: Sequence[Rejection]) -> dict[str, Any]:
    """What Metronome's clients find in a refusal: a message."""
    return {"message": " ".join([problem["detail"], *(f"Event {one.index}: {one.message}" for one in rejected[:10])])}
