"""Balances: the sum of entries that nobody can change, never below zero."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from billing_project.errors import RuleError
from contracts.ledger import balance_of, post
from contracts.models import Contract, LedgerEntry
from tests.factories import ContractFactory, day

Kind = LedgerEntry.Kind


def start(amount: str = "100") -> Contract:
    contract: Contract = ContractFactory.create()
    assert post(contract, "commit", Kind.START, Decimal(amount), day(1), "commit:1")
    return contract


@pytest.mark.django_db
@pytest.mark.books_unchecked
def test_a_balance_is_the_sum_of_its_entries() -> None:
    contract = start()
    assert post(contract, "commit", Kind.DRAW, Decimal("-99.999"), day(2), "invoice-line:1")
    assert balance_of(contract, "commit") == Decimal("0.001")
    assert balance_of(contract, "other") == 0
    assert balance_of(ContractFactory.create(), "commit") == 0


@pytest.mark.django_db
@pytest.mark.books_unchecked
def test_posting_a_source_twice_changes_nothing() -> None:
    contract = start()
    assert post(contract, "commit", Kind.DRAW, Decimal(-10), day(2), "invoice-line:1")
    assert not post(contract, "commit", Kind.DRAW, Decimal(-10), day(2), "invoice-line:1")
    assert balance_of(contract, "commit") == 90
    with pytest.raises(RuleError, match="posted to commit already, as draw of -10") as refused:
        post(contract, "commit", Kind.DRAW, Decimal(-11), day(2), "invoice-line:1")
    assert refused.value.problems[0].path == "source"


@pytest.mark.django_db
@pytest.mark.books_unchecked
def test_a_balance_never_falls_below_zero() -> None:
    contract = start()
    with pytest.raises(RuleError, match=r"commit has 100 left; -100\.01 would take it below zero") as refused:
        post(contract, "commit", Kind.DRAW, Decimal("-100.01"), day(2), "invoice-line:1")
    assert refused.value.problems[0].path == "amount"
    assert post(contract, "commit", Kind.DRAW, Decimal(-100), day(2), "invoice-line:1")
    assert balance_of(contract, "commit") == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    ["UPDATE contracts_ledgerentry SET amount = 1000", "DELETE FROM contracts_ledgerentry"],
)
def test_the_database_refuses_to_change_an_entry(statement: str) -> None:
    contract = start()
    entries = LedgerEntry.objects.filter(contract=contract)
    for change in (lambda: entries.update(amount=1), entries.delete, lambda: connection.cursor().execute(statement)):
        with pytest.raises(DatabaseError, match="pgtrigger"), transaction.atomic():
            change()
    assert balance_of(contract, "commit") == 100


@pytest.mark.django_db(transaction=True)
@pytest.mark.books_unchecked
def test_draws_at_the_same_time_cannot_spend_the_same_money() -> None:
    contract = start()

    def draw(number: int) -> bool:
        try:
            return post(contract, "commit", Kind.DRAW, Decimal(-30), day(2), f"invoice-line:{number}")
        except RuleError:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(draw, range(8)))
    assert sum(drawn) == 3
    assert balance_of(contract, "commit") == 10
