"""POST /api/v1/events: usage events in, exactly once, acknowledged after the commit."""

from collections.abc import Sequence
from http import HTTPStatus

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.api import MEDIA_TYPE, Caller, TooLarge, problem, requires
from billing_project.errors import Problem
from billing_project.models import Scope
from meters.api import serializers
from meters.api.event_list import EventList
from meters.api.parsers import Body, CloudEventBatchParser, CloudEventParser, JsonParser
from meters.api.taking import take
from meters.api.vendor_docs import LAGO as LAGO_EXAMPLE
from meters.api.vendors import LAGO, take_in
from meters.events import TooManyEventsError, decode
from meters.exact_json import MalformedError
from meters.wire import cloudevents, lago
from meters.wire.reading import Arrival

EXAMPLE = {
    "specversion": "1.0",
    "id": "req-8f3a",
    "source": "gateway-eu-1",
    "type": "llm.completion",
    "subject": "acme",
    "time": "2026-01-05T10:00:00Z",
    "data": {"model": "gpt-4o", "input_tokens": 374, "output_tokens": 44},
}
PLAIN = {
    "id": "req-8f3b",
    "type": "llm.completion",
    "customer": "acme",
    "time": "2026-01-05T10:00:01Z",
    "properties": {"model": "gpt-4o", "input_tokens": 396, "output_tokens": 109},
}


class Negotiation(DefaultContentNegotiation):
    """In binary mode the body's content type is that of the data, which clients tend to leave out: it is JSON."""

    def select_parser(self, request: Request, parsers: Sequence[BaseParser]) -> BaseParser | None:  # type: ignore[override]
        if cloudevents.is_binary(request.headers, request.content_type):
            return JsonParser()
        return super().select_parser(request, parsers)


class EventsView(EventList):
    permission_classes = [requires(Scope.INGEST)]
    parser_classes = [CloudEventBatchParser, CloudEventParser, JsonParser]
    content_negotiation_class = Negotiation

    @extend_schema(
        operation_id="ingest_events",
        tags=["events"],
        summary="Send usage events",
        description=(
            "One event or up to 10,000, in at most 10 MB (gzip accepted, the limit holds for what is inside). "
            "Send them as often as you like and in any order: an event is identified by `source` and `id` and counts "
            "once. Answers 204 when every event is stored (or was already), after the commit. When some are rejected "
            "the others are kept, and the answer is 400 with each rejected event's index, id and reason. "
            "With `Prefer: return=representation` or `?report=1` success is 200 with a report. "
            "CloudEvents come in binary mode too: attributes in `ce-` headers, the data as the body. "
            'What Lago\'s clients send, `{"event": {...}}`, is answered as they expect: 200 with the event, or 422.'
        ),
        parameters=[
            OpenApiParameter("report", bool, description="Answer 200 with a report instead of 204."),
            OpenApiParameter("Prefer", str, OpenApiParameter.HEADER, description="`return=representation`, the same."),
        ],
        request={
            "application/cloudevents+json": serializers.CloudEventSerializer,
            "application/cloudevents-batch+json": serializers.CloudEventSerializer(many=True),
            "application/json": PolymorphicProxySerializer(
                "JsonEvents",
                [
                    serializers.UsageEventSerializer,
                    serializers.UsageEventSerializer(many=True),
                    serializers.LagoSingleSerializer,
                ],
                resource_type_field_name=None,
                many=False,
            ),
        },
        responses={
            200: OpenApiResponse(
                PolymorphicProxySerializer(
                    "IngestAnswer",
                    [serializers.ReportSerializer, serializers.LagoSingleSerializer],
                    resource_type_field_name=None,
                ),
                description="A report, where one was asked for; Lago's event.",
            ),
            204: OpenApiResponse(description="Every event is stored, or was already."),
            (400, MEDIA_TYPE): OpenApiResponse(serializers.IngestRefusalSerializer, description="Some or all refused."),
            (401, MEDIA_TYPE): OpenApiResponse(serializers.RefusalSerializer, description="No key, or no valid one."),
            (403, MEDIA_TYPE): OpenApiResponse(serializers.RefusalSerializer, description="The key may not ingest."),
            (406, MEDIA_TYPE): OpenApiResponse(serializers.RefusalSerializer, description="No answer of that kind."),
            (413, MEDIA_TYPE): OpenApiResponse(serializers.RefusalSerializer, description="Too many bytes or events."),
            (415, MEDIA_TYPE): OpenApiResponse(serializers.RefusalSerializer, description="Another content type."),
            (422, MEDIA_TYPE): OpenApiResponse(serializers.IngestRefusalSerializer, description="Lago's was refused."),
            (429, MEDIA_TYPE): OpenApiResponse(serializers.RefusalSerializer, description="Too many wait: send later."),
            (503, MEDIA_TYPE): OpenApiResponse(serializers.RefusalSerializer, description="No database: send later."),
        },
        examples=[
            OpenApiExample("CloudEvent", EXAMPLE, media_type="application/cloudevents+json", request_only=True),
            OpenApiExample("Batch", EXAMPLE, media_type="application/cloudevents-batch+json", request_only=True),
            OpenApiExample("Plain JSON", [PLAIN], media_type="application/json", request_only=True),
            OpenApiExample("Lago", {"event": LAGO_EXAMPLE}, media_type="application/json", request_only=True),
        ],
    )
    def post(self, request: Request) -> HttpResponse | Response:
        try:
            body = _body(request)
            if cloudevents.is_binary(request.headers, request.content_type):
                decoded = cloudevents.decode(request.headers, body.content, Arrival(timezone.now()))
            elif body.single and body.batch and lago.is_event(body.content):
                return take_in(LAGO, request)
            else:
                decoded = decode(body.content, now=timezone.now(), single=body.single, batch=body.batch)
        except TooManyEventsError as error:
            raise TooLarge(error.message, error.code) from None
        except MalformedError as error:
            return _refuse(error.message, [Problem(error.path, error.code, error.message)])
        taken = take(decoded, _sender(request))
        if taken.rejected:
            return Response(taken.refusal(), status=HTTPStatus.BAD_REQUEST, content_type=MEDIA_TYPE)
        if _wants_report(request):
            return Response(taken.report(), headers={"Preference-Applied": "return=representation"})
        return Response(status=HTTPStatus.NO_CONTENT)


def _sender(request: Request) -> str:
    return request.auth.name if isinstance(request.auth, Caller) else ""


def _body(request: Request) -> Body:
    # Without a body the parsers are not asked at all.
    given = request.data
    return given if isinstance(given, Body) else Body(b"", single=True, batch=True)


def _refuse(detail: str, problems: Sequence[Problem]) -> Response:
    status = HTTPStatus.BAD_REQUEST
    return Response(problem(status, detail, problems), status=status, content_type=MEDIA_TYPE)


def _wants_report(request: Request) -> bool:
    preferences = request.headers.get("Prefer", "").replace(" ", "").lower().split(",")
    return "return=representation" in preferences or request.query_params.get("report", "") in {"1", "true"}
