"""Tax through the whole path: from rates and customers to invoices, credit notes, voids and the books."""

from decimal import Decimal
from typing import Any

import pghistory
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Sum
from django.test import Client
from django.urls import reverse

from billing_project.errors import ConflictError, RuleError
from catalog.models import Product, Rate, TaxRate
from contracts.models import Customer
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, request_credit_note
from invoicing.late_differences import differences
from invoicing.lifecycle import approve, issue
from invoicing.models import Invoice, JournalPosting
from invoicing.revenue import DEFERRED
from invoicing.spend_thresholds import bill_thresholds
from invoicing.tax_books import tax_owed_is_what_was_charged, taxes_add_up
from invoicing.voiding import void
from meters.late_days import note
from meters.models import Subject
from tests.factories import CustomerFactory, day, sell, send, user

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


def vat(**more: Any) -> TaxRate:
    rate = TaxRate(**{"key": "de-19", "name": "VAT", "percent": D(19), "country": "DE", **more})
    rate.full_clean()
    rate.save()
    return rate


def german(**more: Any) -> Customer:
    return CustomerFactory.create(country="DE", **more)


def in_review(customer: Customer, **terms: Any) -> Invoice:
    (contract,) = sell(customer=customer, **terms)
    close_periods(day(2, month=2), contract.key)
    return Invoice.objects.get(contract=contract, kind="usage")


def issued(finance: User, customer: Customer, **terms: Any) -> Invoice:
    return issue(approve(in_review(customer, **terms).pk, finance).pk, finance)


def tax_owed() -> dict[str, Decimal]:
    rows = JournalPosting.objects.filter(account="tax").values_list("product").annotate(sum=Sum("amount")).order_by()
    return {key: amount for key, amount in rows if amount}


def test_each_rate_has_a_line_and_an_account_of_its_own(finance: User) -> None:
    """5.00 at 19% and 2 books of 10.00 at 7%: 0.95 and 1.40."""
    vat()
    vat(key="de-7", percent=D(7), product_category="books")
    (contract,) = sell(customer=german())
    book = Product.objects.create(key="book", name="Book", kind="fixed", tax_category="books")
    Rate.objects.create(rate_card=contract.rate_card, product=book, price={"model": "per_unit", "unit_amount": "10"})
    contract.deal = {"subscriptions": [{"key": "b", "product": "book", "quantity": "2", "billed": "arrears"}]}
    Product.objects.filter(key="book").update(kind="subscription")
    contract.full_clean()
    contract.save()
    close_periods(day(2, month=2), contract.key)
    invoice = issue(approve(Invoice.objects.get().pk, finance).pk, finance)
    assert [(each["key"], each["base"], each["amount"]) for each in invoice.taxes] == [
        ("de-19", "5", "0.95"), ("de-7", "20", "1.4"),
    ]  # fmt: skip
    assert (invoice.tax, invoice.total.amount) == (D("2.35"), D("27.35"))
    assert tax_owed() == {"de-19": D("-0.95"), "de-7": D("-1.40")}
    books = invoice.lines.get(product="book")
    asked = request_credit_note(invoice.pk, {books.position: D(10)}, "one came back", finance)
    issue_credit_note(asked.pk, user("Finance", "second"))
    assert (asked.tax, asked.taxes[0]["key"]) == (D("0.70"), "de-7")
    assert tax_owed() == {"de-19": D("-0.95"), "de-7": D("-0.70")}


def test_a_void_takes_the_tax_back(finance: User) -> None:
    vat()
    void(issued(finance, german()).pk, finance, "wrong")
    assert tax_owed() == {}


