"""GET /api/v1/events: what arrived, what meters make of it, and what was refused or stands in conflict."""

import base64
import binascii
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_project.api import MEDIA_TYPE, requires
from billing_project.api_csv import CsvRenderer
from billing_project.models import Scope
from meters.api.serializers import REFUSED_READS, RefusalSerializer
from meters.event_log import EventQuery, Place, conflicts_of, find_events, rejections_of
from meters.event_matches import Match, events_that_count, matches_of
from meters.events import MAX_ID, MAX_SOURCE
from meters.exact_json import encode, parse_stored
from meters.models import Conflict, Event, Meter, RejectedEvent

COLUMNS = ("key", "customer", "type", "time", "counts", "properties", "meters")
MAX_LIMIT = 1_000
EXAMPLE = {
    "data": [
        {
            "key": "5b2f7d3c-0a41-6d0e-93d5-4f1f7a0e9b11",
            "customer": "acme",
            "type": "llm.completion",
            "time": "2026-01-05T10:00:00Z",
            "properties": {"model": "gpt-4o", "output_tokens": 44},
            "counts": True,
            "meters": [
                {"meter": "output-tokens", "matched": True, "value": "44", "group": {"model": "gpt-4o"}, "reason": ""},
                {
                    "meter": "images",
                    "matched": False,
                    "value": None,
                    "group": None,
                    "reason": "It has no property images.",
                },
            ],
        }
    ],
    "conflicts": [
        {
            "key": "5b2f7d3c-0a41-6d0e-93d5-4f1f7a0e9b11",
            "kind": "body",
            "customer": "acme",
            "type": "llm.completion",
            "time": "2026-01-05T10:00:00Z",
            "kept_time": "2026-01-05T10:00:00Z",
            "seen_at": "2026-01-05T10:00:07Z",
            "properties": {"model": "gpt-4o", "output_tokens": 45},
        }
    ],
    "rejected": [],
    "next": None,
}


@extend_schema_field(OpenApiTypes.STR)
class CursorField(serializers.Field[Place, str, str, Any]):
    """The place where an answer ended, as it stands in its `next`."""

    def to_internal_value(self, data: str) -> Place:
        try:
            time, _, key = base64.urlsafe_b64decode(data.encode()).decode().partition(" ")
            return Place(datetime.fromisoformat(time).astimezone(UTC), uuid.UUID(key))
        except (ValueError, OverflowError, binascii.Error):
            raise serializers.ValidationError(
                "Follow the address under `next`, or take its `cursor` as it is.", "bad_cursor"
            ) from None

    def to_representation(self, value: Place) -> str:
        return base64.urlsafe_b64encode(f"{value.time.isoformat()} {value.key}".encode()).decode()


class EventsQuerySerializer(serializers.Serializer[Any]):
    customer = serializers.ListField(
        child=serializers.CharField(max_length=MAX_ID),
        required=False,
        max_length=100,
        help_text="The customer key that events name; repeat it for several.",
    )
    id = serializers.CharField(
        required=False, max_length=MAX_ID, help_text="With `source`, one identity: its event, conflicts, rejections."
    )
    source = serializers.CharField(  # type: ignore[assignment]
        required=False, allow_blank=True, max_length=MAX_SOURCE, help_text="Of the `id`. Default: none."
    )
    type = serializers.CharField(required=False, max_length=MAX_ID, help_text="The event type.")
    to = serializers.DateTimeField(required=False, default_timezone=UTC, help_text="Events before it.")
    limit = serializers.IntegerField(default=100, min_value=1, max_value=MAX_LIMIT)
    cursor = CursorField(required=False, help_text="Where to go on: from `next`.")

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name Python lets a class have.
        first = serializers.DateTimeField(
            required=False,
            default_timezone=UTC,
            help_text="RFC 3339. Needed to find an `id` older than the days for which identities are remembered.",
        )
        return {**super().get_fields(), "from": first}

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if "from" in given and "to" in given and given["from"] >= given["to"]:
            raise serializers.ValidationError({"to": "Must be later than `from`."}, "empty_period")
        if given.get("source") and not given.get("id"):
            raise serializers.ValidationError({"id": "A `source` is looked for with its `id` only."}, "required")
        return given

    def query(self) -> EventQuery:
        given = self.validated_data
        return EventQuery(
            customers=tuple(given.get("customer", ())),
            id=given.get("id", ""),
            source=given.get("source", ""),
            type=given.get("type", ""),
            since=given.get("from"),
            until=given.get("to"),
            before=given.get("cursor"),
            limit=given["limit"],
        )


class MatchSerializer(serializers.Serializer[Any]):
    meter = serializers.CharField()
    matched = serializers.BooleanField()
    value = serializers.CharField(allow_null=True, help_text="What the meter reads, exact, as text.")
    group = serializers.DictField(child=serializers.CharField(allow_null=True), allow_null=True)
    reason = serializers.CharField(allow_blank=True, help_text="Why it does not match.")


class EventSerializer(serializers.Serializer[Any]):
    key = serializers.UUIDField(help_text="Stands for `source` and `id`, which are not kept themselves.")
    customer = serializers.CharField()
    type = serializers.CharField()
    time = serializers.DateTimeField()
    properties = serializers.DictField(help_text="Numbers to the digit.")
    counts = serializers.BooleanField(help_text="False: another event of the same identity counts.")
    meters = MatchSerializer(many=True, help_text="The meters of this event type; none: no meter counts such events.")


