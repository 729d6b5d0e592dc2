"""The books after real documents: what is owed, earned, deferred and unbilled, month by month."""

import csv
import subprocess
import sys
from collections import defaultdict
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from billing_project.errors import RuleError
from catalog.models import Product, Rate
from invoicing.accounting import close_month, movements, waterfall
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, request_credit_note
from invoicing.lifecycle import approve, issue
from invoicing.models import AccountingPeriod, Invoice, JournalEntry, JournalPosting
from invoicing.payments import Received, record_payment, reverse_payment, write_off
from invoicing.revenue import BAD_DEBT, CASH, CREDITS, DEFERRED, RECEIVABLE, REVENUE, TAX, UNBILLED
from invoicing.spend_thresholds import bill_thresholds
from invoicing.voiding import void
from tests.cases import worked_example
from tests.factories import day, sell, send, user

pytestmark = pytest.mark.django_db


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


def issue_all(finance: User) -> list[Invoice]:
    """Issue everything in review, in order of time."""
    waiting = Invoice.objects.filter(status="in_review").order_by("ending_before", "kind")
    return [issue(approve(invoice.pk, finance).pk, finance) for invoice in waiting]


def sums(**only: Any) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for account, amount in JournalPosting.objects.filter(**only).values_list("account", "amount"):
        found[account] += amount
    return {account: amount for account, amount in found.items() if amount}


def by_month(account: str) -> dict[str, Decimal]:
    found: dict[str, Decimal] = defaultdict(Decimal)
    for _, month, name, _, amount in movements():
        if name == account:
            found[f"{month:%Y-%m}"] += amount
    return {month: amount for month, amount in found.items() if amount}


def test_usage_of_january_is_revenue_of_january(finance: User) -> None:
    """10 units at 0.50: earned in January, owed when it is issued, paid in February."""
    sell()
    close_periods(day(2, month=2))
    (invoice,) = issue_all(finance)
    assert by_month(REVENUE) == {"2026-01": Decimal(-5)}
    assert sums() == {REVENUE: Decimal(-5), RECEIVABLE: Decimal(5)}
    record_payment(invoice.pk, Received(Decimal(5), day(9, month=2), "hand:1"), finance)
    assert sums() == {REVENUE: Decimal(-5), CASH: Decimal(5)}
    assert by_month(CASH) == {"2026-02": Decimal(5)}


def test_a_commit_is_earned_as_it_is_drawn_and_what_is_left_when_it_ends(finance: User) -> None:
    """8.00 of usage for 6.00, in a window of two months; 5.00 is drawn in January, 1.00 in February, 2.00 expires.

    Of the price 3.75 is earned in January (5 × 0.75), 0.75 in February and 1.50 when the window ends.
    """
    window = {"starting_at": "2026-01-01", "ending_before": "2026-03-01"}
    commit = {"key": "y1", "access": [{"amount": "8", **window}], "invoices": [{"amount": "6", "at": "2026-01-01"}]}
    (contract,) = sell(deal={"commits": [commit]})
    send(contract.customer.key, 2, day(10, month=2))
    close_periods(day(2, month=3))
    issue_all(finance)
    assert sums() == {RECEIVABLE: Decimal(6), REVENUE: Decimal("-7.50"), CREDITS: Decimal("1.50")}
    assert by_month(DEFERRED)["2026-01"] == Decimal("3.75")
    assert by_month(DEFERRED)["2026-02"] == Decimal("2.25")
    assert sum(by_month(DEFERRED).values()) == 0


def test_seats_in_advance_are_earned_over_their_month(finance: User) -> None:
    """2 seats at 0.50, billed on 1 January for January, February and March in advance by month."""
    subscription = {"key": "seats", "product": "seat", "quantity": "2", "every": "quarter"}
    (contract,) = sell(used=())
    seat = Product.objects.create(key="seat", name="Seat", kind="subscription")
    Rate.objects.create(rate_card=contract.rate_card, product=seat, price={"model": "per_unit", "unit_amount": "45.00"})
    contract.deal = {"subscriptions": [subscription]}
    contract.full_clean()
    contract.save()
    close_periods(day(2))
    issue_all(finance)
    assert by_month(REVENUE) == {"2026-01": Decimal(-31), "2026-02": Decimal(-28), "2026-03": Decimal(-31)}
    assert sums()[RECEIVABLE] == 90


def test_a_void_leaves_nothing_and_the_next_one_is_right(finance: User) -> None:
    (contract,) = sell()
    close_periods(day(2, month=2))
    (invoice,) = issue_all(finance)
    send(contract.customer.key, 4, day(20))
    instead = void(invoice.pk, finance, "usage was missing")
    assert sums() == {}
    issue(approve(instead.pk, finance).pk, finance)
    assert sums() == {REVENUE: Decimal(-7), RECEIVABLE: Decimal(7)}


