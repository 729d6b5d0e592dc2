"""The catalog's rows as the engine's terms: products, rates and pricing units.

What is in force now is kept in the process for as long as the rows are those it was read from. PostgreSQL writes a new
row for every change, so the places and transactions of the rows in the snapshot of a statement tell whether anything
was changed, by whatever process and whether committed or not; nothing has to be told to anybody.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import xor
from typing import Any

from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from billing_project.history import as_known
from billing_project.prepared import ask
from catalog.documents import read
from catalog.models import Product, RateCard, TaxRate
from catalog.models import Rate as CardRate
from contracts.deal import Scope
from contracts.deal_format import Catalog
from contracts.products import ProductTerms
from contracts.terms import Rate
from contracts.units import UnitRate
from meters.models import Meter

# A row as it was written: where it lies and by which transaction, of each table that was looked at.
PRODUCT_ROW = """
hash_record_extended(ROW(catalog_product.ctid, catalog_product.xmin, meters_meter.ctid, meters_meter.xmin), 0)
"""
RATE_ROW = """
hash_record_extended(ROW(catalog_rate.ctid, catalog_rate.xmin, catalog_ratecard.ctid, catalog_ratecard.xmin,
                         catalog_product.ctid, catalog_product.xmin), 0)
"""
TAX_ROW = "hash_record_extended(ROW(catalog_taxrate.ctid, catalog_taxrate.xmin), 0)"
# Another server, such as one restored from a backup, may number transactions the same.
VERSIONS = f"""
SELECT 0 AS what, count(*), coalesce(bit_xor({PRODUCT_ROW}), 0), pg_postmaster_start_time()
FROM catalog_product LEFT JOIN meters_meter ON meters_meter.id = catalog_product.meter_id
UNION ALL
SELECT -1, count(*), coalesce(bit_xor({TAX_ROW}), 0), pg_postmaster_start_time() FROM catalog_taxrate
UNION ALL
SELECT catalog_rate.rate_card_id, count(*), bit_xor({RATE_ROW}), pg_postmaster_start_time()
FROM catalog_rate JOIN catalog_ratecard ON catalog_ratecard.id = catalog_rate.rate_card_id
JOIN catalog_product ON catalog_product.id = catalog_rate.product_id
WHERE catalog_rate.rate_card_id = ANY(%s::bigint[]) GROUP BY 1
"""  # noqa: S608
PRODUCTS, TAXES = 0, -1  # beside the ids of cards
KEPT_CARDS = 500
NO_ROWS = (0, 0)
Version = tuple[Any, ...]  # number of rows, their hash, start of the server
CardRates = Mapping[str, Sequence[Rate]]


@dataclass(frozen=True, slots=True)
class Products:
    """Every product by its key: the row, with its meter, and as contracts sell it."""

    rows: Mapping[str, Product]
    terms: Mapping[str, ProductTerms]


@dataclass(frozen=True, slots=True)
class CatalogTerms:
    """Products, rates of tax, and the rates of cards (by id) by product key, in order of group values and time."""

    products: Products
    tax_rates: Sequence[TaxRate]
    rates: Mapping[int, CardRates]


class _Kept:
    """What was read last. Threads may read the same twice; nothing in it is ever changed."""

    def __init__(self) -> None:
        self.products: tuple[Version, Products] | None = None
        self.taxes: tuple[Version, Sequence[TaxRate]] | None = None
        self.rates: OrderedDict[int, tuple[Version, CardRates]] = OrderedDict()

    def keep(self, card: int, version: Version, rates: CardRates) -> None:
        self.rates[card] = version, rates
        while len(self.rates) > KEPT_CARDS:
            self.rates.popitem(last=False)


_kept = _Kept()


def terms_of_cards(cards: Collection[int]) -> CatalogTerms:
    """What is in force now: one query where nothing was changed since it was read."""
    versions = {what: (*version, start) for what, *version, start in ask(VERSIONS, [sorted(cards)])}
    start = versions[PRODUCTS][-1]
    products, taxes = _kept.products, _kept.taxes
    if products is None or products[0] != versions[PRODUCTS]:
        products = _kept.products = _read_products(start)
    if taxes is None or taxes[0] != versions[TAXES]:
        taxes = _kept.taxes = _read_taxes(start)
    found: dict[int, CardRates] = {}
    for card in cards:
        version, rates = _kept.rates.get(card, (None, {}))
        if version == versions.get(card, (*NO_ROWS, start)):
            found[card] = rates
    changed = [card for card in cards if card not in found]
    if changed:
        found |= _read_rates(changed, start)
    return CatalogTerms(products[1], taxes[1], found)


def terms_as_known(cards: Collection[int], at: datetime) -> CatalogTerms:
    """The same as they were at an instant; a meter in use never changes its meaning."""
    meters = Meter.objects.in_bulk()
    known = as_known(Product, at)
    for row in known.values():
        row.meter = meters.get(row.meter_id)
    rows = sorted(known.values(), key=lambda row: (row.name, row.key))
    taxes = sorted(as_known(TaxRate, at).values(), key=lambda row: row.key)
    return CatalogTerms(_products(rows), taxes, _by_card(cards, _rates_as_known(cards, at)))


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


def units_of(card: RateCard) -> dict[str, list[UnitRate]]:
    """What each pricing unit of a card costs, and when."""
    units: dict[str, list[UnitRate]] = defaultdict(list)
    for unit in card.parsed_units if card.pricing_units else ():
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


def _read_products(start: datetime) -> tuple[Version, Products]:
    rows = list(_with_versions(Product.objects.select_related("meter"), PRODUCT_ROW))
    return (*_version(rows), start), _products(rows)


def _read_taxes(start: datetime) -> tuple[Version, Sequence[TaxRate]]:
    rows = list(_with_versions(TaxRate.objects.all(), TAX_ROW))
    return (*_version(rows), start), tuple(rows)


def _read_rates(cards: Collection[int], start: datetime) -> dict[int, CardRates]:
    rows = CardRate.objects.filter(rate_card__in=cards).select_related("product", "rate_card")
    by_card: dict[int, list[CardRate]] = defaultdict(list)
    for row in _with_versions(rows, RATE_ROW).order_by("product__key", "where_key", "starting_at"):
        by_card[row.rate_card_id].append(row)
    found = _by_card(cards, (row for rows in by_card.values() for row in rows))
    for card in cards:
        _kept.keep(card, (*_version(by_card[card]), start), found[card])
    return found


def _with_versions(rows: QuerySet[Any], version: str) -> QuerySet[Any]:
    found: QuerySet[Any] = rows.annotate(version=RawSQL(version, ()))  # noqa: S611
    return found


def _version(rows: Collection[Any]) -> Version:
    """As VERSIONS has it, of the very rows that were read."""
    return (len(rows), reduce(xor, (row.version for row in rows))) if rows else NO_ROWS


def _products(rows: Iterable[Product]) -> Products:
    by_key = {row.key: row for row in rows}
    return Products(by_key, {key: product_terms(row) for key, row in by_key.items()})


def _by_card(cards: Iterable[int], rows: Iterable[CardRate]) -> dict[int, CardRates]:
    """Expects rows in order."""
    rates: dict[int, dict[str, list[Rate]]] = {card: defaultdict(list) for card in cards}
    for row in rows:
        rates[row.rate_card_id][row.product.key].append(_rate(row))
    return {card: {key: tuple(each) for key, each in of_card.items()} for card, of_card in rates.items()}


def _rate(row: CardRate) -> Rate:
    return Rate(
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
