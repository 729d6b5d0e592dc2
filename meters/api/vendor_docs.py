"""How the routes for other systems' clients appear in the API's documentation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.views import APIView

from billing_project.api import MEDIA_TYPE
from meters.api import serializers
from meters.events import MAX_EVENTS, MAX_ID

View = TypeVar("View", bound=type[APIView])
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

NAME = {"type": "string", "minLength": 1, "maxLength": MAX_ID}
TIME = {"type": "string", "format": "date-time"}
SECONDS = {"oneOf": [{"type": "number"}, {"type": "string"}], "nullable": True}
WHOLE_SECONDS = {"type": "integer", "description": "Since 1970."}
PROPERTIES = {"type": "object", "additionalProperties": True, "nullable": True}
PAYLOAD = {"type": "object", "additionalProperties": True, "required": ["stripe_customer_id"]}
NUMBER = {"type": "string", "pattern": r"^-?[0-9]{1,15}(\.[0-9]{1,9})?$"}
SENT_PAYLOAD = {**PAYLOAD, "properties": {"stripe_customer_id": NAME, "value": NUMBER}, "minProperties": 2}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _many(event: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": event, "maxItems": MAX_EVENTS}


LAGO_EVENT = _object(
    {"transaction_id": NAME, "external_subscription_id": NAME, "code": NAME},
    timestamp=SECONDS,
    properties=PROPERTIES,
    precise_total_amount_cents={"oneOf": [{"type": "string"}, {"type": "number"}], "nullable": True},
)
METRONOME_EVENT = _object(
    {"transaction_id": NAME, "customer_id": NAME, "event_type": NAME, "timestamp": TIME}, properties=PROPERTIES
)
ORB_EVENT = _object(
    {"idempotency_key": NAME, "event_name": NAME, "timestamp": TIME, "properties": PROPERTIES},
    external_customer_id={**NAME, "nullable": True},
    customer_id={**NAME, "nullable": True},
)
STRIPE_EVENT = _object(
    {"event_name": NAME, "payload": SENT_PAYLOAD},
    identifier={**NAME, "nullable": True},
    timestamp={**TIME, "nullable": True},
)
STRIPE_FORM = _object(
    {"event_name": NAME, "payload[stripe_customer_id]": NAME},
    identifier=NAME,
    timestamp={"type": "string", "pattern": "^([3-9][0-9]{8}|[1-9][0-9]{9})$", "description": "Seconds, from 1980 on."},
    **{"payload[value]": NUMBER},
)
STRIPE_FORM_ANSWER = _object(
    {"object": NAME, "event_name": NAME, "identifier": NAME, "payload": PAYLOAD},
    created=WHOLE_SECONDS,
    timestamp=WHOLE_SECONDS,
    livemode={"type": "boolean"},
)

LAGO = {
    "transaction_id": "req-8f3a",
    "external_subscription_id": "acme",
    "code": "llm.completion",
    "timestamp": "1767607200.25",
    "properties": {"model": "gpt-4o", "output_tokens": 44},
}
METRONOME = {
    "transaction_id": "req-8f3a",
    "customer_id": "acme",
    "event_type": "llm.completion",
    "timestamp": "2026-01-05T10:00:00Z",
    "properties": {"model": "gpt-4o", "output_tokens": 44},
}
ORB = {
    "idempotency_key": "req-8f3a",
    "external_customer_id": "acme",
    "event_name": "llm.completion",
    "timestamp": "2026-01-05T10:00:00Z",
    "properties": {"model": "gpt-4o", "output_tokens": 44},
}
STRIPE = {
    "identifier": "req-8f3a",
    "event_name": "output_tokens",
    "timestamp": "2026-01-05T10:00:00Z",
    "payload": {"stripe_customer_id": "acme", "value": "44"},
}
STRIPE_FIELDS = {
    "identifier": "req-8f3a",
    "event_name": "output_tokens",
    "timestamp": "1767607200",
    "payload[stripe_customer_id]": "acme",
    "payload[value]": "44",
}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "meters.api.stripe_sessions.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "The token of a session, or a key."}


@dataclass(frozen=True, slots=True)
class Page:
    """What is said of a route beside the summary."""

    about: str
    request: dict[str, Any] | None
    example: object
    answer: dict[str, Any]
    media_type: str = JSON
    refused: int = 400


ONCE = "An event sent again is a success and changes nothing. "
UNTIMED = "Without a timestamp an event happens when its id first arrives. "
VALUED = "The payload's `value` is a number; it may be missing where the payload holds others. "
PAGES = {
    "lago_batch": Page(
        ONCE + UNTIMED + "One event in an `event` object is taken at `/api/v1/events`.",
        _object({"events": _many(LAGO_EVENT)}),
        {"events": [LAGO]},
        _object({"events": _many(LAGO_EVENT)}),
        refused=422,
    ),
    "metronome": Page(ONCE, _many(METRONOME_EVENT), [METRONOME], {"type": "object"}),
    "orb": Page(
        ONCE + "A timestamp without an offset is UTC.",
        _object({"events": _many(ORB_EVENT)}),
        {"events": [ORB]},
        _object({"validation_failed": {"type": "array", "items": {"type": "object"}}}),
    ),
    "stripe_v1": Page(
        ONCE + UNTIMED + VALUED + "Without an identifier the `Idempotency-Key` names the event.",
        STRIPE_FORM,
        STRIPE_FIELDS,
        STRIPE_FORM_ANSWER,
        FORM,
    ),
    "stripe_v2": Page(
        ONCE + UNTIMED + VALUED + "Without an identifier the `Idempotency-Key` names the event.",
        STRIPE_EVENT,
        STRIPE,
        STRIPE_EVENT,
    ),
    "stripe_session": Page(
        "The token stands for the key that asked for it, on the stream only, for 15 minutes.",
        None,
        None,
        _object({"authentication_token": {"type": "string"}, "expires_at": TIME}),
    ),
    "stripe_stream": Page(
        ONCE + UNTIMED + VALUED + "Takes a session's token or a key.",
        _object({"events": _many(STRIPE_EVENT)}),
        {"events": [STRIPE]},
        {"type": "object"},
    ),
}


def documented(name: str, summary: str) -> Callable[[View], View]:
    """A view's page in the documentation."""
    page = PAGES[name]
    example = OpenApiExample("Example", page.example, media_type=page.media_type, request_only=True)
    schema = extend_schema(
        operation_id=f"ingest_{name}",
        tags=["events of other systems' clients"],
        summary=summary,
        description=page.about,
        request={page.media_type: page.request} if page.request else None,
        responses={200: OpenApiResponse(page.answer, description="Stored, or was already."), **_refusals(page.refused)},
        examples=[example] if page.request else [],
    )
    return extend_schema_view(post=schema)


def _refusals(refused: int) -> dict[tuple[int, str], OpenApiResponse]:
    told = {
        400: "The body cannot be read.",
        401: "No key, or not a valid one.",
        403: "The key may not ingest.",
        406: "No answer of that kind.",
        413: "Too many bytes or events.",
        415: "Another content type.",
        429: "Too many events wait to be counted: send these later.",
        503: "The database is not available: send the request again.",
    }
    told[refused] = "Some events were refused, the others are stored."
    return {
        (status, MEDIA_TYPE): OpenApiResponse(
            serializers.IngestRefusalSerializer if status == refused else serializers.RefusalSerializer,
            description=text,
        )
        for status, text in told.items()
    }