class ConflictSerializer(serializers.Serializer[Any]):
    key = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=Conflict.Kind.values)
    customer = serializers.CharField()
    type = serializers.CharField()
    time = serializers.DateTimeField()
    kept_time = serializers.DateTimeField(help_text="The time of the event that counts.")
    seen_at = serializers.DateTimeField()
    properties = serializers.DictField()


class RejectionSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(allow_blank=True)
    path = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    message = serializers.CharField()
    times = serializers.IntegerField(help_text="How often it was sent.")
    last_at = serializers.DateTimeField()
    body = serializers.CharField()


class EventsSerializer(serializers.Serializer[Any]):
    data = EventSerializer(many=True)  # type: ignore[assignment]
    conflicts = ConflictSerializer(many=True, help_text="Events under the identity of one above; never counted.")
    rejected = RejectionSerializer(many=True, help_text="What was not taken under the `id` asked for.")
    next = serializers.URLField(allow_null=True, help_text="More. A page may be short, or empty, and have one.")


class ExactJsonRenderer(JSONRenderer):
    """Numbers stay as they arrived."""

    def render(self, data: Any, accepted: str | None = None, context: Mapping[str, Any] | None = None) -> bytes:
        return encode(data)


class EventsCsvRenderer(CsvRenderer):
    def table(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
        return COLUMNS, (
            [
                *(row[name] for name in COLUMNS[:4]),
                "true" if row["counts"] else "false",
                encode(row["properties"]).decode(),
                " ".join(f"{each['meter']}={each['value']}" for each in row["meters"] if each["matched"]),
            ]
            for row in rows
        )


class EventList(APIView):
    """The reading half of the address events are sent to."""

    def get_permissions(self) -> Any:
        return [requires(Scope.READ)()] if self._reads() else super().get_permissions()

    def get_renderers(self) -> list[BaseRenderer]:
        return [ExactJsonRenderer(), EventsCsvRenderer()] if self._reads() else super().get_renderers()

    def _reads(self) -> bool:
        return self.request is not None and self.request.method in {"GET", "HEAD"}

    @extend_schema(
        operation_id="list_events",
        tags=["events"],
        summary="See what arrived",
        description=(
            "Events newest first, each with the meters that count it, for which value and group, or why not. With an "
            "`id` also what arrived under the same identity and does not count: conflicts, and what was rejected. "
            "An exact repetition leaves no trace: it changed nothing. `Accept: text/csv` or `?format=csv` answers with "
            "CSV and the address of the next page in the header `Link`."
        ),
        parameters=[EventsQuerySerializer],
        responses={
            (200, "application/json"): EventsSerializer,
            (200, "text/csv"): OpenApiResponse(str, description="The events; of meters those that match."),
            (400, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description="A parameter is wrong."),
            **REFUSED_READS,
        },
        examples=[OpenApiExample("An event", EXAMPLE, response_only=True, media_type="application/json")],
    )
    def get(self, request: Request) -> Response:
        given = EventsQuerySerializer(data=_given(request))
        given.is_valid(raise_exception=True)
        query = given.query()
        page = find_events(query)
        keys = {event.key for event in page.events} | ({query.key} if query.key else set())
        following = _address(request, page.next) if page.next else None
        answer = {
            "data": _rows(page.events),
            "conflicts": [_conflict(each) for each in conflicts_of(keys)],
            "rejected": [_rejected(each) for each in rejections_of(query.id)],
            "next": following,
        }
        return Response(answer, headers={"Link": f'<{following}>; rel="next"'} if following else {})


def _given(request: Request) -> dict[str, Any]:
    query = request.query_params
    return {name: query.getlist(name) if name == "customer" else query[name] for name in query}


def _address(request: Request, place: Place) -> str:
    query = request.query_params.copy()
    query["cursor"] = CursorField().to_representation(place)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


def _rows(events: Sequence[Event]) -> list[dict[str, Any]]:
    counted, matches = events_that_count(events), matches_of(events, Meter.objects.all())
    return [
        {
            "key": event.key,
            "customer": event.subject.key,
            "type": event.event_type.name,
            "time": _text(event.time),
            "properties": _properties(event),
            "counts": (event.time, event.key) in counted,
            "meters": [_match(each) for each in matches.get((event.time, event.key), ())],
        }
        for event in events
    ]


def _match(match: Match) -> dict[str, Any]:
    return {
        "meter": match.meter,
        "matched": match.matched,
        "value": match.value,
        "group": match.group,
        "reason": match.reason,
    }


def _conflict(conflict: Conflict) -> dict[str, Any]:
    return {
        "key": conflict.key,
        "kind": conflict.kind,
        "customer": conflict.customer,
        "type": conflict.event_type,
        "time": _text(conflict.time),
        "kept_time": _text(conflict.kept_time),
        "seen_at": _text(conflict.seen_at),
        "properties": _properties(conflict),
    }


def _rejected(event: RejectedEvent) -> dict[str, Any]:
    return {
        "id": event.event_id,
        "path": event.path,
        "code": event.code,
        "message": event.message,
        "times": event.times,
        "last_at": _text(event.last_at),
        "body": event.body,
    }


def _properties(row: Event | Conflict) -> Any:
    return parse_stored(getattr(row, "text", "{}"))


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
