"""Steps on one invoice taken by two people or machines at the same moment: one succeeds, nothing is done twice.

Both are let in while another transaction holds what they need, so both have looked at the world as it was before either
acts: a step that reads outside its lock acts twice, every time.
"""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from pytest_django import Settings

from billing_project.errors import RuleError
from billing_project.locks import lock
from contracts.amendments import grant_credit
from contracts.models import Contract
from invoicing.accounting import close_month
from invoicing.charging import charge_now, refused
from invoicing.close import close_periods
from invoicing.corrections import bill_next, find_late_usage
from invoicing.credit_notes import issue_credit_note, reject_credit_note, request_credit_note
from invoicing.deciding_late import decide
from invoicing.lifecycle import approve, issue, reject
from invoicing.lines_by_hand import Written, add_line
from invoicing.models import (
    AccountingPeriod,
    AddedLine,
    ChargeAttempt,
    CreditNote,
    Invoice,
    JournalEntry,
    LateUsage,
    Payment,
    Status,
    StripePush,
)
from invoicing.payments import Received, record_payment, reverse_payment, write_off
from invoicing.recharges import recharge_now
from invoicing.spend_thresholds import bill_now
from invoicing.voiding import void
from tests.factories import count_all, day, reviewed, sell, send, user
from tests.invoicing.stripe_fake import SECRET, running
from tests.invoicing.test_stripe import issued, push

pytestmark = [pytest.mark.usefixtures("real_commits"), pytest.mark.django_db(transaction=True)]

PATIENCE = 30
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
Work = Callable[[], object]


@pytest.fixture
def finance(real_commits: None) -> User:
    return user("Finance")


@pytest.fixture
def second(finance: User) -> User:
    return user("Finance", "second")


def race(hold: Work, *works: Work) -> list[str]:
    """Let works begin while `hold` holds what they wait for; how each ended: done or refused."""

    def one(work: Work) -> str:
        try:
            work()
        except RuleError:
            return "refused"
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(len(works)) as pool:
        with transaction.atomic():
            hold()
            running_works = [pool.submit(one, work) for work in works]
            deadline = time.monotonic() + PATIENCE
            while _waiting() < len(works):
                assert time.monotonic() < deadline, f"{_waiting()} of {len(works)} wait"
                time.sleep(0.01)
        return sorted(each.result() for each in running_works)


def _waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees one picture of the others
        cursor.execute(WAITING)
        found: int = cursor.fetchone()[0]
        return found


def at(invoice: Invoice) -> Work:
    return lambda: Invoice.objects.select_for_update().get(pk=invoice.pk)


def of(contract: Contract) -> Work:
    return lambda: Contract.objects.select_for_update().get(pk=contract.pk)


def bank(amount: Decimal, source: str) -> Received:
    return Received(amount, day(9, month=2), source)


def out(finance: User) -> Invoice:
    return issue(approve(reviewed().pk, finance).pk, finance)


def twice(work: Work) -> tuple[Work, Work]:
    return work, work


def test_review_and_issue(finance: User, second: User) -> None:
    invoice = reviewed()
    assert race(at(invoice), *twice(lambda: approve(invoice.pk, finance))) == ["done", "refused"]
    assert race(at(invoice), *twice(lambda: issue(invoice.pk, finance))) == ["done", "refused"]
    assert JournalEntry.objects.filter(source__endswith=":issued").count() == 1
    other = reviewed()
    ends = race(at(other), lambda: approve(other.pk, finance), lambda: reject(other.pk, second, "odd"))
    assert "done" in ends
    third = reviewed()
    written = Written("Phone", Decimal(3), "agreed")
    assert "done" in race(at(third), lambda: approve(third.pk, finance), lambda: add_line(third.pk, written, second))
    third.refresh_from_db()
    assert third.total.amount == 5 + 3 * AddedLine.objects.filter(invoice=third).count()


def test_money(finance: User, second: User) -> None:
    first = out(finance)
    assert race(at(first), *twice(lambda: record_payment(first.pk, bank(Decimal(2), "one"), finance))) == ["done"] * 2
    assert Payment.objects.get().amount == 2
    ends = race(
        at(first),
        lambda: record_payment(first.pk, bank(Decimal(3), "two"), finance),
        lambda: record_payment(first.pk, bank(Decimal(3), "three"), second),
    )
    assert Counter(ends)["done"] == 1
    given = Payment.objects.get(source="one")
    assert race(at(first), *twice(lambda: reverse_payment(given.pk, finance, "bounced"))) == ["done"] * 2
    assert Payment.objects.filter(reverses=given).count() == 1
    third = out(finance)
    pay: Work = lambda: record_payment(third.pk, bank(Decimal(5), "four"), finance)  # noqa: E731
    assert Counter(race(at(third), pay, lambda: void(third.pk, second, "wrong")))["done"] == 1
    fourth = out(finance)
    assert race(at(fourth), *twice(lambda: void(fourth.pk, finance, "wrong"))) == ["done", "refused"]
    assert Invoice.objects.filter(replaces=fourth).count() == 1
    fifth = out(finance)
    assert race(at(fifth), *twice(lambda: write_off(fifth.pk, finance, "gone"))) == ["done", "refused"]


