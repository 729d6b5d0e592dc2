"""Electronic invoices: valid by the official rules of EN 16931 in every case of tax; refusals name a field."""

import io
from datetime import date
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import facturx
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pypdf import PdfReader
from rest_framework.test import APIClient

from billing_project.errors import RuleError
from billing_project.models import ApiKey
from catalog.models import Product, Rate, TaxRate
from contracts.models import Customer
from invoicing.cii import cii
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, left_to_credit, request_credit_note
from invoicing.edocument import CREDIT_NOTE, INVOICE, EDocument, ELine, PartyDetails, TaxPart, merged
from invoicing.einvoices import factur_x, xml_of
from invoicing.lifecycle import approve, issue
from invoicing.models import CreditNote, Invoice
from invoicing.spend_thresholds import bill_thresholds
from invoicing.ubl import ubl
from tests.factories import ContractFactory, CustomerFactory, RateCardFactory, RateFactory, day, send, user
from tests.invoicing.en16931 import faults_of

D = Decimal
SELLER = {
    "name": "Tokens Inc",
    "address": "1 Main St\n10115 Berlin\nGermany",
    "country": "DE",
    "tax_id": "DE111111111",
    "email": "ar@tokens.test",
    "iban": "DE02120300000000202051",
    "bic": "BYLADEM1001",
    "registration": "HRB 1",
}
BUYER = {"name": "Beispiel & Söhne <GmbH>", "country": "DE", "tax_id": "DE123456789", "address": "Lange Straße 7"}
WINDOW = {"starting_at": "2026-01-01", "ending_before": "2027-01-01"}
TIERS = {
    "model": "graduated",
    "tiers": [{"up_to": "4000", "unit_amount": "0.0125"}, {"unit_amount": "0.0050", "flat_amount": "7"}],
}
COMMIT = {
    "commits": [
        {"key": "y1", "access": [{"amount": "20", **WINDOW}], "invoices": [{"amount": "15", "at": "2026-01-01"}]}
    ]
}


@pytest.fixture
def finance(roles: None, settings: Any) -> User:
    settings.SELLER = SELLER
    return user("Finance")


def vat(percent: int, key: str = "", **more: Any) -> None:
    TaxRate.objects.create(key=key or f"vat-{percent}", name="VAT", percent=percent, country="DE", **more)


def issued(finance: User, deal: dict[str, Any] | None = None, **buyer: Any) -> list[Invoice]:
    """What a customer gets for 12,345 calls by tiers and 3 books at 9.99 in January, in order."""
    card = RateCardFactory.create(currency="EUR")
    calls = RateFactory.create(rate_card=card, price=TIERS)
    book = Product.objects.create(key="book", name="Book", kind="subscription", tax_category="books")
    Rate.objects.create(rate_card=card, product=book, price={"model": "per_unit", "unit_amount": "9.99"})
    seats = [{"key": "b", "product": "book", "quantity": "3", "billed": "arrears"}]
    contract = ContractFactory.create(
        customer=CustomerFactory.create(**{**BUYER, **buyer}),
        rate_card=calls.rate_card,
        purchase_order="PO-7",
        deal={"subscriptions": seats, **(deal or {})},
    )
    contract.full_clean()
    send(contract.customer.key, 12345, day(10))
    close_periods(day(2, month=2), contract.key)
    rows = Invoice.objects.filter(contract=contract, status="in_review").order_by("ending_before", "pk")
    return [issue(approve(row.pk, finance).pk, finance) for row in list(rows)]


def everything_credited(invoice: Invoice, finance: User) -> CreditNote:
    asked = request_credit_note(invoice.pk, left_to_credit(invoice), "All of it was wrong.", finance)
    return issue_credit_note(asked.pk, user("Finance", "second"))


def value(xml: bytes, path: str) -> list[str]:
    spaces = {
        "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
        "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
    }
    return [each.text or "" for each in ElementTree.fromstring(xml).iterfind(path, spaces)]  # noqa: S314


