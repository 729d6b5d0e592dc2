"""Products and rate cards: list, read, make, change; rates by date."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django_filters import rest_framework as filters
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.idempotency import once
from catalog.models import Product, Rate, RateCard
from catalog.written import written_card, written_product, written_rate
from invoicing.api import examples
from invoicing.api.body import members
from invoicing.api.docs import list_of, listed, read, ref, written
from invoicing.api.rows import OneView, RowsView
from invoicing.api.writing import change, create
from invoicing.billing_file.entry import apply_entry


class ProductFilter(filters.FilterSet):  # type: ignore[misc]
    kind = filters.ChoiceFilter(choices=Product.Kind.choices)
    meter = filters.CharFilter("meter__key")
    tag = filters.CharFilter("tags", lookup_expr="contains", method="by_tag")

    def by_tag(self, rows: QuerySet[Product], name: str, value: str) -> QuerySet[Product]:
        return rows.filter(tags__contains=[value])


class ProductsView(RowsView[Product]):
    queryset = Product.objects.select_related("meter")
    filterset_class = ProductFilter

    def shown(self, row: Product) -> dict[str, Any]:
        return written_product(row)

    @listed("list_products", "catalog", "List products", "ProductEntry", examples.PRODUCT_SHOWN)
    def get(self, request: Request) -> Response:
        return self.list(request)

    @written(
        "create_product",
        "catalog",
        "Make a product",
        ref("ProductEntry"),
        {"Usage, by model": examples.PRODUCT, "Seats": examples.SEAT},
        ref("ProductEntry"),
        examples.PRODUCT_SHOWN,
        status=201,
    )
    @once
    def post(self, request: Request) -> Response:
        entry = members(request)
        create("products", Product, entry)
        return Response(_product(str(entry["key"])), status=201)


class ProductView(OneView):
    @read("read_product", "catalog", "Read a product", ref("ProductEntry"), examples.PRODUCT_SHOWN)
    def get(self, request: Request, key: str) -> Response:
        return Response(_product(key))

    @written(
        "change_product",
        "catalog",
        "Change a product",
        {"type": "object", "description": "The members of a ProductEntry that change."},
        {"Another name": {"name": "Calls to the API"}},
        ref("ProductEntry"),
        {**examples.PRODUCT_SHOWN, "name": "Calls to the API"},
        description="JSON merge patch (RFC 7396) of the product.",
    )
    @once
    def patch(self, request: Request, key: str) -> Response:
        change("products", _product(key), key, members(request))
        return Response(_product(key))


class RateCardFilter(filters.FilterSet):  # type: ignore[misc]
    currency = filters.CharFilter("currency")


class RateCardsView(RowsView[RateCard]):
    queryset = RateCard.objects.all()
    filterset_class = RateCardFilter

    def shown(self, row: RateCard) -> dict[str, Any]:
        return written_card(row)

    @listed(
        "list_rate_cards", "catalog", "List rate cards", "RateCardEntry", examples.CARD_LISTED, "Without their rates."
    )
    def get(self, request: Request) -> Response:
        return self.list(request)

    @written(
        "create_rate_card",
        "catalog",
        "Make a rate card",
        ref("RateCardEntry"),
        {"With two rates": examples.CARD},
        ref("RateCardEntry"),
        examples.CARD_SHOWN,
        status=201,
    )
    @once
    def post(self, request: Request) -> Response:
        entry = members(request)
        create("rate_cards", RateCard, entry)
        return Response(_card(str(entry["key"])), status=201)


class RateCardView(OneView):
    @read("read_rate_card", "catalog", "Read a rate card with its rates", ref("RateCardEntry"), examples.CARD_SHOWN)
    def get(self, request: Request, key: str) -> Response:
        return Response(_card(key))

    @written(
        "change_rate_card",
        "catalog",
        "Change a rate card",
        {"type": "object", "description": "The members of a RateCardEntry that change."},
        {"Another name": {"name": "Standard 2026"}},
        ref("RateCardEntry"),
        {**examples.CARD_SHOWN, "name": "Standard 2026"},
        description="JSON merge patch (RFC 7396) of the card. Rates that are not named stay as they are.",
    )
    @once
    def patch(self, request: Request, key: str) -> Response:
        card = get_object_or_404(RateCard, key=key)
        change("rate_cards", written_card(card), key, members(request))
        return Response(_card(key))


class RateFilter(filters.FilterSet):  # type: ignore[misc]
    product = filters.CharFilter("product__key")
    at = filters.IsoDateTimeFilter(method="holding", help_text="Rates that hold at this instant.")

    def holding(self, rows: QuerySet[Rate], name: str, value: datetime) -> QuerySet[Rate]:
        started = Q(starting_at__isnull=True) | Q(starting_at__lte=value)
        return rows.filter(started, Q(ending_before__isnull=True) | Q(ending_before__gt=value))


class RatesView(RowsView[Rate]):
    queryset = Rate.objects.select_related("product")
    filterset_class = RateFilter
    ordering: ClassVar[Any] = "pk"

    def shown(self, row: Rate) -> dict[str, Any]:
        return written_rate(row)

    @listed("list_rates", "catalog", "List the rates of a card", "RateEntry", examples.RATES_SHOWN[0])
    def get(self, request: Request, key: str) -> Response:
        card = get_object_or_404(RateCard, key=key)
        return self.list(request, self.queryset.filter(rate_card=card))

    @written(
        "set_rates",
        "catalog",
        "Add, change or end rates",
        ref("RatesEntry"),
        {"From a date on": {"rates": [examples.NEW_RATE]}},
        list_of("RateEntry"),
        {"data": [examples.NEW_RATE_SHOWN]},
        description="A rate is known by its product, group values and start: sent again with `ending_before` it ends "
        "there, and another one may start. All rates of a request are made, or none.",
    )
    @once
    def post(self, request: Request, key: str) -> Response:
        card = get_object_or_404(RateCard, key=key)
        rates = members(request)
        apply_entry("rate_cards", {**written_card(card), **rates}, timezone.now())
        named = [each for each in rates.get("rates", ()) if isinstance(each, dict)]
        return Response({"data": _rates(self.queryset.filter(rate_card=card), named)})


def _product(key: str) -> dict[str, Any]:
    return written_product(get_object_or_404(Product.objects.select_related("meter"), key=key))


def _card(key: str) -> dict[str, Any]:
    card = get_object_or_404(RateCard, key=key)
    rates = Rate.objects.filter(rate_card=card).select_related("product").order_by("pk")
    return {**written_card(card), "rates": [written_rate(rate) for rate in rates]}


def _rates(rows: QuerySet[Rate], named: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rates of the products and group values that a request named, past and future ones too."""
    wanted = [(each.get("product"), each.get("where", {})) for each in named]
    found = rows.filter(product__key__in={product for product, _ in wanted}).order_by("pk")
    return [written_rate(rate) for rate in found if (rate.product.key, rate.where) in wanted]
