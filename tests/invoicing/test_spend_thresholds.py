"""Threshold invoices while events come in."""

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command

from invoicing.close import close_periods
from invoicing.models import Invoice
from invoicing.spend_thresholds import bill_thresholds
from tests.factories import day, sell, send

pytestmark = pytest.mark.django_db

AT_20 = {"spend_threshold": {"amount": "20"}}


def totals(kind: str) -> list[Decimal]:
    rows = Invoice.objects.filter(kind=kind).order_by("starting_at", "scheduled_at")
    return [invoice.total.amount for invoice in rows]


def test_safe_to_repeat_and_goes_on_where_it_was() -> None:
    (contract,) = sell(used=[30], deal=AT_20)  # 15.00
    close_periods(day(11))
    assert bill_thresholds(day(11)) == 0
    send(contract.customer.key, 20, day(12))  # 25.00
    assert bill_thresholds(day(11)) == 0
    assert bill_thresholds(day(13)) == 1
    assert bill_thresholds(day(13)) == 0
    send(contract.customer.key, 50, day(14))
    assert bill_thresholds(day(15)) == 1
    assert totals("threshold") == [25, 25]


def test_usage_from_before_the_last_one_counts_at_the_next_event() -> None:
    (contract,) = sell(used=[50], deal=AT_20)
    close_periods(day(11))
    assert bill_thresholds(day(12)) == 1
    send(contract.customer.key, 40, day(9))
    assert bill_thresholds(day(12)) == 0
    send(contract.customer.key, 1, day(13))
    assert bill_thresholds(day(13)) == 1
    assert totals("threshold") == [25, Decimal("20.5")]


def test_an_open_invoice_of_the_period_is_built_anew() -> None:
    sell(used=[50], deal=AT_20)
    close_periods(day(2, month=2))
    assert bill_thresholds(day(2, month=2)) == 1
    assert totals("usage") == [0]
    assert totals("threshold") == [25]
    close_periods(day(2, month=2))
    call_command("check_books", stdout=StringIO())


def test_a_shadow_bills_nothing() -> None:
    sell(used=[50], deal=AT_20, shadow=True)
    close_periods(day(11))
    assert bill_thresholds(day(12)) == 0
