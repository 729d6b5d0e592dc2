"""Orb: POST /ingest, `{"events": [...]}`. Its times are UTC and may come without an offset. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from meters.events import MAX_ID, Decoded, Event, Rejection
from meters.exact_json import split_member, text
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


def decode(body: bytes, arrival: Arrival) -> Decoded:
    """Raises MalformedError."""
    return read_each(split_member(body, "events", MOST), lambda raw, _: read(raw, arrival), ID)


def read(raw: dict[str, Any], arrival: Arrival) -> Event:
    """Raises RefusedError naming the field."""
    return make(
        text(raw, ID, MAX_ID),
        one_of(raw, "external_customer_id", "customer_id"),
        text(raw, "event_name", MAX_ID),
        moment(raw, "timestamp", arrival.latest, utc=True),
        properties(raw),
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