def test_threshold_invoices_charge_the_tax_of_a_period_once(finance: User) -> None:
    """25.00 by the 12th, 50.00 by the 13th, 75.00 by the 14th and 80.00 in all: 15.20 at 19%, 4.75 of it after each
    threshold. The first is voided when the second has subtracted it: its 4.75 come with the last.
    """
    vat()
    (contract,) = sell(customer=german(), used=[10], deal={"spend_threshold": {"amount": "20"}})
    owed = []
    for number, units in ((12, 40), (13, 50), (14, 50)):
        send(contract.customer.key, units, day(number))
        assert bill_thresholds(day(number)) == 1
        owed.append(tax_owed()["de-19"])
        assert list(tax_owed_is_what_was_charged()) == []
    assert owed == [D("-4.75"), D("-9.50"), D("-14.25")]
    first = Invoice.objects.filter(kind="threshold").order_by("scheduled_at")[0]
    void(first.pk, finance, "wrong address")
    assert tax_owed() == {"de-19": D("-9.50")}
    assert list(tax_owed_is_what_was_charged()) == []
    send(contract.customer.key, 10, day(20))
    close_periods(day(2, month=2), contract.key)
    last = issue(approve(Invoice.objects.get(kind="usage").pk, finance).pk, finance)
    assert (last.tax, last.already_invoiced, last.total.amount) == (D("15.20"), D("59.50"), D("35.70"))
    assert tax_owed() == {"de-19": D("-15.20")}


def test_a_customer_without_a_rate_needs_a_look() -> None:
    vat()
    invoice = in_review(CustomerFactory.create(country="FR"))
    assert any("No tax rate covers" in flag for flag in invoice.attention)
    assert invoice.tax == 0


def test_reverse_charge_is_on_the_frozen_invoice(finance: User) -> None:
    vat()
    invoice = issued(finance, german(tax_treatment="reverse_charge", tax_id="DE123456789"))
    Customer.objects.update(tax_treatment="", tax_id="")
    invoice.refresh_from_db()
    assert (invoice.taxes[0]["category"], invoice.tax, invoice.bill_to["tax_id"]) == ("AE", 0, "DE123456789")
    assert "Article 196" in invoice.taxes[0]["note"]


def test_prices_that_include_tax(finance: User) -> None:
    """10 units at 1.19 are 11.90, of which 1.90 is tax; 5 more come late: 5.95, 0.95 of it tax."""
    vat(inclusive=True)
    invoice = issued(finance, german(), price={"model": "per_unit", "unit_amount": "1.19"})
    line = invoice.lines.get(position=1)
    assert (line.amount, line.gross_amount, line.unit_amount) == (D("10.00"), D("11.90"), D("1.19"))
    assert (invoice.subtotal.amount, invoice.tax, invoice.total.amount) == (D(10), D("1.90"), D("11.90"))
    assert tax_owed() == {"de-19": D("-1.90")}
    send(invoice.customer.key, 5, day(20), event_id="late")
    note([(Subject.objects.get(key=invoice.customer.key).pk, day(20))])  # as the roller does
    (late,) = differences([Invoice.objects.select_related("period__contract__rate_card").get(pk=invoice.pk)])[
        invoice.pk
    ]
    assert late.amount == D("5.95")
    close_periods(day(2, month=3), invoice.contract.key)
    following = Invoice.objects.get(starting_at=day(1, month=2))
    correction = following.lines.get(kind="correction")
    assert (correction.amount, correction.gross_amount, following.total.amount) == (D("5.00"), D("5.95"), D("5.95"))


def test_a_commit_whose_price_includes_tax_leaves_nothing_deferred(finance: User) -> None:
    """A commit of 11.90, tax included, is 10.00 deferred; drawn to the end, nothing of it is left."""
    vat(inclusive=True)
    window = {"starting_at": "2026-01-01", "ending_before": "2026-02-01"}
    commit = {
        "key": "y1",
        "access": [{"amount": "11.90", **window}],
        "invoices": [{"amount": "11.90", "at": "2026-01-01"}],
    }
    (contract,) = sell(
        customer=german(), deal={"commits": [commit]}, price={"model": "per_unit", "unit_amount": "1.19"}
    )
    close_periods(day(2, month=2), contract.key)
    for invoice in Invoice.objects.filter(contract=contract, status="in_review").order_by("ending_before", "pk"):
        issue(approve(invoice.pk, finance).pk, finance)
    deferred = JournalPosting.objects.filter(account=DEFERRED)
    assert {each.amount for each in deferred} == {D(-10), D(10)}
    assert tax_owed() == {"de-19": D("-1.90")}


