"""A shadow contract beside the contract in force: per closed period, per line, billing nothing."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from contracts.models import Contract
from invoicing.close import close_periods
from invoicing.models import Invoice
from invoicing.shadows import comparisons
from tests.factories import ContractFactory, RateFactory, day, sell, send

pytestmark = pytest.mark.django_db


def shadow_of(contract: Contract, price: str = "0.40", **fields: object) -> Contract:
    product = contract.rate_card.rates.get().product
    card = RateFactory.create(product=product, price={"model": "per_unit", "unit_amount": price}).rate_card
    made: Contract = ContractFactory.create(customer=contract.customer, rate_card=card, shadow=True, **fields)
    return made


def test_each_closed_period_is_compared_line_by_line() -> None:
    (contract,) = sell(used=(10,))
    send(contract.customer.key, 20, day(10, month=2))
    shadow = shadow_of(contract, deal={"discounts": [{"percent": "50", "starting_at": "2026-02-01"}]})
    close_periods(day(2, month=3))
    january, february = comparisons([shadow], day(2, month=3))
    assert [str(each) for each in (january.actual, january.shadow, january.difference)] == ["5.00", "4.00", "-1.00"]
    assert [str(each) for each in (february.actual, february.shadow)] == ["10.00", "4.00"]
    usage, discount = sorted(february.lines, key=lambda line: line.kind, reverse=True)
    assert [str(each) for each in (usage.actual, usage.shadow, usage.difference)] == ["10.00", "8.00", "-2.00"]
    assert (discount.kind, str(discount.actual), str(discount.shadow)) == ("discount", "0", "-4.00")
    for each in (january, february):
        assert sum((line.difference for line in each.lines), Decimal(0)) == each.difference
    assert [each.period for each in comparisons([shadow], day(2, month=3), latest=1)] == [february.period]


def test_the_shadow_itself_bills_nothing_and_what_is_not_billed_is_not_compared() -> None:
    (contract,) = sell()
    shadow = shadow_of(contract)
    assert comparisons([shadow], day(2, month=2)) == []
    close_periods(day(2, month=2))
    assert set(Invoice.objects.values_list("contract", flat=True)) == {contract.pk}
    assert len(comparisons([shadow], day(2, month=2))) == 1
    assert comparisons([], day(2, month=2)) == []


def test_fees_that_fall_due_in_the_period_count() -> None:
    (contract,) = sell()
    commit = {"key": "y1", "access": [{"amount": "100"}], "invoices": [{"amount": "60", "at": "2026-01-15"}]}
    shadow = shadow_of(contract, deal={"commits": [commit]})
    close_periods(day(2, month=2))
    (january,) = comparisons([shadow], day(2, month=2))
    assert {line.kind: line.shadow for line in january.lines} == {"usage": 4, "draw": -4, "commit_purchase": 60}
    assert january.shadow == 60


def test_as_many_queries_for_many_as_for_one() -> None:
    contracts = sell(4)
    shadows = [shadow_of(contract) for contract in contracts]
    close_periods(day(2, month=2))
    counts = []
    for some in (shadows[:1], shadows):
        comparisons(some, day(2, month=2))
        with CaptureQueriesContext(connection) as queries:
            assert len(comparisons(some, day(2, month=2))) == len(some)
        counts.append(len(queries))
    assert counts[0] == counts[1]
