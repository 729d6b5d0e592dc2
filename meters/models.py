"""What happened, and how it is measured. Events and buckets lie in hand-made tables: migrations/0002_storage.py."""

from datetime import datetime
from typing import ClassVar

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models

from billing_project.fields import ExactField, key_field
from billing_project.history import tracked
from meters.archive_models import EventArchive as EventArchive
from meters.archive_models import RollerMinute as RollerMinute
from meters.build_models import DayValue as DayValue
from meters.build_models import HourValue as HourValue
from meters.build_models import MeterBuild as MeterBuild
from meters.definition import MEANING, clean_definition
from meters.late_models import LateDay as LateDay
from meters.source_models import EventSource as EventSource
from meters.source_models import ImportedFile as ImportedFile
from meters.source_models import ImportRun as ImportRun
from meters.touched_models import Touched as Touched
from meters.touched_models import TouchFailure as TouchFailure
from meters.touched_models import TouchReader as TouchReader


class Aggregation(models.TextChoices):
    COUNT = "count", "Count: the number of events"
    SUM = "sum", "Sum of a property"
    MIN = "min", "Smallest value of a property"
    MAX = "max", "Largest value of a property"
    AVERAGE = "average", "Average of a property"
    LATEST = "latest", "Latest value of a property"
    UNIQUE_COUNT = "unique_count", "Unique count: different values of a property"
    TIME_WEIGHTED = "time_weighted", "Time-weighted: average level over the period"


class MeterQuerySet(models.QuerySet["Meter"]):
    def open(self) -> "MeterQuerySet":
        """Meters offered for new products."""
        return self.filter(archived_at=None)


@tracked(exclude=["built_at"])
class Meter(models.Model):
    """Which events count, and for how much. What it means never changes; a meter no longer wanted is archived."""

    id = models.AutoField(primary_key=True)
    key = key_field()
    name = models.CharField(max_length=200, help_text="What people call it: Output tokens.")
    event_types = ArrayField(
        models.CharField(max_length=256),
        help_text="Events of these types count, separated by commas: llm.completion, llm.chat.",
    )
    aggregation = models.CharField(
        max_length=20,
        choices=Aggregation.choices,
        default=Aggregation.SUM,
        error_messages={"invalid_choice": f"%(value)s is not available: choose {', '.join(Aggregation.values)}."},
        help_text="A unique count tells texts apart: 1 and 1.0 are two. Time-weighted takes values as changes of a "
        "level (+3 seats, -1 seat) that carries over from period to period.",
    )
    value_property = models.CharField(
        "property",
        max_length=500,
        blank=True,
        help_text="Where in the event's properties the number stands; a dotted path reaches into nested JSON: "
        "usage.output_tokens. Numbers and numeric text count, anything else does not. Leave empty for a count.",
    )
    value_expression = models.CharField(
        "or an expression",
        max_length=500,
        blank=True,
        default="",
        db_default="",
        help_text="Instead of one property: input_tokens - cached_input_tokens. + - * / ( ), numbers and properties; "
        'names with other characters in quotes: "usage.input-tokens" * 2. A missing property counts 0; an event with '
        "text where a number should be does not count.",
    )
    filters = models.JSONField(
        default=list,
        blank=True,
        help_text="Conditions on properties, all of which must hold: "
        '[{"property": "status", "in": ["ok"]}, {"property": "env", "not_in": ["test"]}, '
        '{"property": "model", "exists": true}, {"property": "steps", "gt": "50"}]. Also gte, lt, lte.',
    )
    version = models.PositiveSmallIntegerField(default=1, db_default=1, editable=False)
    earlier = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, editable=False, related_name="later",
        help_text="The version before this one. It goes on counting.",
    )  # fmt: skip
    group_by = ArrayField(
        models.CharField(max_length=500),
        default=list,
        blank=True,
        help_text="Properties that split the usage, separated by commas: model, region. Prices can depend on them.",
    )
    built_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When its buckets were built from history; until then it is read from the events themselves.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="An archived meter is not offered for new products. It goes on counting for those that use it.",
    )

    objects = MeterQuerySet.as_manager()

    class Meta:
        ordering = ["key"]
        triggers = [
            pgtrigger.Protect(
                name="meaning_is_frozen", operation=pgtrigger.Update, condition=pgtrigger.AnyChange(*MEANING)
            ),
            pgtrigger.Protect(name="no_delete", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.name or self.key

    def archive(self, now: datetime) -> bool:
        """Whether it was this call that archived the meter."""
        return Meter.objects.filter(pk=self.pk, archived_at=None).update(archived_at=now) == 1

    def bring_back(self) -> bool:
        return Meter.objects.filter(pk=self.pk).exclude(archived_at=None).update(archived_at=None) == 1

    def clean(self) -> None:
        clean_definition(self)
        if self.pk is None:
            return
        stored = Meter.objects.filter(pk=self.pk).values(*MEANING).first() or {}
        changed = [name for name in MEANING if name in stored and stored[name] != getattr(self, name)]
        if changed:
            raise ValidationError(
                {
                    name: ValidationError(
                        "The meaning of a meter never changes: make a new version of it.", code="frozen"
                    )
                    for name in changed
                }
            )


class Subject(models.Model):
    """A customer key as events name it, known to a contract or not."""

    id = models.AutoField(primary_key=True)
    key = models.TextField("customer key")

    objects: ClassVar[models.Manager["Subject"]] = models.Manager()

    class Meta:
        ordering = ["key"]
        verbose_name = "customer key"
        constraints = [models.UniqueConstraint(fields=["key"], name="one_subject")]

    def __str__(self) -> str:
        return self.key


class EventType(models.Model):
    id = models.AutoField(primary_key=True)
    name = models.TextField()

    objects: ClassVar[models.Manager["EventType"]] = models.Manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["name"], name="one_event_type")]

    def __str__(self) -> str:
        return self.name


