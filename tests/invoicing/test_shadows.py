"""A shadow contract beside the contract in force: per closed period, per line, billing nothing."""

from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from contracts.models import Contract
from invoicing.admin.shadow_page import percent_text
from invoicing.close import close_periods
from invoicing.models import Invoice
from invoicing.shadows import comparisons
from tests.factories import ContractFactory, RateFactory, day, sell, send, user

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


@pytest.fixture
def sales(roles: None, client: Client) -> Client:
    client.force_login(user("Sales ops"))
    return client


def page(client: Client, contract: Contract) -> str:
    answer = client.get(reverse("admin:invoicing_shadow", args=[contract.pk]))
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_the_page_shows_each_period_in_money_and_percent(sales: Client) -> None:
    (contract,) = sell(used=(10,))
    shadow = shadow_of(contract, name="Cheaper")
    close_periods(day(2, month=2))
    for each in (contract, shadow):
        shown = page(sales, each)
        for text in ("Cheaper", "1 – 31 Jan 2026", "5.00 USD", "4.00 USD", "-1.00 USD", "-20.0%"):
            assert text in shown


def test_the_page_says_what_it_waits_for(sales: Client) -> None:
    (contract,) = sell()
    assert "No shadow contract stands beside" in page(sales, contract)
    shadow_of(contract)
    assert "No period of it is closed and billed yet" in page(sales, contract)


def test_contracts_and_invoices_lead_to_the_comparison(sales: Client) -> None:
    (contract,) = sell()
    close_periods(day(2, month=2))
    invoice = Invoice.objects.get()
    page_of_invoice = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
    page_of_contract = reverse("admin:contracts_contract_change", args=[contract.pk])
    action = reverse("admin:contracts_contract_shadows", args=[contract.pk])
    address = reverse("admin:invoicing_shadow", args=[contract.pk])
    listed = reverse("admin:invoicing_invoice_changelist") + "?shadow=1"
    assert action not in sales.get(page_of_contract).content.decode()
    assert address not in sales.get(page_of_invoice).content.decode()
    assert sales.get(listed).context["cl"].result_count == 0
    shadow_of(contract)
    assert action in sales.get(page_of_contract).content.decode()
    assert address in sales.get(page_of_invoice).content.decode()
    assert sales.get(listed).context["cl"].result_count == 1
    assert sales.get(action).headers["Location"] == address


@pytest.mark.parametrize(("before", "after", "text"), [
    ("5", "4", "-20.0%"), ("4", "5", "+25.0%"), ("3", "4", "+33.3%"), ("5", "5", "0%"), ("0", "5", ""), ("0", "0", ""),
])  # fmt: skip
def test_changes_in_percent(before: str, after: str, text: str) -> None:
    assert percent_text(Decimal(before), Decimal(after)) == text