def test_credit(finance: User, second: User) -> None:
    invoice = out(finance)
    ask: Work = lambda: request_credit_note(invoice.pk, {1: Decimal(3)}, "slow", finance)  # noqa: E731
    assert Counter(race(at(invoice), ask, ask))["done"] == 1
    note = CreditNote.objects.get()
    assert Counter(race(at(invoice), *twice(lambda: issue_credit_note(note.pk, second))))["done"] == 1
    invoice.refresh_from_db()
    assert invoice.credited_amount == 3
    ends = race(
        at(invoice),
        lambda: record_payment(invoice.pk, bank(Decimal(2), "rest"), finance),
        lambda: request_credit_note(invoice.pk, {1: Decimal(2)}, "slow", finance),
    )
    assert "done" in ends
    if rest := CreditNote.objects.filter(status="requested").first():
        hold: Work = lambda: CreditNote.objects.select_for_update().get(pk=rest.pk)  # noqa: E731
        ends = race(hold, lambda: issue_credit_note(rest.pk, second), lambda: reject_credit_note(rest.pk, second, "no"))
        assert Counter(ends)["done"] == 1


def test_machines(finance: User) -> None:
    now = day(3, month=2)
    (limited,) = sell(used=[50], deal={"spend_threshold": {"amount": "20"}})
    access = [{"amount": "20", "starting_at": "2026-01-01T00:00:00Z"}]
    deal = {"commits": [{"key": "first", "access": access}], "balance_threshold": {"amount": "5", "recharge_to": "30"}}
    (filled,) = sell(used=[38], deal=deal)
    count_all()
    one: Any = [Contract.objects.select_related("customer", "rate_card").get(pk=limited.pk)]
    two: Any = [Contract.objects.select_related("customer", "rate_card").get(pk=filled.pk)]
    assert race(of(limited), *twice(lambda: bill_now(one, day(20)))) == ["done"] * 2
    assert race(of(filled), *twice(lambda: recharge_now(two, day(20)))) == ["done"] * 2
    assert Counter(Invoice.objects.values_list("kind", flat=True)) == {"threshold": 1, "scheduled": 1}
    closed: list[int] = []

    def close() -> None:
        closed.append(close_periods(now).closed)

    race(of(limited), close, lambda: bill_now(one, now))
    close_periods(now)
    assert Invoice.objects.filter(kind="usage").count() == 2
    assert race(lambda: lock("books"), *twice(lambda: close_month(day(1).date(), finance))) == ["done"] * 2
    assert AccountingPeriod.objects.count() == 1


def test_late_usage(finance: User, second: User) -> None:
    invoice = out(finance)
    send(invoice.customer.key, 4, day(20), event_id="late")
    count_all()
    assert race(at(invoice), *twice(lambda: find_late_usage(day(5, month=2)))) == ["done"] * 2
    row = LateUsage.objects.get()
    ends = race(
        at(invoice),
        lambda: decide(row.pk, "write_off", finance, "too late"),
        lambda: decide(row.pk, "next_invoice", second),
    )
    assert "done" in ends
    decide(row.pk, "pending", finance)
    close_periods(day(3, month=3))
    LateUsage.objects.update(decision="next_invoice")
    following = Invoice.objects.get(contract=invoice.contract, starting_at=day(1, month=2))
    race(at(following), *twice(bill_next))
    assert AddedLine.objects.filter(kind="correction").count() == 1


def test_a_charge_refused_while_a_person_asks_for_it(finance: User) -> None:
    invoice = out(finance)
    attempt = ChargeAttempt.objects.create(invoice=invoice, number=1, due_at=day(9, month=2))
    hold: Work = lambda: ChargeAttempt.objects.select_for_update().get(pk=attempt.pk)  # noqa: E731
    ends = race(hold, lambda: refused(attempt.pk, "no funds"), lambda: charge_now(invoice.pk, finance))
    assert "done" in ends
    assert ChargeAttempt.objects.filter(outcome="refused").count() == 1


def test_credits_of_a_contract(finance: User) -> None:
    (contract,) = sell()
    give: Work = lambda: grant_credit(  # noqa: E731
        contract, "sorry", Decimal(5), finance, starting_at=day(2), reason="an outage"
    )
    assert Counter(race(of(contract), give, give))["done"] == 1
    contract.refresh_from_db()
    assert [each["key"] for each in contract.deal["credits"]] == ["sorry"]


def test_two_deliveries_of_stripe(finance: User, settings: Settings) -> None:
    with running() as fake:
        settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = "sk_test_fake", SECRET
        settings.STRIPE_API_URL, settings.STRIPE_NETWORK_RETRIES = fake.url, 0
        invoice = issued(finance)
        push()
        fake.deliver(Client())
        (made,) = fake.of("invoice")
        fake.pay(made["id"])
        events = [event for event in fake.events if event["type"].startswith("invoice.")]
        fake.events = []
        deliver = [lambda event=event: fake.deliver(Client(), [event]) for event in events]
        assert race(at(invoice), *deliver, *deliver) == ["done"] * 2 * len(events)
        invoice.refresh_from_db()
        assert (invoice.status, invoice.paid_amount) == (Status.PAID, invoice.total.amount)
        assert StripePush.objects.get(step="invoice").stripe_status == "paid"
