"""The public traces, whoever brings their rows in: how they are sold, and the lines they must bill.

See tests/data/README.md.
"""

import csv
import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from billing_project.demo import trace
from catalog.models import RateCard
from invoicing.models import Invoice, InvoiceLine
from meters.rollup import roll_up
from tests.factories import (
    ContractFactory,
    CustomerFactory,
    MeterFactory,
    ProductFactory,
    RateCardFactory,
    RateFactory,
    day,
)

DATA = Path(__file__).resolve().parents[1] / "data"
AZURE = "azure_llm_2023.csv"
TOKENS = "servegen_tokens_6h.csv.gz"
REQUESTS = "servegen_requests_10m.csv.gz"
SIZES = {AZURE: trace.SIZE, TOKENS: 4_090, REQUESTS: 102_950}
PATHS = {AZURE: trace.FILE, TOKENS: DATA / TOKENS, REQUESTS: DATA / REQUESTS}
VALUES = ("requests", "input_tokens", "output_tokens")
# USD per million tokens: of gpt-4o-mini and gpt-4o, of gpt-4.1 and gpt-4.1-mini.
TOKEN_PRICES = {
    AZURE: {"input": {"code": "0.15", "conv": "2.50"}, "output": {"code": "0.60", "conv": "10.00"}},
    TOKENS: {
        "input": {"m-large": "2.00", "deepseek-r1": "0.40"},
        "output": {"m-large": "8.00", "deepseek-r1": "1.60"},
    },
}
OWN = "azure-"
GROUP_KEYS = {AZURE: "service", TOKENS: "model"}
MODELS = {"code": "gpt-4o-mini", "conv": "gpt-4o", "m-large": "gpt-4.1", "deepseek-r1": "gpt-4.1-mini"}
FREE_MILLION = {
    "model": "graduated",
    "tiers": [{"up_to": "1000000", "unit_amount": "0"}, {"up_to": None, "unit_amount": "0.0000002"}],
}

Row = dict[str, str]
# From a trace and the name of a value: the event type that carries it, and the property.
Carried = Callable[[str, str], tuple[str, str]]


@dataclass(frozen=True, order=True)
class Expected:
    """A line: customer, month, product, model, quantity, exact amount, amount rounded half-up."""

    customer: str
    month: str
    product: str
    model: str
    quantity: Decimal
    exact: Decimal
    amount: Decimal


def rows(dataset: str) -> Iterator[Row]:
    with gzip.open(PATHS[dataset], "rt", newline="") as lines:
        yield from csv.DictReader(lines)


def event_type(dataset: str) -> str:
    return dataset.partition(".")[0]


def as_columns(dataset: str, value: str) -> tuple[str, str]:
    """An event is a row, a value one of its properties."""
    return event_type(dataset), value


def sell_azure(carried: Carried = as_columns) -> None:
    card = RateCardFactory.create(key="azure")
    _sell_tokens(AZURE, card, carried)
    _sign(card, [AZURE], day(1, 11, 2023), day(1, 12, 2023))


def sell_servegen(carried: Carried = as_columns, customers: Iterable[str] = ()) -> None:
    """Tokens by model, and requests of all models together on graduated tiers, February and March 2025."""
    card = RateCardFactory.create(key="servegen")
    _sell_tokens(TOKENS, card, carried)
    kind, name = carried(REQUESTS, "requests")
    meter = MeterFactory.create(event_types=[kind], value_property=name, group_by=["model"])
    RateFactory.create(rate_card=card, product=ProductFactory.create(key="requests", meter=meter), price=FREE_MILLION)
    _sign(card, [TOKENS, REQUESTS], day(1, 2, 2025), day(1, 4, 2025), customers)


def _sell_tokens(dataset: str, card: RateCard, carried: Carried) -> None:
    group = GROUP_KEYS[dataset]
    for direction, prices in TOKEN_PRICES[dataset].items():
        kind, name = carried(dataset, f"{direction}_tokens")
        product = ProductFactory.create(
            key=f"{OWN if dataset == AZURE else ''}{direction}-tokens",
            meter=MeterFactory.create(event_types=[kind], value_property=name, group_by=[group]),
            pricing_keys=[group],
            divide_by=1_000_000,
        )
        for model, amount in prices.items():
            price = {"model": "per_unit", "unit_amount": amount}
            RateFactory.create(rate_card=card, product=product, where={group: model}, price=price)


def _sign(
    card: RateCard, datasets: Sequence[str], first: datetime, last: datetime, customers: Iterable[str] = ()
) -> None:
    """Contracts with the customers given, else with all of the traces."""
    for key in sorted(customers or {row["customer"] for dataset in datasets for row in rows(dataset)}):
        customer = CustomerFactory(key=key)
        ContractFactory.create(customer=customer, rate_card=card, starting_at=first, ending_before=last)


def expected(dataset: str) -> list[Expected]:
    with gzip.open(DATA / "expected_public_lines.csv.gz", "rt", newline="") as lines:
        return sorted(
            Expected(
                row["customer"],
                row["period"],
                row["product"],
                row["model"],
                Decimal(row["quantity"]),
                Decimal(row["amount_exact"]),
                Decimal(row["amount_half_up"]),
            )
            for row in csv.DictReader(lines)
            if row["dataset"] == dataset
        )


def billed(*products: str) -> list[Expected]:
    """The lines of these products; none given: of all."""
    chosen = {"product__in": products} if products else {}
    lines = InvoiceLine.objects.filter(**chosen).select_related("invoice__customer")
    return sorted(
        Expected(
            line.invoice.customer.key,
            f"{line.starting_at:%Y-%m}",
            line.product.removeprefix(OWN).replace("-", " "),
            MODELS["".join(line.group.values())] if line.group else "",
            line.quantity,
            line.amount_exact,
            line.amount,
        )
        for line in lines
    )


def roll_up_everything() -> None:
    while roll_up().more:
        pass


def totals(invoices: Iterable[Invoice]) -> Decimal:
    return sum((invoice.total.amount for invoice in invoices), Decimal(0))
