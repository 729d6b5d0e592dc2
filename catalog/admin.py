"""The catalog's pages: products, rate cards with their rates."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Count, F, Q, QuerySet
from django.db.models.expressions import Combinable
from django.forms import BaseModelFormSet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.decorators import action

from billing_project.admin import ModelAdmin, StackedInline
from catalog.forms import RateCardForm, RateForm, RateFormSet, TaxRateForm
from catalog.grid_page import grid_page
from catalog.group_values import group_text
from catalog.models import Product, Rate, RateCard, TaxRate, span_text
from catalog.price_text import exact_text, price_text
from meters.models import Meter


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@admin.register(Product)
class ProductAdmin(ModelAdmin[Product]):
    list_display = ["name", "key", "meter", "priced_by", "conversion", "shown_tags"]
    list_filter = ["meter"]
    list_select_related = ["meter"]
    search_fields = ["name", "key", "tags", "meter__key", "meter__name"]
    fieldsets = [
        (None, {"fields": ["key", "name", "meter", "tags", "tax_category"]}),
        ("Lines", {"fields": ["pricing_keys", "presentation_keys"]}),
        (
            "From the metered to the billed quantity",
            {"fields": [("multiply_by", "divide_by"), "rounding", "rounding_places"]},
        ),
    ]
    conditional_fields = {"rounding_places": "typeof rounding == 'undefined' || rounding != ''"}

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> list[str]:
        return ["key"] if obj else []

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "meter":
            product = request.resolver_match.kwargs.get("object_id") if request.resolver_match else None
            kwargs["queryset"] = Meter.objects.filter(Q(archived_at=None) | Q(products=product)).distinct()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @admin.display(description="Priced by")
    def priced_by(self, product: Product) -> str:
        return ", ".join(product.pricing_keys) or "–"

    @admin.display(description="Conversion")
    def conversion(self, product: Product) -> str:
        times = f"× {exact_text(product.multiply_by)}" if product.multiply_by != 1 else ""
        by = f"÷ {exact_text(product.divide_by)}" if product.divide_by != 1 else ""
        rounded = f"rounded {product.get_rounding_display().lower()}" if product.rounding else ""
        return " ".join(filter(None, [times, by, rounded])) or "–"

    @admin.display(description="Tags")
    def shown_tags(self, product: Product) -> str:
        return ", ".join(product.tags)


class RateDisplay:
    """How a rate is shown to those who may not change it."""

    @admin.display(description="Price")
    def shown_price(self, rate: Rate) -> str:
        return price_text(rate.parsed_price, rate.rate_card.currency)

    @admin.display(description="Group values", ordering="where_key")
    def shown_where(self, rate: Rate) -> str:
        return group_text(rate.where) or "–"


# Rates since ever come first.
CHRONOLOGICAL: list[str | Combinable] = ["product__name", "where_key", F("starting_at").asc(nulls_first=True)]


class RateInline(RateDisplay, StackedInline[Rate, RateCard]):
    model = Rate
    form = RateForm
    formset = RateFormSet
    ordering = CHRONOLOGICAL
    fields = [("product", "where"), "price", "starting_at", "ending_before"]
    autocomplete_fields = ["product"]
    readonly_fields = ["shown_where", "shown_price"]
    collapsible = True
    tab = True
    per_page = 50
    show_count = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rate]:
        return super().get_queryset(request).select_related("product", "rate_card")

    def get_fields(self, request: HttpRequest, obj: RateCard | None = None) -> Any:
        if obj is None or self.has_change_permission(request, obj):
            return self.fields
        return ["product", "shown_where", "shown_price", "starting_at", "ending_before"]


@admin.register(RateCard)
class RateCardAdmin(ModelAdmin[RateCard]):
    form = RateCardForm
    list_display = ["name", "key", "currency", "number_of_rates", "created_at"]
    list_filter = ["currency"]
    search_fields = ["name", "key"]
    fields = ["key", "name", "currency"]
    inlines = [RateInline]
    actions_detail = ["grid"]

    def get_urls(self) -> list[URLPattern]:
        page = path("<int:card>/grid/", self.admin_site.admin_view(self.grid_view), name="catalog_ratecard_grid")
        return [page, *super().get_urls()]

    @action(description="Grid", permissions=["view"], icon="grid_on")  # type: ignore[untyped-decorator]
    def grid(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect("admin:catalog_ratecard_grid", object_id)

    def grid_view(self, request: HttpRequest, card: int) -> HttpResponse:
        found = get_object_or_404(RateCard, pk=card)
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "title": f"Prices of {found}"}
        return grid_page(request, found, context, may_change=self.has_change_permission(request, found))

    def get_readonly_fields(self, request: HttpRequest, obj: RateCard | None = None) -> list[str]:
        return ["key", "currency"] if obj else []

    def get_queryset(self, request: HttpRequest) -> QuerySet[RateCard]:
        return super().get_queryset(request).annotate(rate_count=Count("rates"))

    @admin.display(description="Rates", ordering="rate_count")
    def number_of_rates(self, card: RateCard) -> str:
        url = f"{reverse('admin:catalog_rate_changelist')}?rate_card__id__exact={card.pk}"
        return format_html('<a class="text-link" href="{}">{}</a>', url, plural(getattr(card, "rate_count", 0), "rate"))

    def save_formset(self, request: HttpRequest, form: Any, formset: BaseModelFormSet[Any, Any], change: bool) -> None:
        with connection.cursor() as cursor:
            # A moved boundary between two rates overlaps until both are written; their form has checked the end state.
            cursor.execute("SET CONSTRAINTS rates_do_not_overlap DEFERRED")
            super().save_formset(request, form, formset, change)
            cursor.execute("SET CONSTRAINTS rates_do_not_overlap IMMEDIATE")


@admin.register(Rate)
class RateAdmin(RateDisplay, ModelAdmin[Rate]):
    form = RateForm
    list_display = ["product", "shown_where", "shown_price", "starting_at", "ending_before", "rate_card"]
    list_filter = ["rate_card", "product"]
    ordering = CHRONOLOGICAL
    list_select_related = ["product", "rate_card"]
    search_fields = ["product__name", "product__key", "where_key", "rate_card__name", "rate_card__key"]
    autocomplete_fields = ["rate_card", "product"]
    fields = ["rate_card", ("product", "where"), "price", "starting_at", "ending_before"]

    def get_readonly_fields(self, request: HttpRequest, obj: Rate | None = None) -> list[str]:
        shown = ["shown_where", "shown_price"]
        return ["rate_card", *shown] if obj else shown

    def get_fields(self, request: HttpRequest, obj: Rate | None = None) -> Any:
        if self.has_change_permission(request, obj) if obj else self.has_add_permission(request):
            return self.fields
        return ["rate_card", "product", "shown_where", "shown_price", "starting_at", "ending_before"]


@admin.register(TaxRate)
class TaxRateAdmin(ModelAdmin[TaxRate]):
    form = TaxRateForm
    list_display = ["key", "name", "shown_percent", "category", "place", "product_category", "inclusive", "span"]
    list_filter = ["country", "category"]
    search_fields = ["key", "name", "country"]
    fieldsets = [
        (None, {"fields": ["key", "name", "percent", "category", "inclusive", "note"]}),
        ("Holds for", {"fields": [("country", "region"), "product_category", "starting_at", "ending_before"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: TaxRate | None = None) -> list[str]:
        return ["key"] if obj else []

    @admin.display(description="Percent", ordering="percent")
    def shown_percent(self, rate: TaxRate) -> str:
        return f"{exact_text(rate.percent)}%"

    @admin.display(description="Customers in", ordering="country")
    def place(self, rate: TaxRate) -> str:
        return ", ".join(filter(None, [rate.country, rate.region]))

    @admin.display(description="Holds", ordering="starting_at")
    def span(self, rate: TaxRate) -> str:
        return span_text(rate.starting_at, rate.ending_before)
