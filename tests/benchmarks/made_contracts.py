"""Contracts of the benchmarks: one card with a product for each meter, three graduated tiers, a prepaid commit."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from catalog.models import Product, Rate, RateCard
from contracts.models import Contract, Customer, CustomerKey
from meters.models import Meter
from tests.benchmarks.stream import customer_key

TIERS = [
    {"up_to": "1000", "unit_amount": "0"},
    {"up_to": "100000", "unit_amount": "0.0021"},
    {"up_to": None, "unit_amount": "0.0013"},
]


def make_contracts(meters: Sequence[Meter], customers: Sequence[int], month: datetime) -> list[Contract]:
    """A contract for each of the customers (by number), from the first of the month, all on one card."""
    card = RateCard.objects.create(key="benchmark", name="Benchmark", currency="USD")
    for meter in meters:
        product = Product.objects.create(key=f"product-{meter.key}", name=meter.name, meter=meter)
        Rate.objects.create(rate_card=card, product=product, price={"model": "graduated", "tiers": TIERS})
    made = Customer.objects.bulk_create([Customer(key=customer_key(n), name=f"Customer {n}") for n in customers])
    CustomerKey.objects.bulk_create([CustomerKey(customer=each, key=each.key) for each in made])
    contracts = [
        Contract(key=f"contract-{each.key}", customer=each, rate_card=card, starting_at=month, deal=_deal(month))
        for each in made
    ]
    for contract in contracts:
        contract.clean()
    return Contract.objects.bulk_create(contracts)


def _deal(month: datetime) -> dict[str, object]:
    """A commit that usage draws on; its purchase was billed elsewhere."""
    span = {"starting_at": f"{month:%Y-%m-%d}", "ending_before": f"{month + timedelta(days=365):%Y-%m-%d}"}
    return {"commits": [{"key": "year", "access": [{"amount": "500", **span}]}]}
