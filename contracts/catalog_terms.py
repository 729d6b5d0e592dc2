"""The catalog's rows as the engine's terms: products, rates and pricing units."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from billing_project.history import as_known
from catalog.documents import read
from catalog.models import Product, RateCard, TaxRate
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
        tax_category=product.tax_category,
    )


def products_by_key(known_at: datetime | None = None) -> dict[str, Product]:
    """Every product, or those there were at an instant as they were; a meter in use never changes its meaning."""
    rows = Product.objects.select_related("meter")
    if known_at is None:
        return {row.key: row for row in rows}
    meters = {row.meter_id: row.meter for row in rows}
    known = as_known(Product, known_at)
    for row in known.values():
        row.meter = meters.get(row.meter_id)
    return {row.key: row for row in sorted(known.values(), key=lambda row: (row.name, row.key))}


def _rates_as_known(cards: Collection[int], at: datetime) -> Iterator[CardRate]:
    """The rates of cards as they were at an instant."""
    ever = CardRate.pgh_event_model.objects.filter(rate_card__in=cards)  # type: ignore[attr-defined]
    rows = [row for row in as_known(CardRate, at, ever.values("pgh_obj_id")).values() if row.rate_card_id in cards]
    products = as_known(Product, at, {row.product_id for row in rows})
    known_cards = as_known(RateCard, at, cards)
    for row in rows:
        row.product, row.rate_card = products[row.product_id], known_cards[row.rate_card_id]

    def place(row: CardRate) -> tuple[str, str, bool, datetime]:
        return row.product.key, row.where_key, row.starting_at is None, row.starting_at or at

    yield from sorted(rows, key=place)


def rates_by_card(cards: Iterable[int], known_at: datetime | None = None) -> dict[int, dict[str, list[Rate]]]:
    """The rates of cards (by id), by product key, in order of group values and time: one query. `known_at`: as they
    were at an instant.
    """
    rates: dict[int, dict[str, list[Rate]]] = {card: defaultdict(list) for card in cards}
    rows: Iterable[CardRate]
    if known_at is None:
        rows = CardRate.objects.filter(rate_card__in=rates).select_related("product", "rate_card")
        rows = rows.order_by("product__key", "where_key", "starting_at")
    else:
        rows = _rates_as_known(list(rates), known_at)
    for row in rows:
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


def tax_rates(known_at: datetime | None = None) -> list[TaxRate]:
    """Every rate of tax, or those there were at an instant as they were."""
    if known_at is None:
        return list(TaxRate.objects.all())
    return sorted(as_known(TaxRate, known_at).values(), key=lambda row: row.key)


def units_of(card: RateCard) -> dict[str, list[UnitRate]]:
    """What each pricing unit of a card costs, and when."""
    units: dict[str, list[UnitRate]] = defaultdict(list)
    for unit in card.parsed_units:
        if unit.rate is not None:
            units[unit.key].append(UnitRate(unit.rate, unit.starting_at, unit.ending_before))
    return units


def catalog_of(card: RateCard, shared_commits: frozenset[str] = frozenset()) -> Catalog:
    """What a deal on a card may refer to: every product and meter there is, the card's pricing units, what it has rates
    for, and the commits its customer shares.
    """
    products = {product.key: product_terms(product) for product in Product.objects.select_related("meter")}
    meters = dict(Meter.objects.values_list("key", "group_by"))
    priced = CardRate.objects.filter(rate_card=card).values_list("product__key", flat=True).distinct()
    units = frozenset(unit.key for unit in card.parsed_units)
    return Catalog(products, units, meters, frozenset(priced.order_by()), shared_commits)
