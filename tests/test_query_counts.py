"""Work on many contracts takes as many queries as work on one."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod
from invoicing.close import close_periods
from invoicing.drafts import statements
from invoicing.models import Invoice
from tests.factories import day, sell

pytestmark = pytest.mark.django_db
MANY = 25


def counted(work: Callable[[], object]) -> int:
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
    assert counted(build_statements) == one <= 10


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
    assert counted(lambda: close_periods(day(2, month=2))) == one <= 45
    assert Invoice.objects.count() == 1 + MANY
