"""Contracts of the benchmarks: one card with a product for each meter, three graduated tiers, a prepaid commit."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import psycopg
from django.db.models import Model
from psycopg import sql

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


def add_contracts(connection: psycopg.Connection, first: int, until: int) -> None:
    """Contracts of the customers numbered `first` up to `until`, by SQL: copies of one that is there, each with its
    customer, key of usage and billing periods.
    """
    one = Contract.objects.select_related("customer").earliest("pk")
    key = "'customer-' || lpad(n::text, 5, '0')"
    numbers = f"generate_series({first}, {until - 1}) AS n"
    _copy(connection, one.customer, numbers, key=key, name="'Customer ' || n")
    customers = f"{numbers} JOIN contracts_customer AS c ON c.key = {key}"
    _copy(connection, one.customer.keys.get(), customers, customer_id="c.id", key="c.key")
    _copy(connection, one, customers, customer_id="c.id", key="'contract-' || c.key")
    contracts = f"{customers} JOIN contracts_contract AS k ON k.customer_id = c.id"
    for period in one.billing_periods.all():
        _copy(connection, period, contracts, contract_id="k.id")


def _copy(connection: psycopg.Connection, row: Model, places: str, **changes: str) -> None:
    """Copies of a row, one for each of `places`, with other values for some columns."""
    columns = [str(field.column) for field in row._meta.concrete_fields if not field.primary_key]
    names: list[sql.Composable] = [sql.Identifier(each) for each in columns]
    statement = "INSERT INTO {table} ({columns}) SELECT {values} FROM {table} AS one, {places} WHERE one.id = {id}"
    values = [sql.SQL(changes[each]) if each in changes else sql.Identifier("one", each) for each in columns]
    connection.execute(
        sql.SQL(statement).format(
            table=sql.Identifier(row._meta.db_table),
            columns=sql.SQL(", ").join(names),
            values=sql.SQL(", ").join(values),
            places=sql.SQL(places),
            id=sql.Literal(row.pk),
        )
    )


def _deal(month: datetime) -> dict[str, object]:
    """A commit that usage draws on; its purchase was billed elsewhere."""
    span = {"starting_at": f"{month:%Y-%m-%d}", "ending_before": f"{month + timedelta(days=365):%Y-%m-%d}"}
    return {"commits": [{"key": "year", "access": [{"amount": "500", **span}]}]}
