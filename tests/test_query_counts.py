"""Work on many contracts takes as many queries as work on one."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from contracts import catalog_terms
from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod
from invoicing.close import close_periods
from invoicing.drafts import statements
from invoicing.models import Invoice
from tests.factories import day, sell

pytestmark = pytest.mark.django_db
MANY = 25


def counted(work: Callable[[], object]) -> int:
    """In a process that has read no rate card yet."""
    catalog_terms._kept = catalog_terms._Kept()
    with CaptureQueriesContext(connection) as queries:
        work()
    return len(queries)


def build_statements() -> None:
    periods = BillingPeriod.objects.select_related("contract__customer", "contract__rate_card")
    assert len(statements(list(periods))) == BillingPeriod.objects.count()


def test_statements() -> None:
    sell()
    write_periods(day(2))
    one = counted(build_statements)
    sell(contracts=MANY)
    write_periods(day(2))
    assert counted(build_statements) == one <= 14


def test_statements_of_many_periods_of_one_contract() -> None:
    sell(billing_every="day")
    write_periods(day(1))
    one = counted(build_statements)
    write_periods(day(MANY))
    assert counted(build_statements) == one


def test_close() -> None:
    sell()
    one = counted(lambda: close_periods(day(2, month=2)))
    sell(contracts=MANY)
    assert counted(lambda: close_periods(day(2, month=2))) == one <= 58
    assert Invoice.objects.count() == 1 + MANY


YEAR = {"starting_at": "2026-01-01", "ending_before": "2027-01-01"}
DEAL = {
    "commits": [
        {
            "key": "year",
            "access": [{"amount": "3", **YEAR}],
            "invoices": [{"amount": "2", "at": "2026-01-01"}, {"amount": "1", "at": "2026-01-15"}],
        }
    ],
    "recurring_credits": [{"key": "monthly", "amount": "1"}],
    "recurring_commits": [{"key": "topped", "amount": "1", "invoice_amount": "1"}],
    "discounts": [{"percent": "10"}],
    "overrides": [{"kind": "multiplier", "multiplier": "0.9", "starting_at": "2026-01-08T00:00:00Z"}],
}


def test_close_with_commits_and_scheduled_fees() -> None:
    """The close, the look at fees, the drafts and their review: of 1 contract as of 50."""
    sell(deal=DEAL)
    one = counted(lambda: close_periods(day(2, month=2)))
    sell(contracts=50, deal=DEAL)
    assert counted(lambda: close_periods(day(2, month=2))) == one <= 64
    for kind, each in (("usage", 1), ("scheduled", 3)):
        invoices = Invoice.objects.filter(kind=kind)
        assert invoices.count() == 51 * each
        assert set(invoices.values_list("status", flat=True)) == {"in_review"}
