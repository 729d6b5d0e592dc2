"""Threshold invoices while events come in."""

import threading
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from contracts.models import Contract
from invoicing.close import close_periods
from invoicing.models import Invoice
from invoicing.spend_thresholds import bill_now, bill_thresholds
from meters.touched import reading
from tests.factories import count_all, day, sell, send

pytestmark = pytest.mark.django_db

MOST_QUERIES = 100
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


def test_the_next_one_costs_no_more_than_those_before_it(django_assert_max_num_queries: Any) -> None:
    """Each subtracts all before it, which subtracted those before them."""
    (contract,) = sell(used=[10], deal=AT_20)
    for number in range(11, 21):
        send(contract.customer.key, 40, day(number))
        with django_assert_max_num_queries(MOST_QUERIES):
            assert bill_thresholds(day(number)) == 1
    assert totals("threshold") == [25, *[20] * 9]


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


def test_a_shadow_bills_nothing() -> None:
    sell(used=[50], deal=AT_20, shadow=True)
    close_periods(day(11))
    assert bill_thresholds(day(12)) == 0


def contracts() -> list[Contract]:
    return list(Contract.objects.select_related("customer", "rate_card").order_by("pk"))


def test_what_has_accrued_by_now_is_billed_at_once_and_once() -> None:
    below, above = sell(2, used=[30], deal=AT_20)  # 15.00 each
    assert bill_now(contracts(), day(11)).done == 0
    send(above.customer.key, 20, day(11))
    assert bill_now(contracts(), day(10)).done == 0  # not used yet
    assert bill_now(contracts(), day(12)).done == 1
    assert bill_now(contracts(), day(12)).done == 0
    invoice = Invoice.objects.get(kind="threshold")
    assert (invoice.contract, invoice.total.amount, invoice.issued_at) == (above, 25, day(12))
    # What comes late counts at the next look; one look bills all of it, however many thresholds it is worth.
    send(above.customer.key, 100, day(9))
    assert bill_now(contracts(), day(13)).done == 1
    assert totals("threshold") == [25, 50]
    close_periods(day(2, month=2))
    assert totals("usage") == [15, 0]
    assert below.pk != above.pk


def test_a_look_at_many_asks_no_more_than_a_look_at_one(django_assert_max_num_queries: Any) -> None:
    sell(12, used=[30], deal=AT_20)
    bill_now(contracts(), day(11))
    with django_assert_max_num_queries(16):
        bill_now(contracts(), day(11))


def test_one_contract_that_cannot_be_worked_out_leaves_the_others_alone() -> None:
    bad, good = sell(2, used=[50], deal=AT_20)
    Contract.objects.filter(pk=bad.pk).update(deal={**AT_20, "subscriptions": [{"key": "no product"}]})
    found = bill_now(contracts(), day(12))
    assert (found.done, list(found.failed)) == (1, [bad.pk])
    assert Invoice.objects.get(kind="threshold").contract == good


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_the_command_looks_at_touched_customers_only() -> None:
    contract, _ = sell(2, used=[50], deal=AT_20)
    Contract.objects.update(starting_at=day(1))
    count_all()
    with reading("spend thresholds"):
        pass  # somebody has seen to them
    assert ran("bill_thresholds") == "0 contracts looked at, 0 acted on."
    send(contract.customer.key, 1, day(11))
    send("nobody", 1, day(11))
    count_all()
    assert ran("bill_thresholds") == "1 contract looked at, 1 acted on."
    assert ran("bill_thresholds") == "0 contracts looked at, 0 acted on."
    assert ran("bill_thresholds", "--all") == "2 contracts looked at, 1 acted on."
    assert ran("bill_thresholds", "--all") == "2 contracts looked at, 0 acted on."


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_two_machines_at_once_bill_once() -> None:
    sell(3, used=[50], deal=AT_20)
    count_all()
    barrier = threading.Barrier(4)

    def look(everyone: bool) -> None:
        barrier.wait()
        ran("bill_thresholds", *(["--all"] if everyone else []))
        connection.close()

    threads = [threading.Thread(target=look, args=[number % 2 == 0]) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert totals("threshold") == [25, 25, 25]


def ran(command: str, *arguments: str) -> str:
    told = StringIO()
    call_command(command, *arguments, stdout=told)
    return told.getvalue().strip()
