"""Spans of time as the database compares them."""

from django.contrib.postgres.fields import DateTimeRangeField
from django.db.models import Func


class TimestampRange(Func):
    function = "tstzrange"
    output_field = DateTimeRangeField()
