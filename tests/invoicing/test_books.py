"""The invariants hold after ordinary work, and each one notices what it is there for."""

from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from contracts.models import BillingPeriod
from invoicing.books import INVARIANTS
from invoicing.close import close_periods
from invoicing.lifecycle import approve, issue
from invoicing.models import Invoice, NumberSeries
from tests.factories import day, sell, send, user

pytestmark = pytest.mark.django_db

YEAR = {"starting_at": "2026-01-01", "ending_before": "2026-03-01"}
DEAL = {
    "commits": [{"key": "y1", "access": [{"amount": "8", **YEAR}], "invoices": [{"amount": "6", "at": "2026-01-01"}]}]
}


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


@pytest.fixture
def billed(finance: User) -> list[Invoice]:
    """Two months of one contract with a commit, issued."""
    (contract,) = sell(deal=DEAL)
    send(contract.customer.key, 30, day(10, month=2))
    close_periods(day(2, month=3))
    invoices = list(Invoice.objects.order_by("starting_at", "kind"))
    return [issue(approve(invoice.pk, finance).pk, finance) for invoice in invoices]


def checked() -> str:
    out = StringIO()
    call_command("check_books", stdout=out)
    return out.getvalue()


def broken() -> str:
    out = StringIO()
    with pytest.raises(CommandError, match=r"1 of \d+ invariants are broken"):
        call_command("check_books", stdout=out)
    return out.getvalue()


def by_force(statement: str, *parameters: Any) -> None:
    """What no code of ours does, with the guards in the database off."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement, parameters)
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def test_the_books_hold_after_two_billed_months(billed: list[Invoice]) -> None:
    assert [str(invoice.total) for invoice in billed] == ["$6.00", "$0.00", "$12.00"]
    assert f"All {len(INVARIANTS)} invariants hold." in checked()


def test_a_changed_line_is_noticed(billed: list[Invoice]) -> None:
    by_force("UPDATE invoicing_invoiceline SET amount = amount + 1 WHERE invoice_id = %s", billed[0].pk)
    assert "the total is $6.00, its lines add up to 7" in broken()


def test_a_missing_number_is_noticed(billed: list[Invoice]) -> None:
    NumberSeries.objects.update(last_number=4)
    assert "4 numbers are given out, 3 documents carry one" in broken()


def test_a_period_closed_without_an_invoice_is_noticed(billed: list[Invoice]) -> None:
    BillingPeriod.objects.filter(closed_at=None).update(closed_at=day(1))
    assert "it is closed and has 0 invoices" in broken()


def test_an_overdrawn_balance_and_a_draw_that_is_not_posted_are_noticed(billed: list[Invoice]) -> None:
    by_force("UPDATE contracts_ledgerentry SET amount = %s WHERE kind = 'start'", Decimal(7))
    assert "it takes y1 of contract" in broken()
    by_force("UPDATE contracts_ledgerentry SET amount = %s WHERE kind = 'start'", Decimal(8))
    by_force("UPDATE contracts_ledgerentry SET amount = -1 WHERE kind = 'draw' AND amount = -5")
    assert "it draws 5 from y1, the ledger has -1" in broken()


def test_a_gap_between_periods_is_noticed(billed: list[Invoice]) -> None:
    BillingPeriod.objects.filter(starting_at=day(1)).update(ending_before=day(31))
    assert "the next one starts at 2026-02-01" in broken()
