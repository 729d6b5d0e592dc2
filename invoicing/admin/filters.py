"""By what the list of invoices is narrowed."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import RangeDateFilter

from invoicing.models import Invoice


class NeedsLookFilter(admin.SimpleListFilter):
    title = "attention"
    parameter_name = "flagged"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "Needs a look"), ("0", "Nothing to note")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        if self.value() == "1":
            return queryset.filter(attention__len__gt=0)
        return queryset.filter(attention__len=0) if self.value() == "0" else queryset


class LastDayFilter(RangeDateFilter):  # type: ignore[misc]
    """By the last day of the period."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "last day of the period"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        first, last = (_midnight(self.used_parameters.get(f"{self.parameter_name}_{end}")) for end in ("from", "to"))
        # A period ends at a local midnight, which lies up to 14 hours before UTC's and up to 12 hours after it.
        if first:
            queryset = queryset.filter(ending_before__gt=first + timedelta(hours=12))
        return queryset.filter(ending_before__lte=last + timedelta(hours=36)) if last else queryset


def _midnight(day: Any) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(str(day)), time.min, tzinfo=UTC)
    except ValueError:
        return None
