"""Invoices and credit notes as the customer gets them: what stands on them, in every format."""

import csv
import io
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader
from rest_framework.test import APIClient

from billing_project.errors import RuleError
from billing_project.models import ApiKey
from catalog.models import Product, Rate, TaxRate
from catalog.money import add
from contracts.models import Customer
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, request_credit_note
from invoicing.document_text import Words
from invoicing.documents import ShownDocument, ShownLine, Total, html, shown_credit_note, shown_invoice
from invoicing.lifecycle import approve, issue
from invoicing.models import CreditNote, Invoice
from invoicing.payments import Received, record_payment
from invoicing.pdf import pdf_of
from invoicing.usage_detail import usage_detail
from invoicing.usage_shares import shared_out
from tests.factories import CustomerFactory, MeterFactory, RateFactory, day, reviewed, sell, send, user

D = Decimal
SELLER = {
    "name": "Tokens Inc",
    "address": "1 Main St\n10115 Berlin",
    "country": "DE",
    "tax_id": "DE111111111",
    "email": "ar@tokens.test",
    "iban": "DE02120300000000202051",
    "note": "Registered in Berlin, HRB 1",
}
WINDOW = {"starting_at": "2026-01-01", "ending_before": "2027-01-01"}
TIERS = {
    "model": "graduated",
    "tiers": [{"up_to": "4000", "unit_amount": "1.25"}, {"unit_amount": "0.50", "flat_amount": "7"}],
}


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


@pytest.fixture
def invoice(finance: User, settings: Any) -> Invoice:
    """Usage over 9,179.50, of which a commit covers 5,000, and books over 14,814.81; two rates of tax, a payment."""
    settings.SELLER = SELLER
    TaxRate.objects.create(key="de-19", name="VAT", percent=19, country="DE")
    TaxRate.objects.create(key="de-7", name="VAT", percent=7, country="DE", product_category="books")
    customer = CustomerFactory.create(
        name="Beispiel <GmbH>",
        country="DE",
        locale="de",
        address="Lange Straße 7\n20095 Hamburg",
        tax_id="DE123456789",
    )
    commit = {"key": "y1", "access": [{"amount": "6000", **WINDOW}]}
    (contract,) = sell(
        customer=customer, price=TIERS, used=[8000, 345], purchase_order="PO-4711", deal={"commits": [commit]}
    )
    book = Product.objects.create(key="book", name="Book", kind="subscription", tax_category="books")
    Rate.objects.create(
        rate_card=contract.rate_card, product=book, price={"model": "per_unit", "unit_amount": "1234.5678"}
    )
    contract.deal = {
        **contract.deal,
        "subscriptions": [{"key": "b", "product": "book", "quantity": "12", "billed": "arrears"}],
    }
    contract.full_clean()
    contract.save()
    close_periods(day(2, month=2), contract.key)
    made = issue(approve(Invoice.objects.get().pk, finance).pk, finance)
    record_payment(made.pk, Received(D(100), day(10, month=2), "hand:1", reference="transfer 7"), finance)
    return Invoice.objects.get(pk=made.pk)


@pytest.fixture
def credit_note(invoice: Invoice, finance: User) -> CreditNote:
    books = invoice.lines.get(product="book")
    asked = request_credit_note(invoice.pk, {books.position: D(1000)}, "One came back.", finance)
    return issue_credit_note(asked.pk, user("Finance", "second"))