def test_credit_notes_bounced_payments_and_write_offs(finance: User) -> None:
    sell()
    close_periods(day(2, month=2))
    (invoice,) = issue_all(finance)
    note = request_credit_note(invoice.pk, {1: Decimal(1)}, "not delivered", finance)
    issue_credit_note(note.pk, user("Finance", "second"))
    assert sums() == {REVENUE: Decimal(-4), RECEIVABLE: Decimal(4)}
    payment = record_payment(invoice.pk, Received(Decimal(3), day(9, month=2), "hand:1"), finance)
    reverse_payment(payment.pk, finance, "bounced")
    assert sums() == {REVENUE: Decimal(-4), RECEIVABLE: Decimal(4)}
    write_off(invoice.pk, finance, "insolvent")
    assert sums() == {REVENUE: Decimal(-4), BAD_DEBT: Decimal(4)}
    payment = record_payment(invoice.pk, Received(Decimal(4), day(9, month=3), "hand:2"), finance)
    assert sums() == {REVENUE: Decimal(-4), CASH: Decimal(4)}
    reverse_payment(payment.pk, finance, "bounced too")
    assert sums() == {REVENUE: Decimal(-4), BAD_DEBT: Decimal(4)}
    assert Invoice.objects.get().status == "uncollectible"


def test_tax_is_owed_to_the_state(finance: User) -> None:
    (contract,) = sell()
    contract.customer.tax_rate = Decimal("0.19")
    contract.customer.save()
    close_periods(day(2, month=2))
    issue_all(finance)
    assert sums() == {REVENUE: Decimal(-5), TAX: Decimal("-0.95"), RECEIVABLE: Decimal("5.95")}


def test_threshold_invoices_and_the_end_of_the_period_earn_once(finance: User) -> None:
    """5.00 reaches a threshold of 4.00 and is billed at once; the month ends with 7.00, of which 2.00 is left."""
    (contract,) = sell(deal={"spend_threshold": {"amount": "4"}})
    assert bill_thresholds(day(15)) == 1
    assert sums() == {REVENUE: Decimal(-5), RECEIVABLE: Decimal(5)}
    send(contract.customer.key, 4, day(20))
    close_periods(day(2, month=2))
    issue_all(finance)
    assert sums() == {REVENUE: Decimal(-7), RECEIVABLE: Decimal(7)}


class TestPublishedExamples:
    """Worked examples of tests/cases/worked_examples.json, by month; test_revenue_by_day has their days."""

    def test_usage_billed_later_is_revenue_of_when_it_was_used(self, finance: User) -> None:
        example = worked_example("stripe_revenue_recognised_on_usage_date")
        march, april = example["inputs"]["usage"][:2], example["inputs"]["usage"][2]["q"]
        price = {"model": "per_unit", "unit_amount": example["inputs"]["unit_amount"]}
        (contract,) = sell(price=price, used=(), billing_every="year")
        used = [(int(each["at"][-2:]), 3, each["q"]) for each in march]
        for number, month, units in [*used, *((place, 4, units) for place, units in enumerate(april, start=3))]:
            send(contract.customer.key, units, day(number, month=month))
        close_periods(day(2, year=2027))
        issue_all(finance)
        expected = example["expected"]["recognised"]
        assert by_month(REVENUE) == {
            "2026-03": -Decimal(expected["March"]), "2026-04": -Decimal(expected["April"]),
        }  # fmt: skip

    def test_usage_of_april_is_revenue_of_april(self, finance: User) -> None:
        example = worked_example("orb_revrec_usage_recognised_on_usage_day")
        given = example["inputs"]
        (contract,) = sell(price={"model": "per_unit", "unit_amount": given["unit_amount"]}, used=())
        send(contract.customer.key, given["files_on_april_2"], day(2, month=4))
        send(contract.customer.key, given["files_in_april"] - given["files_on_april_2"], day(20, month=4))
        close_periods(day(2, month=5))
        issue_all(finance)
        assert by_month(REVENUE) == {"2026-04": -Decimal(example["expected"]["recognised_april"])}

    def test_what_comes_after_the_close_lands_on_the_first_open_day(self, finance: User) -> None:
        example = worked_example("orb_revrec_period_closed_catch_up")
        (contract,) = sell(used=())
        close_month(date.fromisoformat(f"2026-{example['inputs']['closed_through']}"), finance)
        send(contract.customer.key, 10, day(10, month=3))
        close_periods(day(2, month=4))
        issue_all(finance)
        earned = JournalPosting.objects.filter(account=REVENUE).values_list("entry__day", "amount")
        on = date.fromisoformat(f"2026-{example['expected']['recognised_on']}")
        assert list(earned) == [(on, Decimal(-5))]


