"""The pages of event sources: what they read, their first rows as events, their runs."""

import json
import re
from datetime import UTC
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, OuterRef, QuerySet, Subquery, Window
from django.db.models.functions import JSONObject, RowNumber
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import capfirst
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_project.admin import ModelAdmin, ReadOnlyAdmin, ReadOnlyInline, button
from billing_project.errors import ConflictError, RuleError
from billing_project.forms import SuggestingInput, timezone_input
from meters.admin import clipped
from meters.events import Event
from meters.source_models import Counts, EventSource, ImportedFile, ImportRun
from meters.sources.background import start
from meters.sources.preview import first_rows_of
from meters.sources.runs import is_running
from meters.sources.times import Clock

RUNS_SHOWN = 20
SHOWN = ["accepted", "duplicates", "conflicts", "rejected"]
COUNTS = ["new", "known", "clashing", "refused"]
STATE_COLOURS = {"Running": "info", "Done": "success", "Failed": "danger", "Stopped": "warning"}

MESSAGES = '<div style="white-space: pre-wrap; overflow-wrap: anywhere">{}</div>'
# What a message calls by the option of the command, by the field here.
FIELDS = {
    "type": "event_type",
    "type-column": "type_column",
    "id": "id_column",
    "id-from-row": "id_from_row",
    "time": "time_column",
    "customer": "customer_column",
    "for-customer": "customer",
    "format": "file_format",
    "source-name": "source_name",
    "skip": "skipped_columns",
    "columns": "column_names",
    "skip-lines": "skipped_lines",
}
OPTION = re.compile(r"--([a-z][a-z-]*)")


def as_labels(message: str) -> str:
    """--time-format as “Time format”."""
    return OPTION.sub(_label, message)


def _label(found: re.Match[str]) -> str:
    try:
        field = EventSource._meta.get_field(FIELDS.get(found[1], found[1].replace("-", "_")))
    except FieldDoesNotExist:
        return found[0]
    return f"“{capfirst(str(getattr(field, 'verbose_name', found[0])))}”"


class RunCounts:
    """Both inlines and lists show large numbers so that they can be read."""

    @admin.display(description="New events", ordering="accepted")
    def new(self, counted: Counts) -> str:
        return f"{counted.accepted:,}"

    @admin.display(description="Seen before", ordering="duplicates")
    def known(self, counted: Counts) -> str:
        return f"{counted.duplicates:,}"

    @admin.display(description="Conflicts", ordering="conflicts")
    def clashing(self, counted: Counts) -> str:
        return f"{counted.conflicts:,}"

    @admin.display(description="Rejected", ordering="rejected")
    def refused(self, counted: Counts) -> str:
        return f"{counted.rejected:,}"

    @admin.display(description="Files")
    def shown_files(self, run: ImportRun) -> str:
        numbers = {"read": run.files, "known": run.skipped, "failed": run.failed}
        return ", ".join(f"{number:,} {what}" for what, number in numbers.items() if number) or "none"


class RunInline(RunCounts, ReadOnlyInline[ImportRun, EventSource]):
    model = ImportRun
    verbose_name_plural = f"Last {RUNS_SHOWN} runs"
    fields = ["started", "state", "started_by", "shown_files", *COUNTS]
    readonly_fields = ["started", "shown_files", *COUNTS]
    tab = True
    hide_title = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[ImportRun]:
        newest = Window(RowNumber(), partition_by=F("source"), order_by=F("started_at").desc())
        return super().get_queryset(request).annotate(place_in_line=newest).filter(place_in_line__lte=RUNS_SHOWN)

    @admin.display(description="Started")
    def started(self, run: ImportRun) -> str:
        url = reverse("admin:meters_importrun_change", args=[run.pk])
        return format_html('<a class="text-link" href="{}">{}</a>', url, f"{run.started_at:%Y-%m-%d %H:%M:%S}")


class EventSourceForm(forms.ModelForm[EventSource]):
    class Meta:
        widgets = {
            "time_format": SuggestingInput(lambda: [*Clock, "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S"]),
            "timezone": timezone_input(),
            "properties": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
            "joined_columns": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        }