DISCOUNTS = {"discounts": [{"percent": "10"}, {"amount": "5"}]}
USUAL: dict[str, Any] = {"percent": 19}
OF_BOOKS: dict[str, Any] = {"percent": 7, "product_category": "books"}
INCLUDED = {"inclusive": True}
# The rates, the deal and what about the customer.
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]] = {
    "one standard rate": ([USUAL], {}, {}),
    "several rates": ([USUAL, OF_BOOKS], {}, {}),
    "a rate of zero for some": ([USUAL, {**OF_BOOKS, "percent": 0, "category": "Z"}], {}, {}),
    "exempt for some": ([USUAL, {**OF_BOOKS, "percent": 0, "category": "E", "note": "Article 132"}], {}, {}),
    "two rates that are the same": ([USUAL, {**OF_BOOKS, "percent": 19, "key": "books"}], {}, {}),
    "one rate for everything": ([], {}, {"tax_rate": D("0.19")}),
    "reverse charge": ([USUAL], {}, {"tax_treatment": "reverse_charge", "country": "AT", "tax_id": "ATU1"}),
    "within the EU": ([USUAL], {}, {"tax_treatment": "intra_community", "country": "AT", "tax_id": "ATU1"}),
    "exempt": ([USUAL], {}, {"tax_treatment": "exempt", "tax_note": "Article 151"}),
    "export": ([USUAL], {}, {"tax_treatment": "export", "country": "US", "tax_id": ""}),
    "outside the scope": ([USUAL], {}, {"tax_treatment": "outside", "country": "US"}),
    "paid in part by a commit": ([USUAL], COMMIT, {}),
    "discounts": ([USUAL, OF_BOOKS], DISCOUNTS, {}),
    "prices that include tax": ([{**USUAL, **INCLUDED}, {**OF_BOOKS, **INCLUDED}], {}, {}),
    "a commit, and prices that include tax": ([{**USUAL, **INCLUDED}], COMMIT, {}),
}


@pytest.mark.django_db
@pytest.mark.parametrize("case", CASES)
def test_every_case_is_valid_as_invoice_and_as_credit_note(case: str, finance: User) -> None:
    rates, deal, buyer = CASES[case]
    for rate in rates:
        vat(**rate)
    for invoice in issued(finance, deal, **buyer):
        xml = xml_of(invoice)
        for each in (xml, factur_x(invoice).content):
            assert faults_of(each) == [], each.decode()
        totals = "cac:LegalMonetaryTotal/cbc:"
        assert [D(each) for each in value(xml, f"{totals}PayableAmount")] == [invoice.total.amount]
        assert [D(each) for each in value(xml, "cac:TaxTotal/cbc:TaxAmount")] == [invoice.tax]
        covered = any(line.kind in ("draw", "discount") for line in invoice.lines.all())
        assert bool(value(xml, "cac:AllowanceCharge/cbc:Amount")) == covered
    if not deal:
        note = everything_credited(invoice, finance)
        xml = xml_of(note)
        for each in (xml, factur_x(note).content):
            assert faults_of(each) == [], each.decode()
        assert [D(each) for each in value(xml, "cac:LegalMonetaryTotal/cbc:PayableAmount")] == [invoice.total.amount]
        assert value(xml, "cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID") == [invoice.number]


@pytest.mark.django_db
def test_what_a_threshold_invoice_billed_is_prepaid(finance: User) -> None:
    vat(19)
    card = RateCardFactory.create(currency="EUR")
    rate = RateFactory.create(rate_card=card, price={"model": "per_unit", "unit_amount": "1"})
    contract = ContractFactory.create(
        customer=CustomerFactory.create(**BUYER), rate_card=rate.rate_card, deal={"spend_threshold": {"amount": "100"}}
    )
    contract.full_clean()
    send(contract.customer.key, 120, day(5))
    bill_thresholds(day(6))
    send(contract.customer.key, 30, day(7))
    close_periods(day(2, month=2), contract.key)
    first = Invoice.objects.get(kind="threshold")
    final = issue(approve(Invoice.objects.get(kind="usage", status="in_review").pk, finance).pk, finance)
    for invoice in (first, final):
        assert faults_of(xml_of(invoice)) == faults_of(factur_x(invoice).content) == []
    xml = xml_of(final)
    assert value(xml, "cac:LegalMonetaryTotal/cbc:PrepaidAmount") == ["142.8"]
    assert value(xml, "cac:BillingReference/cac:InvoiceDocumentReference/cbc:ID") == [first.number]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("seller", "buyer", "field"),
    [
        ({"country": ""}, {}, "seller.country"),
        ({"name": ""}, {}, "seller.name"),
        ({"tax_id": ""}, {}, "seller.tax_id"),
        ({"tax_id": "12/345", "registration": ""}, {}, "seller.registration"),
        ({}, {"country": "", "tax_rate": D("0.19")}, "customer.country"),
        ({}, {"tax_rate": D(0)}, "customer.tax"),
        ({}, {"tax_treatment": "reverse_charge", "tax_id": ""}, "customer.tax.id"),
    ],
)
def test_what_is_missing_is_named(
    finance: User, settings: Any, seller: dict[str, str], buyer: dict[str, Any], field: str
) -> None:
    settings.SELLER = {**SELLER, **seller}
    vat(19)
    (invoice,) = issued(finance, **buyer)
    with pytest.raises(RuleError) as caught:
        xml_of(invoice)
    assert [problem.path for problem in caught.value.problems] == [field]


