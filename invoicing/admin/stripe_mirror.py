"""The copy of Stripe's objects, to be read: what Stripe last told of each, word for word."""

import json
from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from billing_project.admin import ReadOnlyAdmin
from invoicing.models import MirroredObject
from invoicing.stripe_mirror import KINDS

MAY_LOOK = "invoicing.view_mirroredobject"


def page_of(stripe_id: str) -> str:
    """The page of the copy of an object; empty if there is none."""
    row = MirroredObject.objects.filter(stripe_id=stripe_id).first()
    return _page(row) if row else ""


def _page(row: MirroredObject) -> str:
    found = KINDS[row.kind].objects.filter(id=row.stripe_id).values_list("pk", flat=True).first()
    return reverse(f"admin:djstripe_{KINDS[row.kind]._meta.model_name}_change", args=[found]) if found else ""


class FailedFilter(admin.SimpleListFilter):
    title = "copy"
    parameter_name = "copy"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("failed", "Failed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[MirroredObject]) -> QuerySet[MirroredObject]:
        return queryset.exclude(error="") if self.value() == "failed" else queryset


@admin.register(MirroredObject)
class MirroredObjectAdmin(ReadOnlyAdmin[MirroredObject]):
    list_display = ["stripe_id", "kind", "state", "as_of", "mirrored_at", "copy"]
    list_filter = [FailedFilter, "kind"]
    search_fields = ["stripe_id"]
    list_per_page = 50
    fields = ["stripe_id", "kind", "state", "as_of", "mirrored_at", "copy", "error"]

    @display(description="Copy", label={"Up to date": "success", "Failed": "danger"})  # type: ignore[untyped-decorator]
    def state(self, row: MirroredObject) -> str:
        return "Failed" if row.error else "Up to date"

    @admin.display(description="As it is there")
    def copy(self, row: MirroredObject) -> str:
        page = _page(row)
        return format_html('<a class="text-link" href="{}">Open</a>', page) if page else ""


class Named:
    """A mirrored object under its id."""

    def __init__(self, row: Any) -> None:
        self.pk, self.id, self._meta = row.pk, row.id, row._meta

    def __str__(self) -> str:
        return str(self.id)


class MirrorAdmin(ReadOnlyAdmin[Any]):
    """A row of dj-stripe's tables. Its own pages would write to Stripe."""

    list_display = ["id", "told_of", "live"]
    search_fields = ["id"]
    ordering = ["-created"]
    fields = ["shown_id", "told_of", "live", "in_stripe", "refers_to", "shown"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return cast("User", request.user).has_perm(MAY_LOOK)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return cast("User", request.user).has_perm(MAY_LOOK)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        # dj-stripe's own name of an invoice takes its cents for dollars.
        context["original"] = Named(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="Id in Stripe")
    def shown_id(self, row: Any) -> str:
        return str(row.id)

    @admin.display(description="Created there", ordering="created")
    def told_of(self, row: Any) -> str:
        return f"{row.created:%-d %b %Y %H:%M} UTC" if row.created else ""

    @admin.display(description="Mode")
    def live(self, row: Any) -> str:
        return "live" if row.livemode else "test"

    @admin.display(description="In Stripe")
    def in_stripe(self, row: Any) -> str:
        url = row.get_stripe_dashboard_url()
        link = '<a class="text-link" href="{0}" target="_blank" rel="noopener">{0}</a>'
        return format_html(link, url) if url else ""

    @admin.display(description="Refers to")
    def refers_to(self, row: Any) -> str:
        found = [
            (getattr(row, field.attname), page_of(getattr(row, field.attname) or ""))
            for field in row._meta.concrete_fields
            if field.related_model in KINDS.values()
        ]
        links = [format_html('<a class="text-link" href="{}">{}</a>', page, name) for name, page in found if page]
        return format_html(" ".join(["{}"] * len(links)), *links) if links else ""

    @admin.display(description="As it was told")
    def shown(self, row: Any) -> str:
        text = json.dumps(row.stripe_data, indent=2, sort_keys=True)
        return format_html('<pre style="white-space: pre-wrap">{}</pre>', text)


for each in KINDS.values():
    admin.site.register(each, MirrorAdmin)
