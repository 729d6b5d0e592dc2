"""Ingestion as it is usually written with DRF: one serializer per event, the ORM's bulk insert. Only to compare with.

It writes to the same table and spares itself the look-up of customer keys, so what differs is the way there.
"""

import uuid
from typing import Any, ClassVar

from django.db import models
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from meters.dictionary import event_types, subjects
from meters.events import Event


class NaiveEvent(models.Model):
    key = models.UUIDField(primary_key=True)
    time = models.DateTimeField()
    subject_id = models.IntegerField()
    event_type_id = models.IntegerField()
    properties = models.JSONField()

    objects: ClassVar[models.Manager["NaiveEvent"]] = models.Manager()

    class Meta:
        app_label = "benchmarks"
        managed = False
        db_table = "meters_event"

    def __str__(self) -> str:
        return str(self.key)


class EventSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(max_length=256)
    type = serializers.CharField(max_length=256)
    subject = serializers.CharField(max_length=256)
    time = serializers.DateTimeField()
    # `source` and `data` are names of the serializer's own attributes.
    data = serializers.DictField()  # type: ignore[assignment]


class NaiveEventsView(APIView):
    authentication_classes = []
    permission_classes = []

    def post(self, request: Request) -> Response:
        serializer = EventSerializer(data=request.data, many=True)
        serializer.is_valid(raise_exception=True)
        rows = serializer.validated_data
        customers = subjects.ids([row["subject"] for row in rows])
        types = event_types.ids([row["type"] for row in rows])
        NaiveEvent.objects.bulk_create([_event(row, customers, types) for row in rows], ignore_conflicts=True)
        return Response(status=204)


def _event(row: dict[str, Any], customers: dict[str, int], types: dict[str, int]) -> NaiveEvent:
    identity = Event(row["id"], row["subject"], row["type"], row["time"])
    return NaiveEvent(
        key=uuid.UUID(bytes=identity.key),
        time=row["time"],
        subject_id=customers[row["subject"]],
        event_type_id=types[row["type"]],
        properties=row["data"],
    )
