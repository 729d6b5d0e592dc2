"""The shapes of the ingestion API, for its documentation. Requests are decoded by `meters.events`, not by these."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema_field
from rest_framework import serializers

from billing_project.api import MEDIA_TYPE
from meters.events import MAX_ID, MAX_SOURCE


class CloudEventSerializer(serializers.Serializer[Any]):
    specversion = serializers.ChoiceField(choices=["1.0"], required=False)
    id = serializers.CharField(max_length=MAX_ID, help_text="With `source`, the identity: sent again nothing changes.")
    source = serializers.CharField(max_length=MAX_SOURCE, required=False, allow_blank=True)  # type: ignore[assignment]
    type = serializers.CharField(max_length=MAX_ID, help_text="The event type meters look for.")
    subject = serializers.CharField(max_length=MAX_ID, help_text="The customer key; `customer` is another name for it.")
    time = serializers.DateTimeField(help_text="RFC 3339 with an offset; at most 24 hours ahead, any distance back.")
    data = serializers.DictField(  # type: ignore[assignment]
        required=False,
        allow_null=True,
        help_text="The event's properties; `properties` is another name. Numbers are kept to the digit.",
    )


class UsageEventSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(max_length=MAX_ID)
    source = serializers.CharField(max_length=MAX_SOURCE, required=False, allow_blank=True)  # type: ignore[assignment]
    type = serializers.CharField(max_length=MAX_ID)
    customer = serializers.CharField(max_length=MAX_ID)
    time = serializers.DateTimeField()
    properties = serializers.DictField(required=False, allow_null=True)


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "number"}], "nullable": True})
class NumberOrTextField(serializers.CharField):
    """As other systems' clients send it: either."""


class LagoEventSerializer(serializers.Serializer[Any]):
    transaction_id = serializers.CharField(max_length=MAX_ID)
    external_subscription_id = serializers.CharField(max_length=MAX_ID)
    code = serializers.CharField(max_length=MAX_ID)
    timestamp = NumberOrTextField(required=False, allow_null=True, help_text="Seconds since 1970.")
    properties = serializers.DictField(required=False, allow_null=True)
    precise_total_amount_cents = NumberOrTextField(required=False, allow_null=True)


class LagoSingleSerializer(serializers.Serializer[Any]):
    event = LagoEventSerializer()


class RejectedSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="The event's place in the request, from 0.")
    id = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    message = serializers.CharField()


class ReportSerializer(serializers.Serializer[Any]):
    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    rejected = RejectedSerializer(many=True)


class ProblemSerializer(serializers.Serializer[Any]):
    path = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    message = serializers.CharField()


class RefusalSerializer(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    errors = ProblemSerializer(many=True)  # type: ignore[assignment]


class IngestRefusalSerializer(RefusalSerializer):
    accepted = serializers.IntegerField(required=False)
    duplicates = serializers.IntegerField(required=False)
    rejected = RejectedSerializer(many=True, required=False)


REFUSED_READS = {
    (401, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description="No key, or no valid one."),
    (403, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description="The key may not read."),
    (404, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description="No such format."),
    (406, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description="No such format."),
    (414, "text/html"): OpenApiResponse(
        str, description="The web server takes no address of this length: ask for fewer customers at a time."
    ),
    (503, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description="No database: ask later."),
}