class TestClosedMonths:
    def test_unbilled_usage_is_accrued_and_taken_back(self, finance: User) -> None:
        """January is closed before its invoice is issued: its 5.00 are revenue of January all the same."""
        sell()
        close_month(date(2026, 1, 1), finance)
        assert by_month(REVENUE) == {"2026-01": Decimal(-5), "2026-02": Decimal(5)}
        assert by_month(UNBILLED) == {"2026-01": Decimal(5), "2026-02": Decimal(-5)}
        close_periods(day(2, month=2))
        issue_all(finance)
        assert by_month(REVENUE) == {"2026-01": Decimal(-5)}
        assert sums() == {REVENUE: Decimal(-5), RECEIVABLE: Decimal(5)}

    def test_a_month_in_the_middle_of_a_period(self, finance: User) -> None:
        """A quarter with 10 units in January and 4 in March; January closes: 5.00 is accrued."""
        (contract,) = sell(billing_every="quarter")
        send(contract.customer.key, 4, day(20, month=3))
        close_month(date(2026, 1, 15), finance)
        assert by_month(REVENUE)["2026-01"] == -5
        close_periods(day(2, month=4))
        issue_all(finance)
        # January's share of the invoice lands on the first open day, where the accrual is taken back.
        assert by_month(REVENUE) == {"2026-01": Decimal(-5), "2026-03": Decimal(-2)}

    def test_usage_is_earned_in_the_months_it_was_used_in(self, finance: User) -> None:
        (contract,) = sell(billing_every="quarter")
        send(contract.customer.key, 4, day(20, month=3))
        close_periods(day(2, month=4))
        issue_all(finance)
        assert by_month(REVENUE) == {"2026-01": Decimal(-5), "2026-03": Decimal(-2)}
        assert {(f"{earned:%m}", amount) for _, _, earned, amount in waterfall()} == {
            ("01", Decimal(5)),
            ("03", Decimal(2)),
        }

    def test_closed_is_closed(self, finance: User) -> None:
        close_month(date(2026, 2, 1), finance)
        assert close_month(date(2026, 2, 1), finance) == AccountingPeriod.objects.get()
        with pytest.raises(RuleError, match="A later month than January 2026 is closed"):
            close_month(date(2026, 1, 1), finance)
        with pytest.raises(RuleError, match="is not over yet"):
            close_month(date(2999, 1, 1), finance)
        with pytest.raises(PermissionDenied, match="close_month"):
            close_month(date(2026, 3, 1), user("Sales ops"))
        (contract,) = sell()
        with pytest.raises(DatabaseError, match="the books of 2026-01 are closed"), transaction.atomic():
            JournalEntry.objects.create(day=day(5), kind="x", source="x", currency="USD", customer=contract.customer)

    def test_by_command(self, roles: None) -> None:
        sell()
        out = StringIO()
        call_command("close_month", "2026-01", stdout=out, stderr=StringIO())
        assert out.getvalue() == "January 2026 is closed.\n"
        with pytest.raises(CommandError, match="is not a month such as 2026-01"):
            call_command("close_month", "January")


def _post_and_commit(entry: JournalEntry) -> None:
    JournalPosting.objects.create(entry=entry, account=CASH, amount=1)
    with transaction.get_connection().cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class TestTheDatabase:
    def test_an_entry_that_does_not_balance_is_refused(self, finance: User) -> None:
        (contract,) = sell()
        entry = JournalEntry.objects.create(
            day=day(5), kind="x", source="x", currency="USD", customer=contract.customer
        )
        with pytest.raises(DatabaseError, match="does not balance"), transaction.atomic():
            _post_and_commit(entry)

    def test_entries_and_postings_are_never_changed(self, finance: User) -> None:
        sell()
        close_periods(day(2, month=2))
        issue_all(finance)
        for rows in (JournalEntry.objects.all(), JournalPosting.objects.all()):
            with pytest.raises(DatabaseError, match="pgtrigger"), transaction.atomic():
                rows._raw_delete("default")
        with pytest.raises(DatabaseError, match="pgtrigger"), transaction.atomic():
            JournalPosting.objects.update(amount=7)


def exported(format_name: str) -> str:
    out = StringIO()
    call_command("export_journal", "--format", format_name, stdout=out)
    return out.getvalue()


def test_exports(finance: User, tmp_path: Path) -> None:
    """The CSV adds up to zero; beancount accepts the text."""
    (contract,) = sell()
    contract.customer.name = 'Quote "Corp"'
    contract.customer.save()
    close_periods(day(2, month=2))
    (invoice,) = issue_all(finance)
    record_payment(invoice.pk, Received(Decimal(5), day(9, month=2), "hand:1"), finance)
    rows = list(csv.DictReader(StringIO(exported("csv"))))
    assert sum(Decimal(row["amount"]) for row in rows) == 0
    assert {row["account"] for row in rows} == {REVENUE, UNBILLED, RECEIVABLE, CASH}
    assert rows[0]["customer"] == contract.customer.key
    path = tmp_path / "books.beancount"
    path.write_text(exported("beancount"))
    checked = subprocess.run(
        [sys.executable, "-m", "beancount.scripts.check", str(path)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
