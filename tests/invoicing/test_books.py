"""The invariants hold after ordinary work; what is broken is named. What each notices: `test_damaged_books`."""

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

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


def checked(*options: str) -> str:
    out = StringIO()
    call_command("check_books", *options, stdout=out)
    return out.getvalue()


def test_the_books_hold_after_two_billed_months(billed: list[Invoice]) -> None:
    assert [str(invoice.total) for invoice in billed] == ["$6.00", "$0.00", "$12.00"]
    assert f"All {len(INVARIANTS)} invariants hold." in checked()
    quick = checked("--quick")
    assert f"All {len(INVARIANTS) - 2} invariants hold." in quick
    assert "events" not in quick


@pytest.mark.books_unchecked
def test_what_is_broken_is_named_and_fails(billed: list[Invoice]) -> None:
    NumberSeries.objects.update(last_number=4)
    BillingPeriod.objects.filter(closed_at=None).update(closed_at=day(1))
    out = StringIO()
    with pytest.raises(CommandError, match=f"2 of {len(INVARIANTS)} invariants are broken"):
        call_command("check_books", stdout=out)
    told = out.getvalue()
    assert (
        "BROKEN  Invoice numbers have no gaps\n        Number series INV-: 4 numbers are given out, 3 documents" in told
    )
    assert "it is closed and has 0 invoices" in told
    assert "holds   Lines add up to totals" in told
