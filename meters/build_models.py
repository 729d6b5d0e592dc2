"""What meters tell apart, and how far the building of new ones has come."""

from typing import ClassVar

from django.db import models


class Value(models.Model):
    """A value that a unique count saw in one hour or day (UTC): 16 bytes of the hash of its text."""

    starting_at = models.DateTimeField()
    value = models.UUIDField()
    meter_id = models.IntegerField()
    subject_id = models.IntegerField()
    group_id = models.IntegerField()

    class Meta:
        abstract = True


class HourValue(Value):
    pk = models.CompositePrimaryKey("meter_id", "subject_id", "starting_at", "group_id", "value")

    objects: ClassVar[models.Manager["HourValue"]] = models.Manager()

    def __str__(self) -> str:
        return f"meter {self.meter_id}, {self.starting_at:%Y-%m-%d %H:00}"


class DayValue(Value):
    pk = models.CompositePrimaryKey("meter_id", "subject_id", "starting_at", "group_id", "value")

    objects: ClassVar[models.Manager["DayValue"]] = models.Manager()

    def __str__(self) -> str:
        return f"meter {self.meter_id}, {self.starting_at:%Y-%m-%d}"


class MeterBuild(models.Model):
    """A meter whose history is being counted, part by part in order of time.

    Events behind `xid` and `base_seq`, as the cursor stood, are history; those since are counted as they come.
    """

    meter = models.OneToOneField("meters.Meter", models.CASCADE, primary_key=True, related_name="build")
    xid = models.BigIntegerField()
    base_seq = models.BigIntegerField()
    position = models.DateTimeField(null=True, help_text="Events before this instant are counted.")
    events = models.BigIntegerField(default=0, help_text="All events there were, of whatever type.")
    started_at = models.DateTimeField()

    objects: ClassVar[models.Manager["MeterBuild"]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.meter} up to {self.position}"
