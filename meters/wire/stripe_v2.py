"""Stripe's meter events as JSON: POST /v2/billing/meter_events, or many to /v2/billing/meter_event_stream. Pure.

A client may leave out the identifier: then the request names the event, which Stripe's clients do with an idempotency
key that they repeat when they try again. It may leave out the time as well. Values of the payload are text; what
is named `value` is a number. A meter may read its value under another name, so it may be missing beside others.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from meters.events import MAX_ID, Decoded, Event, Rejection
from meters.exact_json import MalformedError, RefusedError, parse, split, split_member, text
from meters.numbers import MAX_EXPONENT, MAX_LENGTH, is_numeric, parse_json_number
from meters.wire.quick import Name, make_quickly, read_quickly
from meters.wire.reading import MOST, Arrival, iso, make, moment_or_none, properties, read_each

ID = "identifier"
EXPIRED = "temporary_session_expired"
# What names the customer in a payload, unless a meter in Stripe says otherwise.
CUSTOMER = "stripe_customer_id"
VALUE = "value"


class _Sent(msgspec.Struct, gc=False):
    """As it arrives where there is nothing to object to."""

    event_name: Name
    payload: dict[str, Any]
    identifier: Name | msgspec.UnsetType | None = msgspec.UNSET
    timestamp: Any = msgspec.UNSET


class _Batch(msgspec.Struct, gc=False):
    events: list[_Sent]


_decoder = msgspec.json.Decoder(_Batch, float_hook=parse_json_number)


def decode(body: bytes, arrival: Arrival, customer_names: Collection[str] = (CUSTOMER,)) -> Decoded:
    """One event. Raises MalformedError."""
    if body.lstrip(b" \t\r\n").startswith(b"["):
        raise MalformedError(
            "not_an_object", "The body is one event, a JSON object: send many to /v2/billing/meter_event_stream."
        )
    return read_each(split(body, MOST), lambda raw, index: read(raw, arrival, customer_names, index), ID, single=True)


def decode_stream(body: bytes, arrival: Arrival, customer_names: Collection[str] = (CUSTOMER,)) -> Decoded:
    """Raises MalformedError."""
    quick = read_quickly(
        body, _decoder, lambda found: found.events, lambda sent, index: _quick(sent, arrival, customer_names, index)
    )
    elements = split_member(body, "events", MOST)
    return quick or read_each(elements, lambda raw, index: read(raw, arrival, customer_names, index), ID)


def read(raw: dict[str, Any], arrival: Arrival, customer_names: Collection[str] = (CUSTOMER,), index: int = 0) -> Event:
    """Raises RefusedError naming the field."""
    payload = properties(raw, "payload")
    named = raw if raw.get(ID) is not None else {ID: _named_by_request(arrival, index)}
    return make(
        text(named, ID, MAX_ID),
        _customer(payload, customer_names),
        text(raw, "event_name", MAX_ID),
        moment_or_none(raw.get("timestamp"), "timestamp", arrival.latest),
        _measured(payload, customer_names),
        arrival.now,
    )


def _quick(sent: _Sent, arrival: Arrival, customer_names: Collection[str], index: int) -> Event:
    customer = _customer(sent.payload, customer_names)
    return make_quickly(
        sent.identifier or _named_by_request(arrival, index),
        customer,
        sent.event_name,
        moment_or_none(sent.timestamp, "timestamp", arrival.latest),
        _measured(sent.payload, customer_names),
        arrival.now,
    )


def answer(event: Event, now: datetime) -> dict[str, Any]:
    """The object that Stripe answers with."""
    return {
        "object": "v2.billing.meter_event",
        "created": iso(now),
        "event_name": event.type,
        "identifier": event.id,
        "livemode": True,
        "payload": payload_of(event),
        "timestamp": iso(event.time),
    }


def explain(problem: Mapping[str, Any], rejected: Sequence[Rejection]) -> dict[str, Any]:
    """What Stripe's clients find in a refusal, of v1 and v2 alike: `error`, with the first thing that is wrong."""
    first = next(iter(problem["errors"]), {"path": "", "code": "", "message": problem["detail"]})
    kind = "invalid_request_error" if problem["status"] < 500 else "api_error"
    if problem["status"] == 429:
        kind = "rate_limit"
    if first["code"] == EXPIRED:
        kind = EXPIRED
    error = {"type": kind, "code": first["code"], "message": first["message"]}
    return {"error": error | ({"param": _parameter(rejected[0])} if rejected else {})}


def payload_of(event: Event) -> dict[str, Any]:
    return {CUSTOMER: event.customer, **parse(event.properties.decode())}


def _named_by_request(arrival: Arrival, index: int) -> str:
    return f"{arrival.id}:{index}"


def _parameter(rejected: Rejection) -> str:
    """The field as Stripe writes it: payload[value]."""
    first, *inner = rejected.path.split(".")
    return first + "".join(f"[{name}]" for name in inner)


def _customer(payload: dict[str, Any], names: Collection[str]) -> str:
    found = {name: payload[name] for name in names if payload.get(name) is not None}
    first = next(iter(found or names))
    if len(set(map(str, found.values()))) > 1:
        message = f"{' and '.join(f'`payload.{name}`' for name in found)} name different customers."
        raise RefusedError(f"payload.{first}", "ambiguous", message)
    path = f"payload.{first}"
    return text({path: found.get(first)}, path, MAX_ID)


def _measured(payload: dict[str, Any], customer_names: Collection[str]) -> dict[str, Any]:
    """The payload without the customer. Raises RefusedError."""
    kept = {key: value for key, value in payload.items() if key not in customer_names}
    value = kept.get(VALUE)
    if value is None and all(each is None for each in kept.values()):
        raise RefusedError(
            f"payload.{VALUE}", "required", f"`payload.{VALUE}` is missing, and any other value as well."
        )
    if value is not None and not _is_number(value):
        message = (
            f"`payload.{VALUE}` is a number such as 25 or 0.5, written with at most {MAX_LENGTH} characters and an "
            f"exponent between -{MAX_EXPONENT} and {MAX_EXPONENT}."
        )
        raise RefusedError(f"payload.{VALUE}", "invalid_number", message)
    return kept


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return is_numeric(value)
    return isinstance(value, int | Decimal) and not isinstance(value, bool)
