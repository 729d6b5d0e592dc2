"""Orb: POST /ingest, `{"events": [...]}`. Its times are UTC and may come without an offset. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from meters.events import MAX_ID, Decoded, Event, Rejection
from meters.exact_json import split_member, text
from meters.numbers import parse_json_number
from meters.wire.quick import Given, LookCloserError, Name, make_quickly, read_quickly, timely
from meters.wire.reading import MOST, Arrival, make, moment, one_of, properties, read_each

ID = "idempotency_key"
# Orb's clients choose the exception they raise by the problem's type.
TYPES = "https://docs.withorb.com/reference/error-responses#"
TYPE_OF = {
    400: "400-request-validation-errors",
    401: "401-authentication-error",
    404: "404-url-not-found",
    413: "413-request-too-large",
    429: "429-too-many-requests",
    500: "500-internal-server-error",
}


class _Sent(msgspec.Struct, gc=False):
    """As it arrives where there is nothing to object to."""

    idempotency_key: Name
    event_name: Name
    timestamp: datetime
    properties: Given = msgspec.UNSET
    external_customer_id: Name | msgspec.UnsetType | None = msgspec.UNSET
    customer_id: Name | msgspec.UnsetType | None = msgspec.UNSET


class _Batch(msgspec.Struct, gc=False):
    events: list[_Sent]


_decoder = msgspec.json.Decoder(_Batch, float_hook=parse_json_number)


def decode(body: bytes, arrival: Arrival) -> Decoded:
    """Raises MalformedError."""
    quick = read_quickly(body, _decoder, lambda found: found.events, lambda sent, _: _quick(sent, arrival))
    return quick or read_each(split_member(body, "events", MOST), lambda raw, _: read(raw, arrival), ID)


def read(raw: dict[str, Any], arrival: Arrival) -> Event:
    """Raises RefusedError naming the field."""
    return make(
        text(raw, ID, MAX_ID),
        one_of(raw, "external_customer_id", "customer_id"),
        text(raw, "event_name", MAX_ID),
        moment(raw.get("timestamp"), "timestamp", arrival.latest, utc=True),
        properties(raw),
        arrival.now,
    )


def _quick(sent: _Sent, arrival: Arrival) -> Event:
    if sent.external_customer_id and sent.customer_id:
        raise LookCloserError
    time = sent.timestamp if sent.timestamp.tzinfo else sent.timestamp.replace(tzinfo=UTC)
    return make_quickly(
        sent.idempotency_key,
        sent.external_customer_id or sent.customer_id or "",
        sent.event_name,
        timely(time, arrival.latest),
        sent.properties,
        arrival.now,
    )


def answer() -> dict[str, Any]:
    return {"validation_failed": []}


def explain(problem: Mapping[str, Any], rejected: Sequence[Rejection]) -> dict[str, Any]:
    """What Orb's clients find in a refusal: its type, and what is wrong with which event."""
    failed = [{ID: one.id, "validation_errors": [one.message]} for one in rejected]
    errors = {"validation_errors": [each["message"] for each in problem["errors"]], "validation_failed": failed}
    known = TYPE_OF.get(problem["status"])
    return {"type": TYPES + known if known else problem["type"], **(errors if problem["status"] == 400 else {})}
