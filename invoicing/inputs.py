"""Gathering what statements depend on: a fixed number of queries for any number of billing periods."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from catalog.models import Product
from catalog.models import Rate as CardRate
from contracts.models import BillingPeriod, CustomerKey
from meters.aggregation import Quantity, UsageRequest, quantities

from contracts.terms import ProductTerms, Rate, rate_slices
from invoicing.statement import SliceUsage, StatementInputs
from meters.periods import Period
from meters.slices import measured_periods


@dataclass(frozen=True, slots=True)
class _Asked:
    """A usage request's place: which statement, product and slice its answer belongs to."""

    statement: int
    product: ProductTerms
    slice: Period


def gather(periods: Sequence[BillingPeriod]) -> list[StatementInputs]:
    """The inputs of the statement of each billing period, in the same order, all usage read in one snapshot.

    Expects `contract`, `contract.customer` and `contract.rate_card` selected along.
    """
    rates = _rates_by_card({period.contract.rate_card_id for period in periods})
    products = {product.key: product for product in _products(rates)}
    terms = {key: product_terms(product) for key, product in products.items()}
    keys = _customer_keys({period.contract.customer_id for period in periods})
    asked: list[_Asked] = []
    requests: list[UsageRequest] = []
    for index, billing_period in enumerate(periods):
        contract = billing_period.contract
        whole = Period(billing_period.starting_at, billing_period.ending_before)
        for key, product_rates in rates[contract.rate_card_id].items():
            slices = rate_slices(product_rates, whole)
            for part, measured in measured_periods(terms[key].aggregation, slices):
                requests.append(
                    UsageRequest(
                        key=len(asked),
                        meter=products[key].meter,
                        customer_keys=keys[contract.customer_id],
                        period=measured,
                        group_by=terms[key].group_by,
                    )
                )
                asked.append(_Asked(index, terms[key], part))
    usage = _usage_by_statement(asked, quantities(requests))
    return [
        StatementInputs(
            contract=period.contract.key,
            customer=period.contract.customer.key,
            currency=period.contract.currency,
            period=Period(period.starting_at, period.ending_before),
            products=tuple(terms[key] for key in rates[period.contract.rate_card_id]),
            rates=rates[period.contract.rate_card_id],
            usage=tuple(usage[index]),
        )
        for index, period in enumerate(periods)
    ]


def product_terms(product: Product) -> ProductTerms:
    return ProductTerms(
        key=product.key,
        name=product.name,
        meter=product.meter.key,
        aggregation=product.meter.aggregation,
        pricing_keys=tuple(product.pricing_keys),
        presentation_keys=tuple(product.presentation_keys),
        conversion=product.conversion,
    )


def _rates_by_card(cards: Iterable[int]) -> dict[int, dict[str, list[Rate]]]:
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
            )
        )
    return rates


def _products(rates: Mapping[int, Mapping[str, object]]) -> Iterable[Product]:
    keys = {key for card in rates.values() for key in card}
    return Product.objects.filter(key__in=keys).select_related("meter")


def _customer_keys(customers: Iterable[int]) -> dict[int, tuple[str, ...]]:
    keys: dict[int, list[str]] = defaultdict(list)
    for customer, key in CustomerKey.objects.filter(customer__in=set(customers)).values_list("customer", "key"):
        keys[customer].append(key)
    return {customer: tuple(sorted(keys[customer])) for customer in customers}


def _usage_by_statement(asked: Sequence[_Asked], measured: Iterable[Quantity]) -> dict[int, list[SliceUsage]]:
    usage: dict[int, list[SliceUsage]] = defaultdict(list)
    for row in measured:
        place = asked[row.key]
        group = tuple(zip(place.product.group_by, row.group, strict=True))
        usage[place.statement].append(SliceUsage(place.product.key, place.slice, group, row.quantity, row.events))
    return usage
