"""Stripe's meter events as a form: POST /v1/billing/meter_events, with `payload[value]=5`. Pure."""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from meters.events import Decoded, Event
from meters.exact_json import MalformedError
from meters.wire.reading import Arrival, read_each
from meters.wire.stripe_v2 import CUSTOMER, ID, payload_of, read

MAX_FIELDS = 1000
FORM = "event_name=calls&payload[stripe_customer_id]=cus_1&payload[value]=25"

_part = re.compile(r"payload\[([^\[\]]+)\]")


def decode(body: bytes, arrival: Arrival, customer_names: Collection[str] = (CUSTOMER,)) -> Decoded:
    """Raises MalformedError."""
    sent = _text(body)
    elements = [(_nested(sent), sent)]
    return read_each(elements, lambda raw, index: read(raw, arrival, customer_names, index), ID, single=True)


def answer(event: Event, now: datetime) -> dict[str, Any]:
    """The object that Stripe answers with."""
    return {
        "object": "billing.meter_event",
        "created": int(now.timestamp()),
        "event_name": event.type,
        "identifier": event.id,
        "livemode": True,
        "payload": payload_of(event),
        "timestamp": int(event.time.timestamp()),
    }


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("not_utf8", f"The body is not UTF-8 (at byte {error.start}).") from None


def _nested(sent: str) -> dict[str, Any]:
    """The fields, those of the payload in an object of their own. Raises MalformedError."""
    payload: dict[str, str] = {}
    raw: dict[str, Any] = {}
    for name, value in _fields(sent):
        part = _part.fullmatch(name)
        into, key = (payload, part[1]) if part else (raw, name)
        if key in into or name == "payload":
            raise MalformedError("repeated_key", f"The field `{name}` appears twice, or as text where fields belong.")
        into[key] = value
    return {**raw, "payload": payload}


def _fields(sent: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(sent, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise MalformedError("not_utf8", "The form's values are not UTF-8.") from None
    except ValueError as error:
        raise MalformedError("malformed_form", f"The body is not a form such as {FORM}: {error}.") from None
