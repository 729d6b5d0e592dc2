"""Real usage from published traces, through the real path, to the cent: post, roll up, close, read the invoices.

The expected lines were computed from the same rows in plain Python: see tests/data/README.md.
"""

import csv
import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum
from django.test import Client
from django.utils import timezone

from billing_project.demo import contents, trace
from billing_project.models import ApiKey, Scope
from invoicing.close import close_periods
from invoicing.models import Invoice, InvoiceLine, Status
from meters.models import Event
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
# USD per million tokens, of gpt-4.1 and gpt-4.1-mini.
TOKEN_PRICES = {
    "input": {"m-large": "2.00", "deepseek-r1": "0.40"},
    "output": {"m-large": "8.00", "deepseek-r1": "1.60"},
}
MODELS = {"code": "gpt-4o-mini", "conv": "gpt-4o", "m-large": "gpt-4.1", "deepseek-r1": "gpt-4.1-mini"}
FREE_MILLION = {
    "model": "graduated",
    "tiers": [{"up_to": "1000000", "unit_amount": "0"}, {"up_to": None, "unit_amount": "0.0000002"}],
}

pytestmark = pytest.mark.usefixtures("real_commits")  # the roller counts what is committed


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
    lines = InvoiceLine.objects.filter(product__in=products).select_related("invoice__customer")
    return sorted(
        Expected(
            line.invoice.customer.key,
            f"{line.starting_at:%Y-%m}",
            line.product.replace("-", " "),
            MODELS["".join(line.group.values())] if line.group else "",
            line.quantity,
            line.amount_exact,
            line.amount,
        )
        for line in lines
    )


def servegen(name: str) -> list[dict[str, Any]]:
    """The rows of a file as CloudEvents, out of order in time."""
    with gzip.open(DATA / name, "rt", newline="") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: sha256(row["event_id"].encode()).digest())
    numbers = ("requests", "input_tokens", "output_tokens")
    return [
        {
            "specversion": "1.0",
            "id": row["event_id"],
            "source": f"trace/{name}",
            "type": name.partition(".")[0],
            "subject": row["customer"],
            "time": row["timestamp"],
            "data": {"model": row["model"], **{name: int(row[name]) for name in numbers if name in row}},
        }
        for row in rows
    ]


class Poster:
    """A client of the ingestion API."""

    def __init__(self) -> None:
        self.client = Client()
        self.secret = ApiKey.issue("traces", [Scope.INGEST])[1]

    def post(self, events: Iterable[dict[str, Any]], batch: int = 5000) -> None:
        everything = list(events)
        for start in range(0, len(everything), batch):
            answer = self.client.post(
                "/api/v1/events",
                json.dumps(everything[start : start + batch]),
                content_type="application/cloudevents-batch+json",
                headers={"authorization": f"Bearer {self.secret}"},
            )
            assert answer.status_code == 204, answer.content


def roll_up_everything() -> None:
    while roll_up().more:
        pass


def totals(invoices: Iterable[Invoice]) -> Decimal:
    return sum((invoice.total.amount for invoice in invoices), Decimal(0))


@pytest.fixture
def poster() -> Poster:
    return Poster()


def test_the_azure_trace_bills_as_expected(poster: Poster) -> None:
    contents.load(timezone.now())
    everything = trace.events()
    poster.post(everything)
    roll_up_everything()
    poster.post(reversed(everything[::7]))  # sent again, in another order and other batches

    assert Event.objects.count() == len(everything) == trace.SIZE
    close_periods(day(2, month=12, year=2023))

    invoices = Invoice.objects.all()
    assert len(invoices) == 20
    assert {invoice.status for invoice in invoices} == {Status.IN_REVIEW}
    lines = billed("input-tokens", "output-tokens")
    assert len(lines) == InvoiceLine.objects.count() == 80
    assert lines == expected(AZURE)
    assert sum(line.exact for line in lines) == Decimal("99.6478587")
    assert totals(invoices) == Decimal("99.60")


