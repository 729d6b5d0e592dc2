"""Where files of events come from, which were read, and how far."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from billing_project.fields import key_field
from billing_project.history import tracked
from meters.source_faults import faults_of
from meters.sources.cells import TextShape
from meters.sources.mapping import ColumnMapping
from meters.sources.times import Clock


class FileFormat(models.TextChoices):
    AUTO = "auto", "By the file's name"
    CSV = "csv", "CSV"
    JSONL = "jsonl", "JSON Lines"
    PARQUET = "parquet", "Parquet"


@tracked(exclude=["next_at"])
class EventSource(models.Model):
    """A folder or a bucket whose files are read again and again, for what is new or has changed."""

    key = key_field("The short name used by manage.py import_events --source. It cannot change.")
    name = models.CharField(max_length=200, help_text="What people call it: Gateway logs.")
    place = models.CharField(
        max_length=1100,
        help_text="s3://bucket/prefix, or a file or folder on the server below one of those that "
        "EVENT_SOURCE_FOLDERS names. Files may be CSV, JSON Lines or Parquet, plain or gzipped.",
    )
    profile = models.CharField(
        "AWS profile",
        max_length=100,
        blank=True,
        help_text="The profile on the server that holds credentials, region and endpoint. Empty: those of the "
        "environment or of the machine's role. No secret is stored here.",
    )
    file_format = models.CharField("format", max_length=10, choices=FileFormat.choices, default=FileFormat.AUTO)
    event_type = models.CharField(
        max_length=256, blank=True, help_text="The type of all events, such as llm.completion; or name its column."
    )
    type_column = models.CharField(max_length=256, blank=True, help_text="[type, event_type, event_name or code]")
    id_column = models.CharField(
        max_length=256, blank=True, help_text="[id, event_id, transaction_id or idempotency_key]"
    )
    id_from_row = models.BooleanField(
        "ids from rows",
        default=False,
        help_text="The rows have no id: make it of the file's name, the line and what the row holds. A file may be "
        "moved and grow at its end; a row that changes becomes another event.",
    )
    time_column = models.CharField(max_length=256, blank=True, help_text="[time, timestamp, event_time or datetime]")
    time_format = models.CharField(
        max_length=64,
        default=Clock.ISO.value,
        help_text="iso: 2026-01-31T23:59:59Z. s, ms, us or ns: seconds, milli-, micro- or nanoseconds since 1970. "
        "Otherwise a pattern: %m/%d/%Y %H:%M:%S for 01/31/2026 23:59:59, a fraction as .%f, an offset as %z.",
    )
    time_origin = models.CharField(
        max_length=64,
        blank=True,
        help_text="What s, ms, us or ns count from, in a trace that begins at 0: 2024-05-10T00:00:00Z. [1970]",
    )
    timezone = models.CharField(
        "time zone", max_length=64, default="UTC", help_text="Of times that are written without an offset."
    )
    customer_column = models.CharField(
        max_length=256,
        blank=True,
        help_text="[customer, subject, customer_id, external_customer_id or external_subscription_id]",
    )
    customer = models.CharField(
        "customer key", max_length=256, blank=True, help_text="When all events are one customer's."
    )
    source_name = models.CharField(
        "source",
        max_length=1024,
        blank=True,
        help_text="The source of the events. An event's identity is its source and id: the same event sent by two ways "
        "must bear the same.",
    )
    source_column = models.CharField(max_length=256, blank=True)
    skipped_columns = ArrayField(
        models.CharField(max_length=256),
        default=list,
        blank=True,
        help_text="Every other column is a property, except these, separated by commas.",
    )
    text_columns = ArrayField(
        models.CharField(max_length=256),
        default=list,
        blank=True,
        help_text="Properties that stay text though they look like numbers, such as account numbers with leading "
        "zeros; separated by commas.",
    )
    properties = models.JSONField(
        "fixed properties", default=dict, blank=True, help_text='The same for every event: {"region": "eu"}.'
    )
    joined_columns = models.JSONField(
        default=dict,
        blank=True,
        help_text='Columns made of several, with spaces between: {"at": ["Date", "Time"]}. Name them as the time, the '
        "id or the customer; otherwise they are properties.",
    )
    folder_columns = models.BooleanField(
        "columns from folders",
        default=False,
        help_text="Folders called name=value, as Hive writes them, are columns: org=acme/day=2026-01-05/part.parquet.",
    )
    empty_cells = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text="What stands for nothing, such as NULL; separated by commas.",
    )
    separator = models.CharField(
        max_length=3, blank=True, help_text="Between cells. Empty: the one of , ; | tab that the header uses most."
    )
    column_names = ArrayField(
        models.CharField(max_length=256),
        default=list,
        blank=True,
        help_text="The names of all columns, separated by commas, of files that begin without a line of names.",
    )
    skipped_lines = models.PositiveIntegerField(
        "lines to skip", default=0, help_text="Before the line of column names."
    )
    encoding = models.CharField(max_length=40, default="utf-8", help_text="Such as cp1252; for JSON Lines too.")
    decimal_sign = models.CharField(max_length=1, default=".", help_text="Of numbers: a point or a comma.")
    thousands_sign = models.CharField(
        max_length=1, blank=True, help_text="Between the thousands of numbers, if there is one."
    )
    every_minutes = models.PositiveIntegerField(
        "every … minutes",
        null=True,
        blank=True,
        help_text="How often to look for new files; empty: only by hand. manage.py import_events --due, run by cron, "
        "reads the sources whose time has come.",
    )
    next_at = models.DateTimeField("next run", null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["EventSource"]] = models.Manager()

    class Meta:
        ordering = ["key"]
        indexes = [models.Index(fields=["next_at"], name="source_due")]

    def __str__(self) -> str:
        return self.name or self.key

    def clean(self) -> None:
        problems = faults_of(self)
        if not is_allowed(self.place):
            problems["place"] = (
                "Folders on the server must lie below one of these: "
                f"{', '.join(settings.EVENT_SOURCE_FOLDERS)} (the setting EVENT_SOURCE_FOLDERS)."
            )
        if problems:
            raise ValidationError(problems)

    @property
    def mapping(self) -> ColumnMapping:
        return ColumnMapping(
            type=self.event_type,
            type_column=self.type_column,
            id=self.id_column,
            time=self.time_column,
            customer=self.customer_column,
            for_customer=self.customer,
            id_from_row=self.id_from_row,
            source=self.source_name,
            source_column=self.source_column,
            clock=self.time_format,
            timezone=self.timezone,
            properties=tuple((key, str(value)) for key, value in sorted(self.properties.items())),
            skip=tuple(self.skipped_columns),
            text=tuple(self.text_columns),
            origin=self.time_origin,
            join=tuple((name, tuple(parts)) for name, parts in sorted(self.joined_columns.items())),
            folders=self.folder_columns,
            empty=tuple(self.empty_cells),
            decimal=self.decimal_sign,
            thousands=self.thousands_sign,
            shape=TextShape(self.separator, tuple(self.column_names), self.skipped_lines, self.encoding),
        )

    def schedule(self) -> None:
        """Due at once when it is new or was changed; not at all without a rhythm."""
        self.next_at = timezone.now() if self.every_minutes else None

    def schedule_after(self, run: "ImportRun") -> None:
        rhythm = EventSource.objects.values_list("every_minutes", flat=True).get(pk=self.pk)
        self.next_at = run.started_at + timedelta(minutes=rhythm) if rhythm else None
        self.save(update_fields=["next_at"])


def is_allowed(place: str) -> bool:
    """Whoever edits sources must not be able to read any file of the server."""
    if place.startswith("s3://"):
        return True
    path = Path(place).expanduser().resolve()
    return any(path.is_relative_to(Path(folder).resolve()) for folder in settings.EVENT_SOURCE_FOLDERS)


class Counts(models.Model):
    accepted = models.BigIntegerField("new events", default=0)
    duplicates = models.BigIntegerField("seen before", default=0)
    conflicts = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class ImportRun(Counts):
    """One reading of a place, by hand or by schedule."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        STOPPED = "stopped", "Stopped"

    source = models.ForeignKey(EventSource, models.PROTECT, null=True, blank=True, related_name="runs")
    place = models.TextField()
    started_by = models.CharField(max_length=150, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    started_at = models.DateTimeField(default=timezone.now, db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    files = models.IntegerField("files read", default=0)
    skipped = models.IntegerField("files known", default=0)
    failed = models.IntegerField("files failed", default=0)
    message = models.TextField(blank=True)

    objects: ClassVar[models.Manager["ImportRun"]] = models.Manager()

    class Meta:
        ordering = ["-started_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.source or self.place}, {self.started_at:%Y-%m-%d %H:%M:%S}"


class ImportedFile(Counts):
    """How far a file was read under one mapping; the next run goes on from there.

    `part`, `position` and `line` say where the next row begins: in Parquet the row group and the row in it, in a text
    the byte (unpacked).
    """

    digest = models.UUIDField(unique=True, editable=False, help_text="Of the path and the mapping.")
    run = models.ForeignKey(ImportRun, models.PROTECT, related_name="imported")
    path = models.TextField()
    size = models.BigIntegerField()
    version = models.CharField(max_length=200, help_text="Changes when the file does.")
    part = models.IntegerField(default=0)
    position = models.BigIntegerField(default=0)
    line = models.BigIntegerField("rows and header so far", default=0)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["ImportedFile"]] = models.Manager()

    class Meta:
        ordering = ["-updated_at", "-pk"]

    def __str__(self) -> str:
        return self.path