@pytest.fixture
def api(db: None) -> APIClient:
    _, secret = ApiKey.issue("reader", ["read"])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def text_of(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


@pytest.mark.django_db
class TestWhatStandsOnThem:
    def test_an_invoice(self, invoice: Invoice) -> None:
        text = text_of(pdf_of(html(shown_invoice(invoice), paged=True)))
        for part in (
            *("INV-000001", "Tokens Inc", "DE111111111", "Beispiel <GmbH>", "Lange Straße 7", "DE123456789"),
            *("PO-4711", "01.01.2026 – 31.01.2026", "USD", "Covered by y1", "Page 1 of", "Registered in Berlin"),
            *("VAT 19% on 1.179,50 USD", "224,11 USD", "VAT 7% on 14.814,81 USD", "1.037,04 USD"),
            *("Paid 10.02.2026, transfer 7", "-100,00 USD", "17.155,46 USD", "IBAN", "DE02120300000000202051"),
        ):
            assert part in text, (part, text)

    def test_what_a_commit_paid_and_what_is_left_of_it_stays_as_it_was(self, invoice: Invoice, finance: User) -> None:
        (balance,) = shown_invoice(invoice).balances
        assert (balance.name, balance.drawn, balance.left) == ("y1", "6.000,00 USD", "0,00 USD")
        send(invoice.customer.key, 10, day(10, month=2))
        close_periods(day(2, month=3), invoice.contract.key)
        following = Invoice.objects.get(starting_at=day(1, month=2))
        issue(approve(following.pk, finance).pk, finance)
        assert shown_invoice(invoice).balances == (balance,)

    def test_parties_are_those_of_the_issue(self, invoice: Invoice, settings: Any) -> None:
        before = html(shown_invoice(invoice))
        Customer.objects.update(name="Renamed", address="elsewhere", tax_id="", locale="fr", country="FR")
        settings.SELLER = {"name": "Successor"}
        assert html(shown_invoice(Invoice.objects.get(pk=invoice.pk))) == before

    def test_a_credit_note(self, credit_note: CreditNote) -> None:
        text = text_of(pdf_of(html(shown_credit_note(credit_note), paged=True)))
        for part in (
            "CN-000001",
            "INV-000001",
            "One came back.",
            "1.000,00 USD",
            "VAT 7%",
            "70,00 USD",
            "1.070,00 USD",
        ):
            assert part in text
        invoice = Invoice.objects.get()
        assert "Credited by CN-000001" in text_of(pdf_of(html(shown_invoice(invoice))))

    def test_reverse_charge_names_both_tax_ids_and_the_law(self, finance: User, settings: Any) -> None:
        settings.SELLER = SELLER
        customer = CustomerFactory.create(country="AT", tax_id="ATU12345678", tax_treatment="reverse_charge")
        (contract,) = sell(customer=customer)
        close_periods(day(2, month=2), contract.key)
        made = issue(approve(Invoice.objects.get().pk, finance).pk, finance)
        page = html(shown_invoice(made))
        assert "DE111111111" in page
        assert "ATU12345678" in page
        assert "Article 196 of Directive 2006/112/EC" in page

    def test_the_same_state_gives_the_same_bytes(self, invoice: Invoice) -> None:
        first, second = (pdf_of(html(shown_invoice(invoice), paged=True)) for _ in range(2))
        assert first == second


def test_five_hundred_lines_fill_numbered_pages_with_their_heading() -> None:
    line = ShownLine("Output tokens", ("model=large, region=eu",), "1,234", "0.50 USD", "", "617.00 USD")
    shown = ShownDocument(
        title="Invoice INV-1", heading="Invoice", warning="", draft=False, seller=SELLER, addressed="Bill to",
        bill_to={"name": "Acme"}, facts=(("Invoice number", "INV-1"),),
        columns=("Description", "Quantity", "Unit price", "Amount"), lines=(line,) * 500,
        sums=(Total("Amount due", "308,500.00 USD", strong=True),),
    )  # fmt: skip
    pages = PdfReader(io.BytesIO(pdf_of(html(shown, paged=True)))).pages
    texts = [page.extract_text() for page in pages]
    assert len(pages) > 10
    assert sum(text.count("Output tokens") for text in texts) == 500
    for number, text in enumerate(texts, start=1):
        assert f"Page {number} of {len(pages)}" in text
        assert "Invoice INV-1" in text
        if "Output tokens" in text:
            assert "UNIT PRICE" in text.upper()


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(RuleError, match=r"countinghouse\[pdf\].*libpango-1.0-0"):
        pdf_of("<p>x</p>")


def test_a_page_fetches_nothing_from_outside() -> None:
    assert pdf_of('<img src="file:///etc/hostname"><img src="http://127.0.0.1:9/x">')


@pytest.mark.parametrize(
    ("locale", "amount", "price", "span"),
    [
        ("", "1,234.50 USD", "0.00000005 USD", "1 – 31 Jan 2026"),
        ("de", "1.234,50 USD", "0,00000005 USD", "01.01.2026 – 31.01.2026"),
        ("fr", "1\u202f234,50 USD", "0,00000005 USD", "01/01/2026 – 31/01/2026"),
        ("nl", "1.234,50 USD", "0,00000005 USD", "01-01-2026 – 31-01-2026"),
    ],
)
def test_numbers_and_days_are_written_as_the_customer_does(locale: str, amount: str, price: str, span: str) -> None:
    words = Words(locale, ZoneInfo("UTC"), "USD")
    assert words.amount(D("1234.5")) == amount
    assert words.unit_price(D("0.00000005")) == price
    assert words.span(day(1), day(1, month=2)) == span
    assert Words(locale, ZoneInfo("UTC"), "JPY").amount(D(1234))[-5:] == "4 JPY"


@pytest.mark.django_db
class TestWhereTheyAre:
    def test_in_the_admin(self, invoice: Invoice, credit_note: CreditNote, finance: User, client: Client) -> None:
        client.force_login(finance)
        for name, about in (("document_pdf", invoice), ("credit_note_pdf", credit_note)):
            answer = client.get(reverse(f"admin:invoicing_{name}", args=[about.pk]))
            assert answer.content.startswith(b"%PDF-")
            assert f'filename="{about.number}.pdf"' in answer["Content-Disposition"]
        page = client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()
        for name in ("document_pdf", "usage_csv"):
            assert reverse(f"admin:invoicing_{name}", args=[invoice.pk]) in page
        client.force_login(user("Service"))
        assert client.get(reverse("admin:invoicing_document_pdf", args=[invoice.pk])).status_code == 403

    def test_by_the_api(self, invoice: Invoice, credit_note: CreditNote, api: APIClient) -> None:
        for number in ("INV-000001", str(invoice.pk)):
            answer = api.get(f"/api/v1/invoices/{number}.pdf", headers={"accept": "application/pdf"})
            assert (answer.status_code, answer["Content-Type"]) == (200, "application/pdf")
        assert b"INV-000001" in api.get("/api/v1/invoices/INV-000001.html").content
        assert api.get("/api/v1/credit_notes/CN-000001.pdf").content.startswith(b"%PDF-")
        for missing in ("invoices/INV-9.pdf", "credit_notes/CN-9.pdf", "invoices/INV-9/usage.csv"):
            assert api.get(f"/api/v1/{missing}").status_code == 404
        assert APIClient().get("/api/v1/invoices/INV-000001.pdf").status_code == 401
        schema = api.get("/api/schema/?format=json").json()
        assert (
            "application/pdf" in schema["paths"]["/api/v1/invoices/{number}.pdf"]["get"]["responses"]["200"]["content"]
        )

    def test_a_draft_is_not_there_by_number(self, api: APIClient) -> None:
        assert api.get(f"/api/v1/invoices/{reviewed().pk}.pdf").status_code == 404

    def test_many_into_a_folder(
        self, credit_note: CreditNote, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call_command("write_documents", str(tmp_path))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["CN-000001.pdf", "INV-000001.pdf"]
        before = (tmp_path / "INV-000001.pdf").read_bytes()
        call_command("write_documents", str(tmp_path))
        assert "0 documents written" in capsys.readouterr().out
        call_command("write_documents", str(tmp_path), "--anew")
        assert (tmp_path / "INV-000001.pdf").read_bytes() == before
        call_command("write_documents", str(tmp_path), "--format", "csv")
        assert (tmp_path / "INV-000001.usage.csv").exists()
        with pytest.raises(CommandError, match="no issued document INV-9"):
            call_command("write_documents", str(tmp_path), "--number", "INV-9")


def sums(rows: list[list[str]]) -> dict[int, Decimal]:
    found: dict[int, Decimal] = {}
    for row in rows:
        if row[10]:
            found[int(row[0])] = add([found.get(int(row[0]), D(0)), D(row[10])])
    return found


@pytest.mark.django_db
class TestUsageDetail:
    def rows(self, invoice: Invoice) -> list[list[str]]:
        return list(csv.reader(usage_detail(invoice)))[1:]

    def test_adds_up_to_every_line_also_where_a_commit_split_one(self, invoice: Invoice) -> None:
        lines = dict(invoice.lines.filter(kind="usage").values_list("position", "quantity"))
        assert len(lines) == 2
        assert sums(self.rows(invoice)) == lines

    def test_what_came_later_is_named(self, finance: User) -> None:
        made = issue(approve(reviewed().pk, finance).pk, finance)
        send(made.customer.key, 7, day(20), event_id="late")
        *events, difference = self.rows(made)
        assert [row[10] for row in events] == ["10", "7"]
        assert (difference[10], difference[11][:13]) == ("-7", "Differs since")

    def test_a_largest_value_is_listed_with_its_events(self, finance: User) -> None:
        meter = MeterFactory.create(aggregation="max")
        rate = RateFactory.create(product__meter=meter)
        (contract,) = sell(used=())
        contract.rate_card = rate.rate_card
        contract.save()
        for number, units in enumerate((3, 9, 4)):
            send(contract.customer.key, units, day(10 + number))
        close_periods(day(2, month=2), contract.key)
        made = issue(approve(Invoice.objects.get(contract=contract).pk, finance).pk, finance)
        rows = self.rows(made)
        assert [(row[9], row[10], row[11]) for row in rows] == [
            ("3", "", ""), ("9", "", ""), ("4", "", ""), ("", "9", "max of 3 events"),
        ]  # fmt: skip

    def test_by_the_api(self, invoice: Invoice, api: APIClient) -> None:
        answer = api.get("/api/v1/invoices/INV-000001/usage.csv", headers={"accept": "text/csv"})
        text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
        assert text.startswith("line,product,name,group,meter,time,customer,event_type,event,value,quantity,note")
        assert text.count("api.call") == 3  # two events, one of them on the boundary between two lines


quantities = st.decimals(-50, 50, places=1)


@given(st.lists(quantities, max_size=20), st.lists(quantities, min_size=1, max_size=4))
def test_every_line_adds_up_whatever_events_there_are(values: list[Decimal], lines: list[Decimal]) -> None:
    wanted = list(enumerate(lines, start=1))
    found = {position: D(0) for position, _ in wanted}
    given_out: dict[int, Decimal] = {}
    for position, event, quantity in shared_out(enumerate(values), wanted):
        found[position] += quantity
        if event is not None:
            given_out[event] = given_out.get(event, D(0)) + quantity
    assert found == dict(wanted)
    assert given_out == dict(enumerate(values))