def test_what_is_not_rolled_up_yet_bills_the_same(poster: Poster) -> None:
    contents.load(timezone.now())
    everything = trace.events()
    poster.post(everything[: len(everything) // 2])
    roll_up_everything()
    poster.post(everything[len(everything) // 2 :])
    close_periods(day(2, month=12, year=2023))
    assert billed("input-tokens", "output-tokens") == expected(AZURE)


def sell_tokens_and_requests(customers: Iterable[str]) -> None:
    """Tokens by model, and requests of all models together on graduated tiers, February and March 2025."""
    card = RateCardFactory.create(key="servegen")
    for direction, prices in TOKEN_PRICES.items():
        meter = MeterFactory.create(
            event_types=[TOKENS.partition(".")[0]], value_property=f"{direction}_tokens", group_by=["model"]
        )
        product = ProductFactory.create(
            key=f"{direction}-tokens", meter=meter, pricing_keys=["model"], divide_by=1_000_000
        )
        for model, amount in prices.items():
            price = {"model": "per_unit", "unit_amount": amount}
            RateFactory.create(rate_card=card, product=product, where={"model": model}, price=price)
    requests = MeterFactory.create(
        event_types=[REQUESTS.partition(".")[0]], value_property="requests", group_by=["model"]
    )
    product = ProductFactory.create(key="requests", meter=requests)
    RateFactory.create(rate_card=card, product=product, price=FREE_MILLION)
    for key in customers:
        ContractFactory.create(
            customer=CustomerFactory(key=key),
            rate_card=card,
            starting_at=day(1, month=2, year=2025),
            ending_before=day(1, month=4, year=2025),
        )


def test_the_servegen_traces_bill_as_expected(poster: Poster) -> None:
    tokens, requests = servegen(TOKENS), servegen(REQUESTS)
    sell_tokens_and_requests({event["subject"] for event in (*tokens, *requests)})
    poster.post(tokens)
    poster.post(requests, batch=10_000)
    roll_up_everything()
    poster.post(reversed(tokens))

    assert Event.objects.count() == 4_090 + 102_950
    close_periods(day(2, month=4, year=2025))

    token_lines = billed("input-tokens", "output-tokens")
    assert token_lines == expected(TOKENS)
    assert sum(line.exact for line in token_lines) == Decimal("261126.3470664") + Decimal("199217.98774")
    assert sum(line.amount for line in token_lines) == Decimal("261126.32") + Decimal("199217.86")
    request_lines = billed("requests")
    assert request_lines == expected(REQUESTS)
    assert sum(line.amount for line in request_lines) == Decimal("16.90") + Decimal("13.01")
    assert totals(Invoice.objects.all()) == Decimal("460344.18") + Decimal("29.91")


def test_the_free_million_stands_on_the_line_as_a_tier(poster: Poster) -> None:
    sell_tokens_and_requests(["acme"])
    big = {"specversion": "1.0", "source": "t", "type": "servegen_requests_10m", "subject": "acme"}
    poster.post(
        [
            {**big, "id": "1", "time": "2025-02-22T00:00:00Z", "data": {"requests": 999_999}},
            {**big, "id": "2", "time": "2025-02-28T23:59:59.999999Z", "data": {"requests": 2_500_001}},
            {**big, "id": "3", "time": "2025-03-01T00:00:00Z", "data": {"requests": 1_000_000}},
        ]
    )
    close_periods(day(2, month=4, year=2025))
    february, march = InvoiceLine.objects.order_by("starting_at")
    assert (february.quantity, february.amount_exact, february.amount) == (3_500_000, Decimal("0.5"), Decimal("0.50"))
    assert [(tier["quantity"], tier["unit_amount"], tier["amount"]) for tier in february.tiers] == [
        ("1000000", "0", "0"),
        ("2500000", "0.0000002", "0.5"),
    ]
    assert (march.quantity, march.amount) == (1_000_000, 0)


def test_one_event_may_carry_more_than_32_bits_count(poster: Poster) -> None:
    tokens = [event for event in servegen(TOKENS) if event["data"]["input_tokens"] == 5_460_117_900]
    assert len(tokens) == 1
    sell_tokens_and_requests({event["subject"] for event in tokens})
    poster.post(tokens)
    roll_up_everything()
    close_periods(day(2, month=4, year=2025))
    line = InvoiceLine.objects.get(product="input-tokens")
    assert line.quantity == 5_460_117_900
    price = Decimal(TOKEN_PRICES["input"][tokens[0]["data"]["model"]])
    assert line.amount_exact == line.quantity * price / 1_000_000
    assert InvoiceLine.objects.aggregate(events=Sum("events"))["events"] == 2
