"""By what the list of invoices is narrowed."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import RangeDateFilter

from catalog.models import RateCard
from contracts.models import Contract, Customer
from invoicing.models import OPEN, Invoice, Status
from invoicing.receivables import AGES, of_age


class NeedsLookFilter(admin.SimpleListFilter):
    title = "attention"
    parameter_name = "flagged"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "Needs a look"), ("0", "Nothing to note"), ("unrated", "Usage without a rate")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        if self.value() == "1":
            return queryset.filter(attention__len__gt=0)
        if self.value() == "unrated":
            return queryset.filter(status__in=OPEN).exclude(unrated=[])
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


class CurrencyFilter(admin.SimpleListFilter):
    title = "currency"
    parameter_name = "currency"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        used = RateCard.objects.order_by("currency").values_list("currency", flat=True).distinct()
        return [(currency, currency) for currency in used]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        return queryset.filter(currency=self.value()) if self.value() else queryset


class AgeFilter(admin.SimpleListFilter):
    """Of what is still to be paid, by how long it is overdue."""

    title = "days overdue"
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(age, age.capitalize()) for age in AGES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        age = self.value() or ""
        return queryset.filter(of_age(age, timezone.now()), status=Status.ISSUED) if age in AGES else queryset


class ShadowFilter(admin.SimpleListFilter):
    title = "shadow contract"
    parameter_name = "shadow"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "Customers with one")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        compared = Contract.objects.filter(shadow=True).values("customer")
        return queryset.filter(customer__in=compared) if self.value() == "1" else queryset


class OwedByFilter(admin.SimpleListFilter):
    """Shown when a link of the receivables asks for it: the list of all customers would be long."""

    title = "who pays"
    parameter_name = "owed_by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        key = request.GET.get(self.parameter_name, "")
        found = Customer.objects.filter(pk=key).first() if key.isdecimal() and len(key) < 19 else None
        return [(str(found.pk), str(found))] if found else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        if self.value() not in [key for key, _ in self.lookup_choices]:
            return queryset
        return queryset.annotate(owed_by=Coalesce("payer", "customer")).filter(owed_by=self.value())
