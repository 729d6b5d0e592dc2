"""Months of raw events that lie in files."""

from typing import ClassVar

from django.db import models


class EventArchive(models.Model):
    """A month (UTC) of events written to a Parquet file, with what it held, so that the file can be checked.

    While `dropped_at` is set the events lie in the file alone: their buckets stay, and further events of that month are
    refused until it is restored.
    """

    month = models.DateTimeField(unique=True)
    place = models.TextField(help_text="The folder, or s3://bucket/prefix.")
    file = models.CharField(max_length=100)
    size = models.BigIntegerField("bytes")
    events = models.BigIntegerField()
    by_type = models.JSONField(
        "by event type", help_text="Number of events, and the exact sum of every numeric property, as text."
    )
    digest = models.TextField(help_text="Of all rows, whatever their order.")
    exported_at = models.DateTimeField()
    verified_at = models.DateTimeField(null=True, blank=True)
    dropped_at = models.DateTimeField(null=True, blank=True)
    restored_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["EventArchive"]] = models.Manager()

    class Meta:
        ordering = ["-month"]
        verbose_name = "archived month"

    def __str__(self) -> str:
        return f"{self.month:%B %Y}"


class RollerMinute(models.Model):
    """How many events the roller counted in a minute; a row without any says that it was there."""

    minute = models.DateTimeField(primary_key=True)
    events = models.BigIntegerField(default=0)
    seen_at = models.DateTimeField()

    objects: ClassVar[models.Manager["RollerMinute"]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M}: {self.events}"
