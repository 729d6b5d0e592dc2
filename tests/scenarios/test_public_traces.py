"""Real usage from published traces, through the real path, to the cent: post, roll up, close, read the invoices.

The expected lines were computed from the same rows in plain Python: see tests/data/README.md.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256
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
from tests.factories import day
from tests.scenarios.traces import (
    AZURE,
    REQUESTS,
    TOKEN_PRICES,
    TOKENS,
    VALUES,
    billed,
    expected,
    roll_up_everything,
    rows,
    sell_servegen,
    totals,
)

pytestmark = pytest.mark.usefixtures("real_commits")  # the roller counts what is committed


def servegen(name: str) -> list[dict[str, Any]]:
    """The rows of a file as CloudEvents, out of order in time."""
    shuffled = sorted(rows(name), key=lambda row: sha256(row["event_id"].encode()).digest())
    return [
        {
            "specversion": "1.0",
            "id": row["event_id"],
            "source": f"trace/{name}",
            "type": name.partition(".")[0],
            "subject": row["customer"],
            "time": row["timestamp"],
            "data": {"model": row["model"], **{name: int(row[name]) for name in VALUES if name in row}},
        }
        for row in shuffled
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


def test_the_servegen_traces_bill_as_expected(poster: Poster) -> None:
    tokens, requests = servegen(TOKENS), servegen(REQUESTS)
    sell_servegen()
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
    sell_servegen(customers=["acme"])
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
    sell_servegen(customers={event["subject"] for event in tokens})
    poster.post(tokens)
    roll_up_everything()
    close_periods(day(2, month=4, year=2025))
    line = InvoiceLine.objects.get(product="input-tokens")
    assert line.quantity == 5_460_117_900
    price = Decimal(TOKEN_PRICES[TOKENS]["input"][tokens[0]["data"]["model"]])
    assert line.amount_exact == line.quantity * price / 1_000_000
    assert InvoiceLine.objects.aggregate(events=Sum("events"))["events"] == 2
