"""Prepaid balances that are filled up when they fall to their threshold."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client

from contracts.models import Contract
from invoicing.close import close_periods
from invoicing.live import live
from invoicing.models import Invoice, Recharge, Status
from invoicing.payments import Received, record_payment
from invoicing.recharges import recharge_and_release, recharge_now
from invoicing.voiding import void
from tests.factories import count_all, day, sell, send, user

pytestmark = pytest.mark.django_db

DEAL: dict[str, Any] = {
    "commits": [
        {
            "key": "first",
            "access": [{"amount": "20", "starting_at": "2026-01-01T00:00:00Z"}],
            "invoices": [{"amount": "20", "at": "2026-01-01T00:00:00Z"}],
        }
    ],
    "balance_threshold": {"amount": "5", "recharge_to": "30"},
}
WHEN_PAID = {**DEAL, "balance_threshold": {**DEAL["balance_threshold"], "usable": "when_paid"}}


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


def contracts() -> list[Contract]:
    return list(Contract.objects.select_related("customer", "rate_card").order_by("pk"))


def left(at: datetime) -> list[Decimal]:
    return [each.left().get("USD", Decimal(0)) for each in live(contracts(), at)]


def check_books() -> None:
    call_command("check_books", stdout=StringIO())


def pay(invoice: Invoice, finance: User) -> None:
    record_payment(invoice.pk, Received(invoice.open_amount, day(14), f"bank-{invoice.pk}"), finance)


def test_a_balance_is_filled_up_once_for_each_crossing() -> None:
    (contract,) = sell(used=[29], deal=DEAL)  # 14.50 of 20
    assert recharge_now(contracts(), day(11)).done == 0
    send(contract.customer.key, 1, day(11))  # 5.00 left
    assert recharge_now(contracts(), day(12)).done == 1
    assert recharge_now(contracts(), day(12)).done == 0
    made = Recharge.objects.get()
    assert (made.left, made.amount, made.charge, made.status) == (5, 25, 25, "usable")
    assert made.invoice is not None
    assert (made.invoice.total.amount, made.invoice.status, made.invoice.number) == (25, "issued", "INV-000001")
    assert [line.kind for line in made.invoice.lines.all()] == ["commit_purchase"]
    assert left(day(12)) == [30]
    send(contract.customer.key, 50, day(13))  # all that was left of the first, and 20 of the recharge
    assert left(day(14)) == [5]
    assert recharge_now(contracts(), day(14)).done == 1
    assert left(day(14)) == [30]
    close_periods(day(3, month=2))
    usage = Invoice.objects.get(kind="usage")
    assert usage.total.amount == 0
    assert {draw["balance"] for draw in usage.draws} == {"first", "recharge-1"}
    assert Invoice.objects.filter(kind="scheduled").count() == 3  # the first commit too, nothing twice


def test_what_is_bought_can_be_used_when_it_is_paid(finance: User) -> None:
    sell(used=[30], deal=WHEN_PAID)
    assert recharge_and_release(contracts(), day(12)).done == 1
    made = Recharge.objects.select_related("invoice").get()
    assert (made.status, left(day(12))) == ("waiting", [Decimal(5)])
    assert recharge_and_release(contracts(), day(13)).done == 0
    assert Invoice.objects.count() == 1
    check_books()
    assert made.invoice is not None
    pay(made.invoice, finance)
    assert recharge_and_release(contracts(), day(14)).done == 1
    made.refresh_from_db()
    assert made.status == "usable"
    assert (made.usable_from, left(day(14))) == (day(14), [Decimal(30)])
    close_periods(day(3, month=2))
    assert Invoice.objects.filter(kind="scheduled").count() == 2  # the first commit, and the recharge once


def test_a_recharge_that_is_never_paid_is_dropped_and_made_anew(finance: User) -> None:
    sell(used=[30], deal=WHEN_PAID)
    recharge_and_release(contracts(), day(12))
    made = Recharge.objects.get()
    assert made.invoice_id is not None
    assert void(made.invoice_id, finance, "They asked us to.").status == Status.VOID
    assert Invoice.objects.count() == 1
    assert recharge_and_release(contracts(), day(13)).done == 1
    made.refresh_from_db()
    assert made.status == "dropped"
    assert [each.status for each in Recharge.objects.order_by("number")] == ["dropped", "waiting"]


@pytest.mark.books_unchecked
def test_nothing_more_is_given_while_an_earlier_one_is_owed() -> None:
    (contract,) = sell(used=[30], deal=DEAL, net_days=1)
    assert recharge_now(contracts(), day(12)).done == 1
    send(contract.customer.key, 55, day(12))
    assert recharge_now(contracts(), day(15)).done == 0  # fell due on the 13th
    Invoice.objects.filter(kind="scheduled").update(status="paid")
    assert recharge_now(contracts(), day(15)).done == 1


def test_part_of_it_may_be_charged_and_none() -> None:
    part, none = (
        sell(used=[30], deal={**DEAL, "balance_threshold": {**DEAL["balance_threshold"], "paid_fraction": share}})[0]
        for share in ("0.8", "0")
    )
    assert recharge_now(contracts(), day(12)).done == 2
    assert Recharge.objects.get(contract=part).charge == 20
    free = Recharge.objects.get(contract=none)
    assert (free.charge, free.invoice, free.status) == (0, None, "usable")
    assert left(day(12)) == [30, 30]


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    given = [{"key": "recharge-1", "access": [{"amount": "1", "ending_before": "2026-01-02T00:00:00Z"}]}]
    sell(used=[30], deal={**DEAL, "credits": given})
    assert recharge_now(contracts(), day(12)).done == 1
    assert Recharge.objects.get().balance == "recharge-1-recharge"


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_two_machines_at_once_recharge_once() -> None:
    now = datetime.now().astimezone()
    deal = {**DEAL, "commits": [{**DEAL["commits"][0], "invoices": []}]}
    made = sell(2, used=[30], deal=deal)
    for each in made:
        send(each.customer.key, 11, now)
    count_all()
    barrier = threading.Barrier(3)

    def look(*arguments: str) -> str:
        barrier.wait()
        try:
            out = StringIO()
            call_command("recharge_balances", *arguments, stdout=out)
            return out.getvalue()
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        told = [pool.submit(look, *given) for given in ([], ["--all"], ["--all"])]
    # What went wrong in one of them is raised here.
    assert [each.result() for each in told if "failed" in each.result()] == []
    assert Recharge.objects.count() == 2
    assert Invoice.objects.filter(kind="scheduled").count() == 2


@pytest.mark.usefixtures("finance")
def test_the_list(client: Client) -> None:
    client.force_login(User.objects.get(username="finance"))
    sell(used=[30], deal=WHEN_PAID)
    recharge_and_release(contracts(), day(12))
    page = client.get("/admin/invoicing/recharge/").content.decode()
    assert "INV-000001" in page
    assert "Waits for payment" in page
    assert "25.00 USD" in page or "USD 25.00" in page or "$25.00" in page
