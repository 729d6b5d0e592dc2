"""Rows written many at a time are the rows that would be written one by one."""

from datetime import datetime
from decimal import Decimal

import pghistory
import pytest

from billing_project.rows import copy_rows, take_ids, update_rows
from contracts.models import Customer
from invoicing.models import Invoice
from tests.factories import reviewed

pytestmark = pytest.mark.django_db
NAMES = ("id", "key", "name", "tax_rate")


def test_fields_that_are_not_named_have_their_defaults() -> None:
    first, second = take_ids(Customer, 2)
    copy_rows(Customer, NAMES, [(first, "a", "Ärger\t\\N\n", Decimal("5E-8")), (second, "b", "", None)])
    one, other = Customer.objects.order_by("key")
    assert (one.pk, one.name, one.tax_rate) == (first, "Ärger\t\\N\n", Decimal("0.00000005"))
    assert (other.pk, other.tax_rate, other.timezone, other.email) == (second, None, "UTC", "")
    assert isinstance(other.created_at, datetime)


def test_history_says_who_copied_rows_in() -> None:
    with pghistory.context(user=7):
        copy_rows(Customer, NAMES, [(*take_ids(Customer, 1), "a", "A", None)])
    (event,) = Customer.pgh_event_model.objects.all()  # type: ignore[attr-defined]
    assert (event.pgh_label, event.pgh_context.metadata["user"]) == ("insert", 7)


@pytest.mark.books_unchecked
def test_each_row_gets_values_of_its_own() -> None:
    first, second = (reviewed(), reviewed())
    rows = [
        (first.pk, "JPY", 7, [{"balance": "a"}], ["Look", 'at "this", please']),
        (second.pk, "USD", Decimal("1E+2"), [], []),
    ]
    update_rows(Invoice, ("currency", "discount", "draws", "attention"), rows)
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.subtotal.currency.code, first.discount, first.draws) == ("JPY", 7, [{"balance": "a"}])
    assert first.attention == ["Look", 'at "this", please']
    assert (second.discount, second.draws, second.total.amount) == (100, [], 5)