@pytest.mark.django_db
def test_where_they_are(finance: User, client: Client, tmp_path: Any) -> None:
    vat(19)
    (invoice,) = issued(finance)
    note = everything_credited(invoice, finance)
    _, secret = ApiKey.issue("reader", ["read"])
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    answer = api.get(f"/api/v1/invoices/{invoice.number}.xml")
    assert (answer["Content-Type"], answer.content) == ("application/xml", xml_of(invoice))
    assert api.get(f"/api/v1/credit_notes/{note.number}.xml").content == xml_of(note)
    client.force_login(finance)
    for name, about in (("document_xml", invoice), ("credit_note_xml", note)):
        assert client.get(reverse(f"admin:invoicing_{name}", args=[about.pk])).content.startswith(b"<?xml")
    call_command("write_documents", str(tmp_path), "--format", "xml")
    assert (tmp_path / "INV-000001.xml").read_bytes() == xml_of(invoice)
    Customer.objects.update(country="")
    assert xml_of(Invoice.objects.get(pk=invoice.pk)) == xml_of(invoice)


@pytest.mark.django_db
def test_a_pdf_that_carries_the_invoice(finance: User, tmp_path: Any) -> None:
    """The package factur-x, and any reader of PDF, find what we put there; the same state gives the same bytes."""
    vat(19)
    (invoice,) = issued(finance)
    note = everything_credited(invoice, finance)
    _, secret = ApiKey.issue("reader", ["read"])
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    for kind, about in (("invoices", invoice), ("credit_notes", note)):
        answer = api.get(f"/api/v1/{kind}/{about.number}.pdf?factur_x=true")
        assert answer["Content-Type"] == "application/pdf"
        name, xml = facturx.get_facturx_xml_from_pdf(answer.content, check_xsd=True, check_schematron=False)
        assert (name, xml) == ("factur-x.xml", factur_x(about).content)
        assert answer.content == api.get(f"/api/v1/{kind}/{about.number}.pdf?factur_x=1").content
        read = PdfReader(io.BytesIO(answer.content))
        root: Any = read.trailer["/Root"]
        described = root["/Metadata"].get_data().decode()
        assert "<fx:ConformanceLevel>EN 16931</fx:ConformanceLevel>" in described
        assert 'pdfaid:part="3"' in described
        assert not PdfReader(io.BytesIO(api.get(f"/api/v1/{kind}/{about.number}.pdf").content)).attachments
    assert api.get(f"/api/v1/invoices/{invoice.number}.pdf?factur_x=maybe").status_code == 422
    call_command("write_documents", str(tmp_path), "--format", "factur-x")
    assert PdfReader(tmp_path / "INV-000001.factur-x.pdf").attachments["factur-x.xml"] == [factur_x(invoice).content]


@pytest.mark.django_db
def test_the_api_names_what_is_missing(finance: User, settings: Any) -> None:
    settings.SELLER = {**SELLER, "country": ""}
    vat(19)
    (invoice,) = issued(finance)
    _, secret = ApiKey.issue("reader", ["read"])
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    answer = api.get(f"/api/v1/invoices/{invoice.number}.xml")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "seller.country"


def test_the_rules_do_find_faults() -> None:
    """So that no other test passes because nothing is looked at."""
    party = PartyDetails("Tokens", (), "DE", "DE1")
    today = date(2026, 1, 31)
    line = ELine(1, "Calls", "", D(1), D(10), D(10), "S", D(19), today, today)
    wrong = TaxPart("S", D(19), D(10), D(5))
    for kind in (INVOICE, CREDIT_NOTE):
        document = EDocument(
            kind, "1", today, None, "EUR", today, today, "c", "", party, party, "30 days", (line,), (), (wrong,)
        )
        for xml in (ubl(document), cii(document)):
            assert any("BR-CO-17" in fault for fault in faults_of(xml))


def test_parts_of_one_percentage_are_vat() -> None:
    first = TaxPart("S", D(19), D(1), D("0.19"), "VAT")
    second = TaxPart("S", D(19), D(2), D("0.38"), "Tax")
    assert merged([first, second]) == (TaxPart("S", D(19), D(3), D("0.57"), "VAT Tax"),)
