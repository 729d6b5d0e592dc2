"""The pages of meters and of what arrived: events, customer keys, rejected events, conflicts."""

import uuid
from datetime import datetime
from typing import Any, TypeVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db.models import JSONField, Model, QuerySet, TextField
from django.db.models.functions import Cast
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.text import Truncator
from unfold.contrib.filters.admin import RangeDateTimeFilter, RelatedDropdownFilter
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_project.admin import ModelAdmin, ReadOnlyAdmin, button
from meters.activity import newest_of
from meters.builds import share_of
from meters.definition import MEANING
from meters.meter_usage import usage_of
from meters.models import Conflict, Event, EventKey, Meter, MeterBuild, Subject
from meters.sample import sample as sample_of
from meters.versions import SAME, draft

M = TypeVar("M", bound=Model)
NEWEST = 10_000
COUNTED = 1_000
LATEST = 20
LISTED = 300
CLIPPED = """<span title="{}" style="display:block; max-width:{}rem; overflow:hidden; text-overflow:ellipsis;
white-space:nowrap">{}</span>"""


SAMPLE = """<div hx-post="{}" hx-include="closest form" hx-trigger="load, input from:closest form delay:500ms,
change from:closest form delay:500ms" hx-sync="this:replace">Looking at the newest events …</div>"""


class SpanFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """From an instant until before another; a date alone is its midnight. The skin's own filter forgets the zone."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        bounds = {"gte": self._instant("from"), "lt": self._instant("to")}
        return queryset.filter(**{f"{self.parameter_name}__{name}": at for name, at in bounds.items() if at})

    def _instant(self, end: str) -> datetime | None:
        day, time = (self.used_parameters.get(f"{self.parameter_name}_{end}_{part}") or "" for part in (0, 1))
        try:
            return timezone.make_aware(datetime.fromisoformat(f"{day} {time}".strip())) if day else None
        except ValueError:
            return None


def clipped(text: str, width: int = 18) -> str:
    """For lists: a text of any length in one line, the whole of it where the mouse rests. `width` in rem."""
    return format_html(CLIPPED, text, width, text) if text.strip() else "–"


@admin.register(Meter)
class MeterAdmin(ModelAdmin[Meter]):
    formfield_overrides = {**ModelAdmin.formfield_overrides, JSONField: {"widget": UnfoldAdminTextareaWidget}}
    list_display = ["name", "key", "measures", "event_types_shown", "groups_shown", "state"]
    list_filter = ["aggregation", ("archived_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "key"]
    actions_detail = ["new_version", "archive", "bring_back"]

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> Any:
        """Only the one of archiving and bringing back that changes something."""
        meter = self.get_object(request, object_id)
        archived = meter is not None and meter.archived_at is not None
        idle = "_archive" if archived else "_bring_back"
        offered = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        return [each for each in offered if not each.action_name.endswith(idle)]

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.sample_view)
        return [path("sample/", page, name="meters_meter_sample"), *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: Meter | None = None) -> Any:
        definition = [
            (None, {"fields": ["name", "key"]}),
            ("Which events count", {"fields": ["event_types", "filters"]}),
            ("For how much", {"fields": ["aggregation", "value_property", "value_expression"]}),
            ("Split", {"fields": ["group_by"]}),
        ]
        newest = ("The newest events", {"fields": ["sample"]})
        if obj is None:
            return [*definition, newest]
        return [
            *definition,
            ("State", {"fields": ["state", "versions", "created_at"]}),
            ("Usage", {"fields": ["usage"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Meter | None = None) -> list[str]:
        return [*MEANING, "state", "versions", "created_at", "usage", "sample"] if obj else ["sample"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        earlier = self._earlier(request)
        if earlier is None:
            return dict(super().get_changeform_initial_data(request))
        found = model_to_dict(draft(earlier), fields=["name", *MEANING])
        return {**found, "filters": earlier.filters}

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        try:
            earlier = self._earlier(request)
            title = {"title": f"New version of {draft(earlier)}"} if earlier else {}
        except ValidationError as refusal:
            messages.error(request, " ".join(refusal.messages))
            return HttpResponseRedirect(reverse("admin:meters_meter_changelist"))
        return super().add_view(request, form_url, {**title, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Meter, form: Any, change: bool) -> None:
        earlier = None if change else self._earlier(request)
        if earlier is not None:
            obj.earlier, obj.version = earlier, earlier.version + 1
        super().save_model(request, obj, form, change)

    def _earlier(self, request: HttpRequest) -> Meter | None:
        asked = request.GET.get("earlier", "")
        return Meter.objects.filter(pk=asked).first() if asked.isdecimal() and len(asked) < 10 else None

    def sample_view(self, request: HttpRequest) -> HttpResponse:
        """What the definition in the form would make of the newest events. Nothing is stored."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        form = self.get_form(request)(request.POST)
        faults = [
            f"{form.fields[name].label}: {' '.join(map(str, found))}"
            for name, found in form.errors.items()
            if name in SAME
        ]
        found = None if faults else sample_of(form.instance)
        return TemplateResponse(request, "meters/sample.html", {"sample": found, "faults": faults})

    def has_delete_permission(self, request: HttpRequest, obj: Meter | None = None) -> bool:
        return False  # invoices name it; one no longer wanted is archived

    @admin.display(description="Measures", ordering="aggregation")
    def measures(self, meter: Meter) -> str:
        of = meter.value_property or meter.value_expression
        return " ".join(filter(None, [meter.aggregation, of and f"of {of}"]))

    @admin.display(description="Event types")
    def event_types_shown(self, meter: Meter) -> str:
        return ", ".join(meter.event_types)

    @admin.display(description="Group by")
    def groups_shown(self, meter: Meter) -> str:
        return ", ".join(meter.group_by) or "–"

    @admin.display(description="State")
    def state(self, meter: Meter) -> str:
        if meter.archived_at:
            return f"Archived on {meter.archived_at:%Y-%m-%d}"
        if meter.built_at:
            return "Ready"
        build = MeterBuild.objects.filter(pk=meter.pk).first()
        return f"History is being counted: {share_of(build)}%" if build else "History is about to be counted"

    @admin.display(description="")
    def sample(self, meter: Meter | None) -> str:
        if meter is None or meter.pk is None:
            return format_html(SAMPLE, reverse("admin:meters_meter_sample"))
        return render_to_string("meters/sample.html", {"sample": sample_of(meter)})

    @admin.display(description="Versions")
    def versions(self, meter: Meter) -> str:
        later = Meter.objects.filter(earlier=meter).first()
        named = [("follows", meter.earlier), ("followed by", later)]
        links = [(how, reverse("admin:meters_meter_change", args=[each.pk]), each.key) for how, each in named if each]
        shown = format_html_join("", ', {} <a class="text-link" href="{}">{}</a>', links)
        return format_html("Version {}{}", meter.version, shown)

    @action(description="New version", permissions=["change"], icon="difference")  # type: ignore[untyped-decorator]
    def new_version(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Leads to a form: nothing is stored yet."""
        return HttpResponseRedirect(f"{reverse('admin:meters_meter_add')}?{urlencode({'earlier': object_id})}")

    @admin.display(description="")
    def usage(self, meter: Meter) -> str:
        found = usage_of(meter, timezone.now())
        tables = [("Everybody, by month (UTC)", found.months), ("This month, by customer key", found.customers)]
        return render_to_string("meters/usage.html", {"tables": tables, "measure": self.measures(meter)})

    @button(
        "Archive",
        permission="change",
        confirm="The meter is no longer offered for new products. It goes on counting for those that use it.",
        icon="archive",
    )
    def archive(self, request: HttpRequest, object_id: str) -> str:
        meter = Meter.objects.get(pk=object_id)
        return f"{meter} is archived." if meter.archive(timezone.now()) else f"{meter} was archived before."

    @button("Bring back", permission="change", confirm="The meter is offered for new products again.", icon="unarchive")
    def bring_back(self, request: HttpRequest, object_id: str) -> str:
        meter = Meter.objects.get(pk=object_id)
        return f"{meter} is back." if meter.bring_back() else f"{meter} was not archived."


class BoundedPaginator(Paginator[Any]):
    """Counts no further than is worth paging through."""

    @cached_property
    def count(self) -> int:
        found: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return len(found.order_by().values_list("pk")[:COUNTED])


class BoundedAdmin(ReadOnlyAdmin[Any]):
    """A list too long to count."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50


@admin.register(Event)
class EventAdmin(BoundedAdmin):
    """Events have no index but their time: every list here reads a bounded number of them."""

    list_display = ["time", "listed_customer", "type", "listed_properties", "key"]
    list_display_links = None
    list_filter = [("time", SpanFilter), ("event_type", RelatedDropdownFilter)]
    list_select_related = ["subject", "event_type"]
    search_fields = ["subject__key"]
    search_help_text = (
        "A customer key, or the key of one event. Without either, or a time, these are the newest "
        f"{NEWEST:,} events; counted are {COUNTED:,} at most."
    )
    ordering = ["-time", "-key"]
    sortable_by = ()
    fields = ["key", "time", "customer", "type", "shown_properties"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        found: QuerySet[Event] = _as_text(super().get_queryset(request))
        if request.GET.get("q") or any(request.GET.get(name) for name in request.GET if name.startswith("time_")):
            return found
        oldest = Event.objects.order_by("-time").values_list("time", flat=True)[NEWEST : NEWEST + 1].first()
        return found.filter(time__gt=oldest) if oldest else found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        key = _uuid(term)
        if key:
            return queryset.filter(key=key, time__in=_times_of(key)), False
        return queryset.filter(newest_of([term], COUNTED)), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Event | None:
        key = _uuid(object_id)
        return _as_text(Event.objects.filter(key=key, time__in=_times_of(key))).first() if key else None

    @admin.display(description="Customer key")
    def customer(self, event: Event) -> str:
        return event.subject.key

    @admin.display(description="Customer key")
    def listed_customer(self, event: Event) -> str:
        return clipped(event.subject.key)

    @admin.display(description="Properties")
    def listed_properties(self, event: Event) -> str:
        return Truncator(self.shown_properties(event)).chars(LISTED)

    @admin.display(description="Event type")
    def type(self, event: Event) -> str:
        return event.event_type.name

    @admin.display(description="Properties")
    def shown_properties(self, event: Event) -> str:
        return getattr(event, "text", "")


@admin.register(Subject)
class SubjectAdmin(BoundedAdmin):
    list_display = ["listed_key"]
    search_fields = ["key__exact"]
    search_help_text = "The whole customer key."
    fields = ["key", "latest"]

    @admin.display(description="Customer key", ordering="key")
    def listed_key(self, subject: Subject) -> str:
        return clipped(subject.key)

    @admin.display(description="Latest events")
    def latest(self, subject: Subject) -> str:
        found = _as_text(Event.objects.filter(newest_of([subject.key], LATEST)))
        newest = found.select_related("event_type").order_by("-time", "-key")[:LATEST]
        rows = [(event.time, event.event_type.name, getattr(event, "text", "")) for event in newest]
        return render_to_string("meters/latest.html", {"rows": rows})


@admin.register(Conflict)
class ConflictAdmin(BoundedAdmin):
    list_display = ["seen_at", "kind", "listed_customer", "event_type", "time", "kept_time", "listed_id"]
    list_filter = ["kind", ("seen_at", SpanFilter)]
    search_fields = ["customer", "event_id"]
    fields = [
        "kind", "event_id", "source", "key", "customer", "event_type", "time", "kept_time", "shown_properties",
        "seen_at",
    ]  # fmt: skip

    @admin.display(description="Customer key", ordering="customer")
    def listed_customer(self, conflict: Conflict) -> str:
        return clipped(conflict.customer)

    @admin.display(description="Id", ordering="event_id")
    def listed_id(self, conflict: Conflict) -> str:
        """The roller, which finds those of another time, knows the key alone."""
        return clipped(conflict.event_id or str(conflict.key))

    @admin.display(description="Properties")
    def shown_properties(self, conflict: Conflict) -> str:
        return getattr(conflict, "text", "")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conflict]:
        found: QuerySet[Conflict] = _as_text(super().get_queryset(request))
        return found


def _as_text(found: QuerySet[M]) -> Any:
    """With the properties as the database writes them: Python would read their numbers as binary floats."""
    return found.defer("properties").annotate(text=Cast("properties", TextField()))


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _times_of(key: uuid.UUID) -> list[datetime]:
    """Where an event with this key can lie: a key alone has no index among the events."""
    return list(EventKey.objects.filter(key=key).values_list("time", flat=True))
