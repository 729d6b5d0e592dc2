"""Rows for tests, and events sent the way clients send them."""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group, User
from factory.declarations import LazyAttribute, LazyFunction, Sequence, SubFactory
from factory.django import DjangoModelFactory

from catalog.models import Product, Rate, RateCard
from contracts.models import Contract, Customer
from invoicing.close import close_periods
from invoicing.models import Invoice
from meters.backlog import uncounted_events
from meters.events import make_event
from meters.ingest import IngestResult, ingest_events
from meters.models import Meter
from meters.rollup import roll_up

PER_UNIT = {"model": "per_unit", "unit_amount": "0.50"}
CALL = "api.call"


def day(number: int, month: int = 1, year: int = 2026) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


class MeterFactory(DjangoModelFactory[Meter]):
    class Meta:
        model = Meter

    key = Sequence(lambda n: f"meter-{n}")
    name = LazyAttribute(lambda meter: meter.key.title())
    event_types = [CALL]
    aggregation = "sum"
    value_property = LazyAttribute(lambda meter: "" if meter.aggregation == "count" else "units")


class ProductFactory(DjangoModelFactory[Product]):
    class Meta:
        model = Product

    key = Sequence(lambda n: f"product-{n}")
    name = LazyAttribute(lambda product: product.key.title())
    meter = SubFactory(MeterFactory)


class RateCardFactory(DjangoModelFactory[RateCard]):
    class Meta:
        model = RateCard

    key = Sequence(lambda n: f"card-{n}")
    name = LazyAttribute(lambda card: card.key.title())
    currency = "USD"


class RateFactory(DjangoModelFactory[Rate]):
    class Meta:
        model = Rate

    rate_card = SubFactory(RateCardFactory)
    product = SubFactory(ProductFactory)
    price = LazyFunction(lambda: dict(PER_UNIT))


class CustomerFactory(DjangoModelFactory[Customer]):
    class Meta:
        model = Customer

    key = Sequence(lambda n: f"customer-{n}")
    name = LazyAttribute(lambda customer: customer.key.title())


class ContractFactory(DjangoModelFactory[Contract]):
    class Meta:
        model = Contract

    key = Sequence(lambda n: f"contract-{n}")
    customer = SubFactory(CustomerFactory)
    rate_card = SubFactory(RateCardFactory)
    starting_at = day(1)


def user(role: str, name: str = "") -> User:
    """A user in one of the groups that migrations make."""
    made = User.objects.create_user(name or role.lower().replace(" ", "-"), password="a long password", is_staff=True)
    made.groups.add(Group.objects.get(name=role))
    return made


def send(
    customer: str, units: int | str, at: datetime, *, event_id: str = "", event_type: str = CALL, **more: Any
) -> IngestResult:
    """One event of `units`."""
    properties = {"units": units, **more}
    given = {
        "id": event_id or f"{customer}-{at.isoformat()}-{units}",
        "customer": customer,
        "type": event_type,
        "time": at,
    }
    return ingest_events([make_event({**given, "properties": properties})])


def count_all() -> None:
    """Let the roller count every event; a transaction open elsewhere on the server holds it back for a while."""
    deadline = time.monotonic() + 60
    while (roll_up().more or uncounted_events()) and time.monotonic() < deadline:
        time.sleep(0.05)


def sell(
    contracts: int = 1, price: Mapping[str, Any] = PER_UNIT, used: Iterable[int | str] = (10,), **contract: Any
) -> list[Contract]:
    """Contracts on one card with one product, each with events of so many units on 10 January 2026."""
    rate = RateFactory.create(price=price)
    made = ContractFactory.create_batch(contracts, rate_card=rate.rate_card, **contract)
    for one in made:
        for number, units in enumerate(used):
            send(one.customer.key, units, day(10), event_id=f"{one.key}-{number}")
    return made


def reviewed(**terms: Any) -> Invoice:
    """The invoice in review for January 2026 of one new contract: 10 units at 0.50 USD unless said otherwise."""
    (contract,) = sell(**terms)
    close_periods(day(2, month=2), contract.key)
    return Invoice.objects.get(contract=contract)


def amounts(invoice: Invoice) -> list[tuple[Decimal, Decimal]]:
    """Quantity and amount of each line."""
    return list(invoice.lines.order_by("position").values_list("quantity", "amount"))
