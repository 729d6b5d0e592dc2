"""The catalog's rows as the engine's terms: products, rates and pricing units."""

from collections import defaultdict
from collections.abc import Iterable

from catalog.documents import read
from catalog.models import Product, RateCard
from catalog.models import Rate as CardRate
from contracts.deal import Scope
from contracts.deal_format import Catalog
from contracts.products import ProductTerms
from contracts.terms import Rate
from contracts.units import UnitRate
from meters.models import Meter


def product_terms(product: Product) -> ProductTerms:
    of: Scope = read(Scope, product.of)
    return ProductTerms(
        key=product.key,
        name=product.name,
        meter=product.meter.key if product.meter else "",
        aggregation=product.meter.aggregation if product.meter else "",
        pricing_keys=tuple(product.pricing_keys),
        presentation_keys=tuple(product.presentation_keys),
        conversion=product.conversion,
        kind=product.kind,
        tags=tuple(product.tags),
        of=of,
    )


def rates_by_card(cards: Iterable[int]) -> dict[int, dict[str, list[Rate]]]:
    """The rates of cards (by id), by product key, in order of group values and time: one query."""
    rates: dict[int, dict[str, list[Rate]]] = {card: defaultdict(list) for card in cards}
    rows = CardRate.objects.filter(rate_card__in=rates).select_related("product", "rate_card")
    for row in rows.order_by("product__key", "where_key", "starting_at"):
        rates[row.rate_card_id][row.product.key].append(
            Rate(
                product=row.product.key,
                where=row.where_key,
                starting_at=row.starting_at,
                ending_before=row.ending_before,
                price=row.parsed_price,
                source=f"rate card {row.rate_card.key}",
                reference=f"rate:{row.pk}",
                commit_price=row.parsed_commit_price,
                unit=row.unit,
            )
        )
    return rates


def units_of(card: RateCard) -> dict[str, list[UnitRate]]:
    """What each pricing unit of a card costs, and when."""
    units: dict[str, list[UnitRate]] = defaultdict(list)
    for unit in card.parsed_units:
        units[unit.key].append(UnitRate(unit.rate, unit.starting_at, unit.ending_before))
    return units


def catalog_of(card: RateCard) -> Catalog:
    """What a deal on a card may refer to: every product and meter there is, and the card's pricing units."""
    products = {product.key: product_terms(product) for product in Product.objects.select_related("meter")}
    meters = dict(Meter.objects.values_list("key", "group_by"))
    return Catalog(products, frozenset(unit.key for unit in card.parsed_units), meters)
