"""The pages of archived months: what each held, where it lies, and two buttons."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from unfold.decorators import display

from billing_project.admin import ReadOnlyAdmin, button
from billing_project.errors import RuleError
from meters.archive import restore, verify
from meters.models import EventArchive

# Events that are read within the seconds somebody waits for a page; more is for the command line.
AT_ONCE = 100_000
STATES = {"In its file alone": "warning", "In the database too": "info"}


class PlaceFilter(admin.SimpleListFilter):
    title = "events lie"
    parameter_name = "lie"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("file", "In their file alone"), ("both", "In the database too")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[EventArchive]) -> QuerySet[EventArchive]:
        found = {"file": Q(dropped_at__isnull=False), "both": Q(dropped_at=None)}.get(self.value() or "")
        return queryset.filter(found) if found else queryset


@admin.register(EventArchive)
class EventArchiveAdmin(ReadOnlyAdmin[EventArchive]):
    list_display = ["shown_month", "state", "shown_events", "shown_size", "place", "verified_at", "dropped_at"]
    list_filter = [PlaceFilter]
    actions_detail = ["verify_file", "bring_back"]
    fieldsets = [
        (None, {"fields": ["shown_month", "state", ("place", "file"), ("shown_size", "digest")]}),
        ("What it held", {"fields": ["held"]}),
        ("When", {"fields": [("exported_at", "verified_at"), ("dropped_at", "restored_at")]}),
    ]

    @admin.display(description="Month (UTC)", ordering="month")
    def shown_month(self, archive: EventArchive) -> str:
        return str(archive)

    @display(description="Events lie", label=STATES)  # type: ignore[untyped-decorator]
    def state(self, archive: EventArchive) -> str:
        return "In its file alone" if archive.dropped_at else "In the database too"

    @admin.display(description="Events", ordering="events")
    def shown_events(self, archive: EventArchive) -> str:
        return f"{archive.events:,}"

    @admin.display(description="Size", ordering="size")
    def shown_size(self, archive: EventArchive) -> str:
        return filesizeformat(archive.size)

    @admin.display(description="")
    def held(self, archive: EventArchive) -> str:
        rows = [(name, f"{of['events']:,}", sorted(of["sums"].items())) for name, of in sorted(archive.by_type.items())]
        return render_to_string("meters/archived.html", {"rows": rows, "total": f"{archive.events:,}"})

    @button(
        "Verify",
        permission="meters.change_eventarchive",
        confirm="The file is read again and compared with what was recorded. Nothing is changed.",
        icon="fact_check",
    )
    def verify_file(self, request: HttpRequest, object_id: str) -> str:
        archive = EventArchive.objects.get(pk=object_id)
        check_quick(archive, f"manage.py archive_events --month {archive.month:%Y-%m} --verify")
        verify(archive)
        return f"{archive}: the file holds what was recorded, {archive.events:,} events."

    @button(
        "Restore",
        permission="meters.change_eventarchive",
        confirm="The events come back into the database from the file, after it was compared with what was recorded. "
        "They are not counted again.",
        icon="unarchive",
    )
    def bring_back(self, request: HttpRequest, object_id: str) -> str:
        archive = EventArchive.objects.get(pk=object_id)
        if archive.dropped_at:
            check_quick(archive, f"manage.py restore_events {archive.month:%Y-%m}")
        done = "are back" if restore(archive) else "are there already"
        return f"{archive}: {archive.events:,} events {done}."


def check_quick(archive: EventArchive, command: str) -> None:
    if archive.events > AT_ONCE:
        raise RuleError(
            f"{archive} holds {archive.events:,} events, more than the {AT_ONCE:,} a page waits for. "
            f"Run this on the server: {command}",
            code="takes_long",
        )