@admin.register(EventSource)
class EventSourceAdmin(ModelAdmin[EventSource]):
    form = EventSourceForm
    list_display = ["name", "key", "place", "rhythm", "last_state", "last_counts", "next_at"]
    search_fields = ["name", "key", "place"]
    inlines = [RunInline]
    actions_detail = ["first_rows", "run_now"]
    actions_row = ["first_rows", "run_now"]
    fieldsets = [
        (None, {"fields": ["key", "name", ("place", "file_format"), ("profile", "every_minutes")]}),
        (
            "Which column is what",
            {
                "description": "What is left empty is looked for under the names in brackets. JSON rows in the "
                "shape of a CloudEvent, or of our own events, need no mapping. In JSON and Parquet a dotted path such "
                "as request.id names what lies in an object.",
                "fields": [
                    ("event_type", "type_column"),
                    ("customer_column", "customer"),
                    ("time_column", "timezone"),
                    ("time_format", "time_origin"),
                    ("id_column", "id_from_row"),
                    ("source_name", "source_column"),
                    ("skipped_columns", "text_columns"),
                    ("joined_columns", "properties"),
                    ("folder_columns", "empty_cells"),
                ],
            },
        ),
        (
            "How a CSV file is written",
            {
                "fields": [
                    ("separator", "encoding"),
                    ("column_names", "skipped_lines"),
                    ("decimal_sign", "thousands_sign"),
                ],
            },
        ),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: EventSource | None = None) -> list[str]:
        return ["key"] if obj else []

    def get_inlines(self, request: HttpRequest, obj: EventSource | None) -> Any:
        return self.inlines if obj else []

    def get_queryset(self, request: HttpRequest) -> QuerySet[EventSource]:
        runs = ImportRun.objects.filter(source=OuterRef("pk")).order_by("-started_at")
        last = runs.values(last=JSONObject(state="state", **{name: name for name in SHOWN}))[:1]
        return super().get_queryset(request).annotate(last_run=Subquery(last))

    def save_model(
        self, request: HttpRequest, obj: EventSource, form: forms.ModelForm[EventSource], change: bool
    ) -> None:
        obj.schedule()
        super().save_model(request, obj, form, change)

    @admin.display(description="Rhythm", ordering="every_minutes")
    def rhythm(self, source: EventSource) -> str:
        return f"every {source.every_minutes:,} min" if source.every_minutes else "by hand"

    @display(description="Last run", label=STATE_COLOURS)  # type: ignore[untyped-decorator]
    def last_state(self, source: EventSource) -> str | None:
        last = getattr(source, "last_run", None)
        return ImportRun.State(last["state"]).label if last else None

    @admin.display(description="New / seen before / conflicts / rejected")
    def last_counts(self, source: EventSource) -> str:
        last = getattr(source, "last_run", None)
        return " / ".join(f"{last[name]:,}" for name in SHOWN) if last else "–"

    @action(description="First rows", url_path="first-rows", permissions=["view"], icon="preview")  # type: ignore[untyped-decorator]
    def first_rows(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Nothing is stored: a link may show it."""
        source = get_object_or_404(EventSource, pk=object_id)
        try:
            preview = first_rows_of(source)
        except RuleError as error:
            messages.error(request, as_labels(error.message))
            return HttpResponseRedirect(reverse("admin:meters_eventsource_change", args=[source.pk]))
        names, rows = _table(preview.events)
        context = {
            **self.admin_site.each_context(request),
            "title": f"First rows of {source}",
            "source": source,
            "preview": preview,
            "broken": [as_labels(message) for message in preview.broken],
            "names": names,
            "rows": rows,
            "opts": self.opts,
            "original": source,
        }
        return TemplateResponse(request, "meters/first_rows.html", context)

    @button(
        "Run now",
        permission="change",
        confirm="Reads all files that are new or have changed. Events that were read before are not counted again.",
        icon="play_arrow",
    )
    def run_now(self, request: HttpRequest, object_id: str) -> str:
        source = EventSource.objects.get(pk=object_id)
        if is_running(source):
            raise ConflictError(f"{source}: a run is under way.", code="running")
        start(source, request.user.get_username())
        return f"{source} is being read. Its runs show how far it is."


def _table(events: list[Event]) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, one for each property, and the rows."""
    parsed = [json.loads(event.properties, parse_int=str, parse_float=str) for event in events]
    keys = list(dict.fromkeys(key for properties in parsed for key in properties))
    sources = ["source"] if any(event.source for event in events) else []
    rows = [
        [
            f"{event.time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}",
            event.customer,
            event.type,
            event.id,
            *([event.source] if sources else []),
            *(_cell(properties.get(key)) for key in keys),
        ]
        for event, properties in zip(events, parsed, strict=True)
    ]
    return ["time (UTC)", "customer", "type", "id", *sources, *keys], rows


def _cell(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


class FileInline(RunCounts, ReadOnlyInline[ImportedFile, ImportRun]):
    model = ImportedFile
    verbose_name_plural = "Files read last by this run"
    fields = ["path", "shown_size", "rows", *COUNTS, "finished_at", "error"]
    readonly_fields = ["shown_size", "rows", *COUNTS]
    tab = True
    per_page = 50
    hide_title = True

    @admin.display(description="Size")
    def shown_size(self, file: ImportedFile) -> str:
        return filesizeformat(file.size)

    @admin.display(description="Lines or rows so far")
    def rows(self, file: ImportedFile) -> str:
        return f"{file.line:,}"


@admin.register(ImportRun)
class ImportRunAdmin(RunCounts, ReadOnlyAdmin[ImportRun]):
    list_display = ["started_at", "what", "shown_state", "started_by", "shown_files", *COUNTS]
    list_filter = ["state", "source", "started_at"]
    list_select_related = ["source"]
    search_fields = ["place", "source__key", "source__name"]
    date_hierarchy = "started_at"
    fields = [
        ("source", "place"),
        ("shown_state", "started_by"),
        ("started_at", "ended_at"),
        "shown_files",
        tuple(COUNTS),
        "shown_message",
    ]
    inlines = [FileInline]

    @admin.display(description="Place", ordering="place")
    def what(self, run: ImportRun) -> str:
        return clipped(str(run.source or run.place))

    @display(description="State", ordering="state", label=STATE_COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, run: ImportRun) -> str:
        return run.get_state_display()

    @admin.display(description="Messages")
    def shown_message(self, run: ImportRun) -> str:
        return format_html(MESSAGES, as_labels(run.message) if run.source else run.message or "–")
