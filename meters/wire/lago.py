"""Lago: POST /api/v1/events, `{"event": {...}}`, and /api/v1/events/batch, `{"events": [...]}`. Pure.

The time is in seconds since 1970, a number or numeric text, and may be left out.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from meters.events import MAX_ID, Decoded, Event, Rejection
from meters.exact_json import RefusedError, parse, split_member, text
from meters.numbers import parse_json_number
from meters.wire.quick import Given, Name, make_quickly, read_quickly
from meters.wire.reading import MOST, Arrival, iso, make, moment_or_none, one_of, properties, read_each

ID = "transaction_id"
AMOUNT = "precise_total_amount_cents"

_wrapped = re.compile(rb'\s*{\s*"event"\s*:\s*[^"\s]')


class _Sent(msgspec.Struct, gc=False):
    """As it arrives where there is nothing to object to."""

    transaction_id: Name
    external_subscription_id: Name
    code: Name
    timestamp: Any = msgspec.UNSET
    properties: Given = msgspec.UNSET
    precise_total_amount_cents: msgspec.UnsetType | None = msgspec.UNSET


class _Batch(msgspec.Struct, gc=False):
    events: list[_Sent]


_decoder = msgspec.json.Decoder(_Batch, float_hook=parse_json_number)


def is_event(body: bytes) -> bool:
    """Whether a body is one event of Lago's; the path is shared with CloudEvents, whose attributes are no objects."""
    return _wrapped.match(body) is not None


def decode(body: bytes, arrival: Arrival) -> Decoded:
    """A batch. Raises MalformedError."""
    quick = read_quickly(body, _decoder, lambda found: found.events, lambda sent, _: _quick(sent, arrival))
    return quick or read_each(split_member(body, "events", MOST), lambda raw, _: read(raw, arrival), ID)


def decode_one(body: bytes, arrival: Arrival) -> Decoded:
    """Raises MalformedError."""
    elements = split_member(body, "event", MOST, many=False)
    return read_each(elements, lambda raw, _: read(raw, arrival), ID, single=True)


def read(raw: dict[str, Any], arrival: Arrival) -> Event:
    """Raises RefusedError naming the field."""
    return make(
        text(raw, ID, MAX_ID),
        one_of(raw, "external_subscription_id", "external_customer_id"),
        text(raw, "code", MAX_ID),
        moment_or_none(raw.get("timestamp"), "timestamp", arrival.latest),
        _properties(raw),
        arrival.now,
    )


def _quick(sent: _Sent, arrival: Arrival) -> Event:
    time = moment_or_none(sent.timestamp, "timestamp", arrival.latest)
    return make_quickly(
        sent.transaction_id, sent.external_subscription_id, sent.code, time, sent.properties, arrival.now
    )


def answer(event: Event, now: datetime) -> dict[str, Any]:
    """The event object that Lago answers with."""
    given = parse(event.properties.decode())
    amount = given.pop(AMOUNT) if _is_amount(given.get(AMOUNT)) else None
    return {
        "lago_id": None,
        "transaction_id": event.id,
        "lago_customer_id": None,
        "lago_subscription_id": None,
        "external_subscription_id": event.customer,
        "code": event.type,
        "timestamp": iso(event.time),
        AMOUNT: amount,
        "properties": given,
        "created_at": iso(now),
    }


def explain(problem: Mapping[str, Any], rejected: Sequence[Rejection]) -> dict[str, Any]:
    """What Lago's clients find in a refused batch: codes by place and field."""
    if not rejected:
        return {"error": problem["title"]}
    details: dict[str, dict[str, list[str]]] = {}
    for one in rejected:
        details.setdefault(str(one.index), {}).setdefault(one.path, []).append(one.code)
    return {"error": problem["title"], "code": "validation_errors", "error_details": details}


def explain_one(problem: Mapping[str, Any], rejected: Sequence[Rejection]) -> dict[str, Any]:
    """The same for one event: codes by field."""
    answer = explain(problem, rejected)
    return answer | {"error_details": answer["error_details"]["0"]} if rejected else answer


def _properties(raw: dict[str, Any]) -> dict[str, Any]:
    """With the amount of a dynamic charge, which Lago's clients send beside them. Raises RefusedError."""
    given, amount = properties(raw), raw.get(AMOUNT)
    if amount is None:
        return given
    if not _is_amount(amount):
        raise RefusedError(AMOUNT, "invalid_number", f"`{AMOUNT}` is a number or a text.")
    return {AMOUNT: amount, **given}


def _is_amount(given: object) -> bool:
    return isinstance(given, str | int | Decimal) and not isinstance(given, bool)
