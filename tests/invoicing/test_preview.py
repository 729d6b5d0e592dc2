"""What a contract would bill, before it is saved: the same figures as the draft and the invoice."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from contracts.models import Contract
from invoicing.close import close_periods
from invoicing.drafts import live_statement
from invoicing.lifecycle import approve, issue
from invoicing.models import Invoice
from invoicing.preview import preview, running_period
from tests import factories
from tests.contracts.test_admin import contract_form, new_contract
from tests.factories import day, sell, send

pytestmark = pytest.mark.django_db
PREVIEW = "admin:invoicing_contract_preview"
HALF = {"overrides": [{"kind": "multiplier", "multiplier": "0.5"}]}


def closed_months(**contract: Any) -> Contract:
    """A contract with 10, 20 and 30 units in its first three months, all closed; 8 units in the running April."""
    (sold,) = sell(**contract)
    for month, units in ((2, 20), (3, 30), (4, 8)):
        send(sold.customer.key, units, day(10, month))
    close_periods(day(3, month=4))
    return Contract.objects.select_related("customer", "rate_card").get(pk=sold.pk)


def rows(contract: Contract) -> list[tuple[int, object, object]]:
    """Month, billed, would be."""
    found = preview(contract, day(15, month=4))
    return [(each.period.starting_at.month, each.billed, each.would_be) for each in found.closed]


def test_under_the_same_terms_nothing_differs() -> None:
    contract = closed_months()
    assert rows(contract) == [(3, 15, 15), (2, 10, 10), (1, 5, 5)]


def test_the_next_invoice_is_the_live_draft() -> None:
    contract = closed_months()
    (coming,) = preview(contract, day(15, month=4)).coming
    assert coming.statement == live_statement(contract, day(15, month=4))
    assert coming.statement.total == 4


def test_other_terms_are_worked_out_and_not_saved() -> None:
    contract = closed_months()
    contract.deal = HALF
    assert rows(contract) == [(3, 15, Decimal("7.5")), (2, 10, 5), (1, 5, Decimal("2.5"))]
    assert preview(contract, day(15, month=4)).coming[0].statement.total == 2
    contract.refresh_from_db()
    assert contract.deal == {}


def test_balances_are_as_they_stood() -> None:
    """Issued draws of the periods worked out again count as not drawn, and one period leaves less for the next."""
    credit = {"credits": [{"key": "c", "access": [{"amount": "12"}]}]}
    contract = closed_months(deal=credit)
    finance = factories.user("Finance")
    for invoice in Invoice.objects.order_by("starting_at"):
        issue(approve(invoice.pk, finance).pk, finance)
    assert rows(contract) == [(3, 15, 15), (2, 3, 3), (1, 0, 0)]
    contract.deal = {"credits": [{"key": "c", "access": [{"amount": "20"}]}]}
    assert rows(contract) == [(3, 15, 10), (2, 3, 0), (1, 0, 0)]


def test_draws_before_the_periods_shown_stay_drawn() -> None:
    credit = {"credits": [{"key": "c", "access": [{"amount": "12"}]}]}
    contract = closed_months(deal=credit)
    close_periods(day(3, month=5))
    contract.deal = {**credit, "overrides": HALF["overrides"]}
    shown = preview(contract, day(15, month=5)).closed
    # January drew 5 of the 12 and is not worked out again.
    assert [row.period.starting_at.month for row in shown] == [4, 3, 2]
    assert [row.billed for row in shown] == [4, 15, 3]
    assert [row.would_be for row in shown] == [2, Decimal("5.5"), 0]


def test_fees_of_the_closed_periods_count() -> None:
    setup = factories.ProductFactory.create(key="setup", kind="fixed", meter=None)
    charges = {"charges": [{"key": "s", "product": setup.key, "amount": "100", "at": day(5).isoformat()}]}
    contract = closed_months(deal=charges)
    assert rows(contract)[-1] == (1, 105, 105)
    contract.deal = {}
    assert rows(contract)[-1] == (1, 105, 5)


def test_a_renewal_is_tried_on_what_was_used_before() -> None:
    before = closed_months(ending_before=day(1, month=5))
    renewal = Contract(
        key="renewal",
        customer=before.customer,
        rate_card=before.rate_card,
        starting_at=day(1, month=5),
        timezone="UTC",
        currency="USD",
        deal=HALF,
    )
    found = preview(renewal, day(15, month=4))
    assert [(each.by, each.would_be) for each in found.closed] == [
        (before, Decimal("7.5")),
        (before, 5),
        (before, Decimal("2.5")),
    ]
    assert found.running is not None
    assert found.running.starting_at == day(1, month=5)
    assert not Contract.objects.filter(key="renewal").exists()


def test_a_contract_that_is_over_bills_nothing_more() -> None:
    contract = closed_months(ending_before=day(1, month=4))
    assert running_period(contract, day(2, month=4)) is None
    assert preview(contract, day(2, month=4)).coming == []


def test_the_queries_do_not_grow_with_the_terms() -> None:
    contract = closed_months()
    with CaptureQueriesContext(connection) as few:
        preview(contract, day(15, month=4))
    contract.deal = {"discounts": [{"percent": "1", "starting_at": day(n, 4).isoformat()} for n in range(1, 28)]}
    with CaptureQueriesContext(connection) as many:
        preview(contract, day(15, month=4))
    assert len(many) == len(few) <= 40


# --- the endpoint --------------------------------------------------------------------------------------------------


@pytest.fixture
def sales(client: Client) -> Client:
    client.force_login(factories.user("Sales ops"))
    return client


def asked(client: Client, contract: Contract | None = None, **form: Any) -> dict[str, Any]:
    key = contract.pk if contract else ""
    answer = client.post(f"{reverse(PREVIEW)}?contract={key}", form)
    assert answer.status_code == 200
    return dict(answer.json())


def test_the_form_is_worked_out_before_it_is_saved(sales: Client) -> None:
    contract = closed_months()
    form = contract_form(rate_card=contract.rate_card.pk, timezone="UTC", deal=json.dumps(HALF))
    answer = asked(sales, contract, **form)
    assert "7.50 USD" in answer["html"]
    assert "-7.50 USD" in answer["html"]
    assert (answer["faults"], answer["wrong"].strip()) == ([], "")
    contract.refresh_from_db()
    assert contract.deal == {}


def test_a_new_contract_has_a_preview(sales: Client) -> None:
    rate = factories.RateFactory.create()
    customer = factories.CustomerFactory.create()
    send(customer.key, 10, datetime.now(UTC))
    form = new_contract(customer=customer, rate_card=rate.rate_card)
    answer = asked(sales, **form)
    assert "5.00 USD" in answer["html"]
    assert "No period of this customer is closed yet." in answer["html"]
    assert not Contract.objects.exists()


def test_a_form_with_faults_says_what_is_wrong(sales: Client) -> None:
    answer = asked(sales, **new_contract(deal=json.dumps({"discounts": [{"percent": "110"}]})))
    assert answer["html"] is None
    assert answer["faults"] == [
        {"path": "discounts[0].percent", "place": "Discounts 1, percent off", "message": "Must not be above 100."}
    ]
    assert "Discounts 1, percent off: Must not be above 100." in answer["wrong"]


def test_what_does_not_matter_for_the_figures_is_said_beside_them(sales: Client) -> None:
    answer = asked(sales, **new_contract(key=""))
    assert "Key: This field is required." in answer["wrong"]
    assert "Next invoice" in answer["html"]


def test_an_empty_form_is_no_error(sales: Client) -> None:
    answer = asked(sales)
    assert answer["html"] is None
    assert "Customer: This field is required." in answer["wrong"]


def test_what_is_billed_already_stays(sales: Client) -> None:
    commit = {"key": "y1", "access": [{"amount": "100"}], "invoices": [{"amount": "80", "at": "2026-01-01"}]}
    contract = closed_months(deal={"commits": [commit]})
    finance = factories.user("Finance")
    for invoice in Invoice.objects.filter(kind="scheduled"):
        issue(approve(invoice.pk, finance).pk, finance)
    commit["access"] = [{"amount": "50"}]
    form = contract_form(rate_card=contract.rate_card.pk, timezone="UTC", deal=json.dumps({"commits": [commit]}))
    (fault,) = asked(sales, contract, **form)["faults"]
    assert fault["path"] == "commits[0].access[0].amount"
    assert "stays as it was" in fault["message"]
    url = reverse("admin:contracts_contract_change", args=[contract.pk])
    assert sales.post(url, form).status_code == 200
    contract.refresh_from_db()
    assert contract.parsed_deal.commits[0].access[0].amount == 100


@pytest.mark.parametrize("role", ["Auditor", "Finance"])
def test_readers_see_the_saved_terms(client: Client, role: str) -> None:
    contract = closed_months()
    client.force_login(factories.user(role))
    answer = client.get(reverse(PREVIEW), {"contract": contract.pk}).json()
    assert "15.00 USD" in answer["html"]
    assert client.get(reverse(PREVIEW), {"contract": "999999"}).status_code == 404


def test_strangers_see_no_preview(client: Client) -> None:
    client.force_login(factories.user("Service"))
    assert client.get(reverse(PREVIEW)).status_code == 403
