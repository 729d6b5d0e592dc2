"""An issued invoice is worked out again as it was known, whatever was agreed or priced later."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Product, Rate, RateCard, TaxRate
from contracts.amendments import amend, end_early
from contracts.models import BillingPeriod, Contract, Customer
from invoicing.as_known import statements_as_known
from invoicing.close import close_periods
from invoicing.draft_rows import same_as_written
from invoicing.drafts import statements, with_terms
from invoicing.lifecycle import approve, issue
from invoicing.models import Invoice
from tests.factories import RateFactory, day, sell, send, user

DEAL: dict[str, Any] = {
    "commits": [{"key": "y1", "access": [{"amount": "3", "starting_at": "2026-01-01", "ending_before": "2027-01-01"}]}],
    "discounts": [{"percent": "10"}],
}


def dearer(contract: Contract) -> None:
    Rate.objects.get(rate_card=contract.rate_card).delete()
    RateFactory.create(
        rate_card=contract.rate_card, product=Product.objects.get(), price={"model": "flat", "amount": "9"}
    )


def changed_rate(contract: Contract) -> None:
    rate = Rate.objects.get(rate_card=contract.rate_card)
    rate.price = {"model": "per_unit", "unit_amount": "7"}
    rate.save()


def renamed_product(contract: Contract) -> None:
    Product.objects.update(name="Renamed", divide_by=10)


def taxed(contract: Contract) -> None:
    Customer.objects.update(tax_rate=Decimal("0.19"))


def tax_by_country(contract: Contract) -> None:
    TaxRate.objects.create(key="de-vat", name="VAT", percent=19, country="DE")
    Customer.objects.update(country="DE")


def other_card(contract: Contract) -> None:
    card = RateFactory.create(product=Product.objects.get(), price={"model": "flat", "amount": "1"}).rate_card
    Contract.objects.filter(pk=contract.pk).update(rate_card=card)
    RateCard.objects.exclude(pk=card.pk).update(name="Old")


def amended_deal(contract: Contract) -> None:
    amend(contract, day(1, 3), {"add": {"discounts": [{"percent": "50"}]}, "end": {"commits": ["y1"]}}, None)
    Contract.objects.filter(pk=contract.pk).update(deal={"discounts": [{"percent": "99"}]})


def ended(contract: Contract) -> None:
    end_early(contract, day(10, 3), None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("real_commits")
@pytest.mark.parametrize(
    "later",
    [dearer, changed_rate, renamed_product, taxed, tax_by_country, other_card, amended_deal, ended],
    ids=lambda change: change.__name__,
)
def test_an_issued_invoice_is_the_statement_known_when_it_was_approved(later: Callable[[Contract], None]) -> None:
    finance = user("Finance")
    (contract,) = sell(used=(10,), deal=DEAL)
    send(contract.customer.key, 4, day(10, month=2))
    close_periods(day(2, month=3), contract.key)
    invoices = list(Invoice.objects.order_by("starting_at"))
    for invoice in invoices:
        issue(approve(invoice.pk, finance).pk, finance)
    assert [str(each.total) for each in invoices] == ["$1.50", "$1.80"]
    later(contract)
    dearer(contract) if later is changed_rate else None
    for invoice in Invoice.objects.order_by("starting_at"):
        assert invoice.period_id
        assert invoice.approved_at
        period = with_terms(invoice.period_id)
        (known,) = statements_as_known([period], invoice.approved_at)
        assert (known.total, known.subtotal) == (invoice.total.amount, invoice.subtotal.amount)
        assert same_as_written(invoice, known)
    if later is not ended:
        now = statements([with_terms(invoices[0].period_id or 0)])[0]
        assert not same_as_written(invoices[0], now)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("real_commits")
def test_the_command_shows_a_statement_as_it_was_known() -> None:
    (contract,) = sell(used=(10,))
    before = datetime.now(UTC)
    changed_rate(contract)

    def total(**options: Any) -> str:
        out = StringIO()
        call_command("statement", contract.key, stdout=out, json=True, **options)
        return str(json.loads(out.getvalue())["total"])

    assert total(period="2026-01") == "70.00"
    assert total(period="2026-01-15", known_at=before) == "5.00"
    out = StringIO()
    call_command("statement", contract.key, period="2026-01", stdout=out)
    assert "total USD" in out.getvalue()
    refusals: list[tuple[str, dict[str, Any], str]] = [
        ("nobody", {"period": "2026-01"}, "there is no contract nobody"),
        (contract.key, {"period": "soon"}, "write a day or a month"),
        (contract.key, {"period": "2026-01", "known_at": before - timedelta(days=1)}, "was not there yet"),
    ]
    for key, options, text in refusals:
        with pytest.raises(CommandError, match=text):
            call_command("statement", key, **options)
    Contract.objects.update(ending_before=day(1, 2))
    with pytest.raises(CommandError, match="no billing period there"):
        call_command("statement", contract.key, period="2026-03")


@pytest.mark.django_db
def test_as_many_queries_for_many_contracts_as_for_one() -> None:
    sell(5, deal=DEAL)
    close_periods(day(2, month=2))
    periods = list(BillingPeriod.objects.select_related("contract__customer", "contract__rate_card"))
    counts = []
    for some in (periods[:1], periods):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            statements_as_known(some, datetime.now(UTC))
        counts.append(len(queries))
    assert counts[0] == counts[1]