def test_who_changed_the_tax_does_not_approve(finance: User) -> None:
    rate, customer = vat(), german()
    invoice = in_review(customer)
    with pghistory.context(user=finance.pk):
        rate.note = "changed"
        rate.save()
    with pytest.raises(RuleError, match="You changed tax rate de-19"):
        approve(invoice.pk, finance)
    second = user("Finance", "second")
    with pghistory.context(user=second.pk):
        Customer.objects.filter(pk=customer.pk).update(tax_note="changed")
    with pytest.raises(RuleError, match=f"You changed the tax of {customer}"):
        approve(invoice.pk, second)
    third = user("Finance", "third")
    with pytest.raises(ConflictError, match="changed since"):
        approve(invoice.pk, third)  # the note stands on the invoice
    assert approve(invoice.pk, third).status == "approved"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tax_treatment": "reverse_charge"}, "tax_id"),
        ({"tax_treatment": "exempt"}, "tax_note"),
        ({"tax_treatment": "export", "tax_rate": D("0.19")}, "tax_rate"),
        ({"country": "Germany"}, "country"),
    ],
)
def test_what_the_law_needs_is_asked_for(changes: dict[str, Any], field: str) -> None:
    customer = CustomerFactory.build(**changes)
    with pytest.raises(ValidationError) as caught:
        customer.full_clean()
    assert field in caught.value.message_dict


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"percent": D(0)}, "percent"),
        ({"percent": D(101)}, "percent"),
        ({"category": "AE", "percent": D(0)}, "note"),
        ({"category": "Z"}, "percent"),
        ({"category": "Z", "percent": D(0), "inclusive": True}, "inclusive"),
        ({"key": "other"}, "__all__"),
    ],
)
def test_rates_that_cannot_be_are_refused(changes: dict[str, Any], field: str) -> None:
    vat()
    with pytest.raises(ValidationError) as caught:
        vat(**{"key": "new", "country": "FR", **changes} | ({"country": "DE"} if "key" in changes else {}))
    assert field in caught.value.message_dict


def test_finance_keeps_the_rates_and_sales_reads_them(finance: User, client: Client) -> None:
    client.force_login(finance)
    given = {"key": "fr-20", "name": "TVA", "percent": "20", "category": "S", "country": "FR", "region": ""}
    assert client.post(reverse("admin:catalog_taxrate_add"), given).status_code == 302
    page = client.get(reverse("admin:catalog_taxrate_changelist")).content.decode()
    assert "fr-20" in page
    assert "20%" in page
    client.force_login(user("Sales ops"))
    assert client.get(reverse("admin:catalog_taxrate_changelist")).status_code == 200
    assert client.get(reverse("admin:catalog_taxrate_add")).status_code == 403


def test_the_books_notice_tax_that_is_not_on_any_document(finance: User) -> None:
    vat()
    invoice = issued(finance, german())
    entry = JournalPosting.objects.get(account="tax").entry
    with transaction.atomic():
        JournalPosting.objects.create(entry=entry, account="tax", amount=D("-0.05"), product="de-19")
        JournalPosting.objects.create(entry=entry, account="revenue", amount=D("0.05"))
        assert list(tax_owed_is_what_was_charged()) == ["Tax de-19: documents charge 0.95 USD, the books 1."]
        transaction.set_rollback(True)
    with transaction.atomic():
        in_review(german())
        Invoice.objects.filter(status="in_review").update(taxes=[{**invoice.taxes[0], "amount": "3"}])
        assert [fault.partition(":")[2] for fault in taxes_add_up()] != []
        transaction.set_rollback(True)
