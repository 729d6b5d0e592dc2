"""The pages of rejected events: correct one or many, and replay them."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing_project.admin import ModelAdmin, button
from billing_project.errors import RuleError
from meters.admin import BoundedPaginator, SpanFilter, clipped
from meters.definition import split_path
from meters.models import RejectedEvent
from meters.replay import Correction, correct, replay

MOST = 10_000
SHOWN = 20_000
# What tells the list which rows and which action were chosen.
KEPT = ("action", "_selected_action", "select_across", "index")
STATES = {"Rejected": "danger", "Replayed": "success"}


class ReplayedFilter(admin.SimpleListFilter):
    """What waits is shown; what was replayed when it is asked for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Rejected"), ("replayed", "Replayed"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        chosen = self.value() or "waiting"
        for value, title in self.lookup_choices:
            query = changelist.get_query_string({self.parameter_name: value})
            yield {"selected": chosen == value, "query_string": query, "display": title}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value() or "waiting"
        return queryset if chosen == "all" else queryset.filter(replayed_at__isnull=chosen == "waiting")


class RejectedEventForm(forms.ModelForm[RejectedEvent]):
    class Meta:
        model = RejectedEvent
        fields = ["corrected"]
        widgets = {"corrected": UnfoldAdminTextareaWidget(attrs={"rows": 12, "spellcheck": "false"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "corrected" in self.fields:
            self.initial["corrected"] = self.instance.corrected or self.instance.body

    def clean_corrected(self) -> str:
        given = str(self.cleaned_data["corrected"])
        return "" if given.strip() == self.instance.body.strip() else given


class CorrectionForm(forms.Form):
    field = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Which field of the event to set: customer, time, or a dotted path such as properties.model.",
    )
    from_field = forms.CharField(
        label="From field",
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Where its value stands now, such as customer_id. The field is renamed.",
    )
    value = forms.CharField(
        label="Or a text", required=False, max_length=1000, widget=UnfoldAdminTextInputWidget, strip=False
    )

    def clean_field(self) -> str:
        return ".".join(split_path(self.cleaned_data["field"]))

    def clean_from_field(self) -> str:
        given = self.cleaned_data["from_field"]
        return ".".join(split_path(given)) if given else ""

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if bool(given.get("from_field")) == bool(given.get("value")):
            self.add_error("from_field", "Give the field its value comes from, or a text.")
        return given


@admin.register(RejectedEvent)
class RejectedEventAdmin(ModelAdmin[RejectedEvent]):
    form = RejectedEventForm
    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_display = ["last_at", "listed_id", "listed_path", "listed_message", "times", "listed_sender", "state"]
    list_filter = [ReplayedFilter, "code", ("last_at", SpanFilter)]
    search_fields = ["event_id"]
    search_help_text = "Part of an event's id."
    actions = ["replay_selected", "correct_selected"]
    actions_detail = ["replay_one"]
    warn_unsaved_form = True

    def get_fieldsets(self, request: HttpRequest, obj: RejectedEvent | None = None) -> Any:
        reason = ["state", "event_id", "code", "path", "message"]
        came = ["sender", "times", "first_at", "last_at", "tried_at", "replayed_at", "replayed_by"]
        return [
            ("Why it is not counted", {"fields": reason}),
            ("What is replayed", {"fields": ["corrected"]}),
            ("What was sent", {"fields": ["sent"]}),
            ("When it came", {"fields": came}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: RejectedEvent | None = None) -> list[str]:
        shown = [
            "state", "event_id", "code", "path", "message", "sent", "sender", "times", "first_at", "last_at",
            "tried_at", "replayed_at", "replayed_by",
        ]  # fmt: skip
        return [*shown, "corrected"] if obj and obj.replayed_at else shown

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: RejectedEvent | None = None) -> bool:
        return False  # nothing that arrived is lost

    @display(description="State", label=STATES)  # type: ignore[untyped-decorator]
    def state(self, event: RejectedEvent) -> str:
        return "Replayed" if event.replayed_at else "Rejected"

    @admin.display(description="Id", ordering="event_id")
    def listed_id(self, event: RejectedEvent) -> str:
        return clipped(event.event_id, 10)

    @admin.display(description="Field", ordering="path")
    def listed_path(self, event: RejectedEvent) -> str:
        return clipped(event.path, 10)

    @admin.display(description="Sender", ordering="sender")
    def listed_sender(self, event: RejectedEvent) -> str:
        return clipped(event.sender, 9)

    @admin.display(description="Message")
    def listed_message(self, event: RejectedEvent) -> str:
        return format_html('<div style="min-width:13rem; overflow-wrap:anywhere">{}</div>', event.message)

    @admin.display(description="What was sent")
    def sent(self, event: RejectedEvent) -> str:
        style = "white-space:pre-wrap;overflow-wrap:anywhere"
        return format_html('<pre style="{}">{}</pre>', style, event.body[:SHOWN])

    @button(
        "Replay",
        permission="change",
        confirm="The event is read and counted as if it arrived now, with the correction that was saved. Once only.",
        icon="replay",
    )
    def replay_one(self, request: HttpRequest, object_id: str) -> str:
        event = RejectedEvent.objects.get(pk=object_id)
        if event.replayed_at:
            raise RuleError("It was replayed before.", code="replayed")
        done = replay([event], by=request.user.get_username(), now=timezone.now())
        if done.refused:
            event.refresh_from_db()
            raise RuleError(f"Refused again: {event.message}", code=event.code)
        return "The event counts." if done.counted else "The event had been counted already."

    @action(description="Replay", permissions=["change"], icon="replay")  # type: ignore[untyped-decorator]
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[RejectedEvent]) -> None:
        done = replay(queryset[:MOST], by=request.user.get_username(), now=timezone.now())
        tell = messages.warning if done.refused else messages.success
        tell(request, f"{done.sentence}.")

    @action(description="Correct and replay …", permissions=["change"], icon="edit")  # type: ignore[untyped-decorator]
    def correct_selected(self, request: HttpRequest, queryset: QuerySet[RejectedEvent]) -> HttpResponse | None:
        form = CorrectionForm(request.POST if "field" in request.POST else None)
        if form.is_valid():
            correct(queryset[:MOST], Correction(**form.cleaned_data))
            self.replay_selected(request, queryset)
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Correct and replay",
            "form": form,
            "events": queryset[:5],
            "number": queryset.count(),
            "posted": [(name, value) for name in KEPT for value in request.POST.getlist(name)],
            "opts": self.opts,
        }
        return TemplateResponse(request, "meters/correct.html", context)
