"""GET /api/v1/usage: what meters measured, by customer, group and window; JSON or CSV."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_project.api import MEDIA_TYPE, requires
from billing_project.api_csv import CsvRenderer
from billing_project.decimals import plain
from billing_project.models import Scope
from contracts.models import Customer
from contracts.usage_report import WINDOWS, UsageRow, usage_rows, windows
from meters.api.serializers import REFUSED_READS, RefusalSerializer
from meters.models import Meter
from meters.periods import Period

COLUMNS = ("customer", "meter", "starting_at", "ending_before", "group", "quantity", "events")
MAX_CUSTOMERS = 1_000


class MeterField(serializers.SlugRelatedField[Meter]):
    """A meter by its key; PostgreSQL would not even look for one with U+0000 in it."""

    def to_internal_value(self, data: str) -> Meter:
        if "\0" in data:
            self.fail("invalid")
        return super().to_internal_value(data)


class UsageQuerySerializer(serializers.Serializer[Any]):
    customer = serializers.ListField(
        child=serializers.CharField(max_length=256),
        required=False,
        max_length=MAX_CUSTOMERS,
        help_text="Customer key or alias; repeat it for several. None: every customer.",
    )
    meter = MeterField(
        slug_field="key",
        queryset=Meter.objects.all(),
        many=True,
        required=False,
        help_text="Meter key; repeat it for several. None: every meter that is not archived.",
    )
    to = serializers.DateTimeField(required=False, default_timezone=UTC, help_text="Default: now.")
    window = serializers.ChoiceField(choices=WINDOWS, required=False, help_text="None: one row for the whole time.")
    group_by = serializers.CharField(required=False, help_text="Group keys of the meters, separated by commas.")
    tz = serializers.CharField(
        default="UTC", help_text="Where days, weeks and months begin, such as Europe/Berlin; hours are UTC's."
    )

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name Python lets a class have.
        first = serializers.DateTimeField(
            required=False, default_timezone=UTC, help_text="RFC 3339. Default: the first of this month."
        )
        return {**super().get_fields(), "from": first}

    def validate_tz(self, name: str) -> ZoneInfo:
        if name not in available_timezones():
            raise serializers.ValidationError(
                "Give a time zone name, such as Europe/Berlin or UTC.", "unknown_timezone"
            )
        return ZoneInfo(name)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        now = timezone.now()
        zone = given["tz"]
        local = now.astimezone(zone)
        start = given.get("from") or datetime(local.year, local.month, 1, tzinfo=zone)
        end = given.get("to") or now
        if start >= end:
            raise serializers.ValidationError({"to": "Must be later than `from`."}, "empty_period")
        return {**given, "period": Period(start.astimezone(UTC), end.astimezone(UTC))}


class UsageRowSerializer(serializers.Serializer[Any]):
    customer = serializers.CharField(help_text="The customer's main key, also where an alias was asked for.")
    meter = serializers.CharField()
    starting_at = serializers.DateTimeField()
    ending_before = serializers.DateTimeField()
    group = serializers.DictField(child=serializers.CharField(allow_null=True))
    quantity = serializers.CharField(help_text="Exact, as text.")
    events = serializers.IntegerField()


class UsageSerializer(serializers.Serializer[Any]):
    data = UsageRowSerializer(many=True)  # type: ignore[assignment]


class UsageCsvRenderer(CsvRenderer):
    """A column for each group key."""

    def table(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
        keys = list(dict.fromkeys(key for row in rows for key in row["group"]))
        header = [*COLUMNS[:4], *keys, *COLUMNS[5:]]
        return header, (
            [
                *(row[name] for name in COLUMNS[:4]),
                *(row["group"].get(key) for key in keys),
                *(row[name] for name in COLUMNS[5:]),
            ]
            for row in rows
        )


class UsageView(APIView):
    permission_classes = [requires(Scope.READ)]
    renderer_classes = [JSONRenderer, UsageCsvRenderer]

    @extend_schema(
        operation_id="read_usage",
        tags=["usage"],
        summary="Read usage",
        description=(
            "Exact the moment a post of events is acknowledged. Only windows and groups with events have a row. "
            "`Accept: text/csv` or `?format=csv` answers with CSV."
        ),
        parameters=[UsageQuerySerializer],
        responses={
            (200, "application/json"): UsageSerializer,
            (200, "text/csv"): OpenApiResponse(str, description="The same rows, a column for each group key."),
            (400, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description="A parameter is wrong."),
            **REFUSED_READS,
            (409, MEDIA_TYPE): OpenApiResponse(
                RefusalSerializer,
                description="It has to be read from events of a month that is archived; `detail` names it.",
            ),
            (422, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description="A group key no meter has, or too much."),
        },
        examples=[
            OpenApiExample(
                "A day by model",
                {
                    "data": [
                        {
                            "customer": "acme",
                            "meter": "output-tokens",
                            "starting_at": "2026-01-05T00:00:00Z",
                            "ending_before": "2026-01-06T00:00:00Z",
                            "group": {"model": "gpt-4o"},
                            "quantity": "1200",
                            "events": 3,
                        }
                    ]
                },
                response_only=True,
                media_type="application/json",
            )
        ],
    )
    def get(self, request: Request) -> Response:
        query = UsageQuerySerializer(data=_given(request))
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        parts = windows(asked["period"], asked.get("window", ""), asked["tz"])
        customers = asked.get("customer") or Customer.objects.order_by("key").values_list("key", flat=True)
        meters = asked.get("meter") or list(Meter.objects.open())
        group_by = tuple(key.strip() for key in asked.get("group_by", "").split(",") if key.strip())
        return Response({"data": [_row(row) for row in usage_rows(customers, meters, parts, group_by)]})


def _given(request: Request) -> dict[str, Any]:
    """The query with its repeatable parameters as lists; group keys have commas between, however they were given."""
    query = request.query_params
    single = {name: query[name] for name in query if name not in {"customer", "meter"}}
    many = {name: query.getlist(name) for name in ("customer", "meter") if name in query}
    keys = {"group_by": ",".join(query.getlist("group_by"))} if "group_by" in query else {}
    return {**single, **keys, **many}


def _row(row: UsageRow) -> dict[str, Any]:
    return {
        "customer": row.customer,
        "meter": row.meter,
        "starting_at": _text(row.period.starting_at),
        "ending_before": _text(row.period.ending_before),
        "group": row.group,
        "quantity": plain(row.quantity),
        "events": row.events,
    }


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