class Event(models.Model):
    """A usage event that was taken: partitioned by month, unique by (time, key), never updated.

    No constraint on `subject_id` and `event_type_id`: those rows are committed before the event is. `seq` and `xid` say
    when it came; the roller reads by `xid`.
    """

    time = models.DateTimeField()
    seq = models.BigIntegerField()
    xid = models.BigIntegerField()
    key = models.UUIDField(primary_key=True)
    subject = models.ForeignKey(Subject, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    event_type = models.ForeignKey(EventType, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+")
    properties = models.JSONField()

    objects: ClassVar[models.Manager["Event"]] = models.Manager()

    class Meta:
        db_table = "meters_event"
        ordering = ["-time", "-key"]

    def __str__(self) -> str:
        return str(self.key)


class EventKey(models.Model):
    """The time under which an identity was first counted, kept for some days: see settings.METERS_IDENTITY_DAYS."""

    key = models.UUIDField(primary_key=True)
    time = models.DateTimeField()
    seen_on = models.DateField()

    objects: ClassVar[models.Manager["EventKey"]] = models.Manager()

    class Meta:
        db_table = "meters_eventkey"

    def __str__(self) -> str:
        return str(self.key)


class FirstTime(models.Model):
    """When an event whose client left the time to us arrived first, kept as long as an EventKey."""

    key = models.UUIDField(primary_key=True)
    time = models.DateTimeField()
    seen_on = models.DateField(db_index=True)

    objects: ClassVar[models.Manager["FirstTime"]] = models.Manager()

    def __str__(self) -> str:
        return str(self.key)


class GroupValues(models.Model):
    """The values of a meter's group keys, in the order of `group_by`; None where an event lacks the property."""

    id = models.AutoField(primary_key=True)
    values = ArrayField(models.TextField(null=True))
    digest = models.UUIDField(unique=True, help_text="Of the values: they may be longer than an index takes.")

    objects: ClassVar[models.Manager["GroupValues"]] = models.Manager()

    def __str__(self) -> str:
        return ", ".join(value or "" for value in self.values)


class Bucket(models.Model):
    """What one meter measured for one customer key and group in one hour or day (UTC). Unused columns are null.

    `moment` adds up value times instant (seconds since 1970): with `total` it says how long each value has held at any
    later instant.
    """

    meter_id = models.IntegerField()
    subject_id = models.IntegerField()
    group_id = models.IntegerField()
    events = models.BigIntegerField()
    total = ExactField(null=True)
    smallest = ExactField(null=True)
    largest = ExactField(null=True)
    moment = ExactField(null=True)
    last_value = ExactField(null=True)
    last_time = models.DateTimeField(null=True)
    last_key = models.UUIDField(null=True)

    class Meta:
        abstract = True


class HourBucket(Bucket):
    pk = models.CompositePrimaryKey("meter_id", "subject_id", "starting_at", "group_id")
    starting_at = models.DateTimeField()

    objects: ClassVar[models.Manager["HourBucket"]] = models.Manager()

    class Meta:
        db_table = "meters_hourbucket"

    def __str__(self) -> str:
        return f"meter {self.meter_id}, {self.starting_at:%Y-%m-%d %H:00}"


class DayBucket(Bucket):
    """As by hour. Meter 0 counts every event of a customer key, whatever its type."""

    pk = models.CompositePrimaryKey("meter_id", "subject_id", "starting_at", "group_id")
    starting_at = models.DateTimeField()

    objects: ClassVar[models.Manager["DayBucket"]] = models.Manager()

    class Meta:
        db_table = "meters_daybucket"

    def __str__(self) -> str:
        return f"meter {self.meter_id}, {self.starting_at:%Y-%m-%d}"


class RollupCursor(models.Model):
    """How far the roller has come: events with `xid < cursor.xid` or `seq <= cursor.base_seq` are in the buckets.

    Transaction ids belong to one database server, named by `system_identifier`. On another one (a restored dump) what
    is not counted yet is found by `last_seq`, the highest counted so far, and `base_seq` sets apart all that was there.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    xid = models.BigIntegerField()
    base_seq = models.BigIntegerField(default=-1)
    last_seq = models.BigIntegerField(default=-1)
    system_identifier = models.BigIntegerField()
    moved_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[models.Manager["RollupCursor"]] = models.Manager()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_cursor")]

    def __str__(self) -> str:
        return f"xid {self.xid}"


class RejectedEvent(models.Model):
    """An event that was not taken, with the reason; sent again it is counted, not kept twice."""

    digest = models.UUIDField(unique=True, editable=False)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField(db_index=True)
    times = models.IntegerField(default=1)
    event_id = models.TextField("id", blank=True)
    path = models.TextField("field", blank=True)
    code = models.CharField(max_length=40, db_index=True)
    message = models.TextField()
    body = models.TextField(help_text="What was sent.")
    sender = models.CharField(max_length=100, blank=True, help_text="The API key it came with.")
    corrected = models.TextField(
        "corrected event",
        blank=True,
        db_default="",
        help_text="What is replayed instead of what was sent. Empty: as it was sent.",
    )
    tried_at = models.DateTimeField("last replay", null=True, blank=True)
    replayed_at = models.DateTimeField(null=True, blank=True, db_index=True)
    replayed_by = models.CharField(max_length=150, blank=True, db_default="")

    objects: ClassVar[models.Manager["RejectedEvent"]] = models.Manager()

    class Meta:
        ordering = ["-last_at", "-pk"]
        indexes = [models.Index(fields=["event_id"], name="rejected_event_id")]

    def __str__(self) -> str:
        return f"{self.event_id or 'no id'}: {self.code}"


class Conflict(models.Model):
    """An event whose identity was taken: the first is kept and counted, this one is listed here and never counted."""

    class Kind(models.TextChoices):
        BODY = "body", "Same time, another body"
        TIME = "time", "Another time"

    kind = models.CharField(max_length=4, choices=Kind.choices)
    key = models.UUIDField(db_index=True)
    digest = models.UUIDField(help_text="Of what was sent.")
    source = models.TextField(blank=True)
    event_id = models.TextField("id", blank=True, help_text="Empty where only its hash is known.")
    customer = models.TextField("customer key")
    event_type = models.TextField()
    time = models.DateTimeField()
    kept_time = models.DateTimeField(help_text="The time of the event that counts.")
    properties = models.JSONField()
    seen_at = models.DateTimeField(db_index=True)

    objects: ClassVar[models.Manager["Conflict"]] = models.Manager()

    class Meta:
        ordering = ["-seen_at", "-pk"]
        constraints = [models.UniqueConstraint(fields=["key", "time", "digest"], name="one_conflict")]

    def __str__(self) -> str:
        return f"{self.event_id or self.key}: {self.get_kind_display()}"
