"""Questions asked all the time: the same objects as query sets give, in the same transactions."""

from datetime import UTC, datetime
from decimal import Decimal

import pghistory
import pytest
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext

from billing_project.prepared import ask, columns, ids, instance
from catalog.models import RateCard
from contracts.models import Contract, Customer
from tests.factories import ContractFactory, CustomerFactory, RateCardFactory

pytestmark = pytest.mark.django_db


def test_objects_are_those_of_query_sets() -> None:
    contract = ContractFactory.create(
        deal={"discounts": [{"percent": "10"}]}, starting_at=datetime(2026, 1, 1, tzinfo=UTC), rate_card__currency="EUR"
    )
    customer = CustomerFactory.create(tax_rate=Decimal("0.190"), funds={"credits": []})
    card = RateCardFactory.create(pricing_units=[{"key": "credit", "rate": "0.10"}])
    for model, pk in ((Contract, contract.pk), (Customer, customer.pk), (RateCard, card.pk)):
        table = model._meta.db_table
        (row,) = ask(f"SELECT {columns(model, 'm')} FROM {table} AS m WHERE m.id = ANY(%s::bigint[])", [[pk]])
        read = model._default_manager.get(pk=pk)
        given = instance(model, row)
        assert given == read
        assert {name: value for name, value in vars(given).items() if name != "_state"} == {
            name: value for name, value in vars(read).items() if name != "_state"
        }
        given.save()  # it is known as saved: an update, not a second row


def test_a_question_asked_often_is_prepared_and_answers_the_same() -> None:
    card = RateCardFactory.create()
    for _ in range(20):
        assert ask("SELECT key FROM catalog_ratecard WHERE id = ANY(%s::bigint[])", [[card.pk, 10**12]]) == [
            (card.key,)
        ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT key FROM %'")
        assert cursor.fetchone() == (1,)


def test_it_is_asked_within_the_transaction_and_counted() -> None:
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        RateCard.objects.create(key="mine", name="Mine", currency="USD")
        assert ask("SELECT count(*) FROM catalog_ratecard WHERE key = %s", ["mine"]) == [(1,)]
        transaction.set_rollback(True)
    assert any("count(*)" in each["sql"] for each in queries.captured_queries)
    assert ask("SELECT count(*) FROM catalog_ratecard WHERE key = %s", ["mine"]) == [(0,)]


def test_a_question_that_begins_with_its_parts_is_asked_within_a_request() -> None:
    with pghistory.context(user=1):
        assert ask("\nWITH one AS (SELECT %s::int AS n) SELECT n, n FROM one ORDER BY n", [7]) == [(7, 7)]
        assert ask("\n  SELECT %(n)s::int", {"n": 8}) == [(8,)]


def test_errors_are_those_of_django() -> None:
    with pytest.raises(DataError), transaction.atomic():
        ask("SELECT 1 / %s::int", [0])


def test_keys_of_unsaved_rows_match_nothing() -> None:
    assert ids([3, None, 1, 3]) == [1, 3]
