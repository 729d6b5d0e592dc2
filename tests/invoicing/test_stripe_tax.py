"""Tax by Stripe: asked for before issue, in the books to the cent, told when it holds and when it is taken back."""

from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from billing_project.errors import RuleError
from catalog.models import Product
from invoicing.auto_approval import auto_approve
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, request_credit_note
from invoicing.lifecycle import approve, issue, return_to_review
from invoicing.models import AutoApproval, Invoice, Payment, Status, StripePush, TaxAnswer
from invoicing.payments import Received, record_payment
from invoicing.spend_thresholds import bill_thresholds
from invoicing.tax_terms import asking_nobody
from invoicing.voiding import void
from tests.factories import CustomerFactory, day, reviewed, sell, user
from tests.factories import send as send_usage
from tests.invoicing.stripe_fake import SECRET, Fake, running
from tests.invoicing.test_stripe import only, push, row_of, stored

pytestmark = pytest.mark.django_db
BERLIN = {"country": "DE", "address": "Unter den Linden 1\n10117 Berlin"}
OAKLAND = {"country": "US", "region": "CA", "address": "1 Broadway\nOakland, CA 94607"}


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


@pytest.fixture
def second(finance: User) -> User:
    return user("Finance", "second")


@pytest.fixture
def fake(settings: Any) -> Iterator[Fake]:
    with running() as made:
        settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = "sk_test_fake", SECRET
        settings.STRIPE_API_URL, settings.STRIPE_NETWORK_RETRIES, settings.STRIPE_TIMEOUT_SECONDS = made.url, 0, 20
        settings.STRIPE_TAX = True
        yield made


def invoice_of(**customer: Any) -> Invoice:
    return reviewed(customer=CustomerFactory.create(**customer))


def asked(fake: Fake) -> int:
    return fake.calls.count("POST /v1/tax/calculations")


def recorded(fake: Fake) -> list[tuple[str, int]]:
    return [(row["reference"], row["amount"]) for row in fake.of("tax.transaction")]


def tax_lines(invoice: Invoice) -> list[tuple[str, Decimal]]:
    return list(invoice.lines.filter(kind="tax").values_list("name", "amount"))


def check_books() -> None:
    call_command("check_books", stdout=StringIO())


class TestAsking:
    def test_an_approval_writes_what_stripe_computes(self, fake: Fake, finance: User) -> None:
        """5.00 in Berlin: 19% are 0.95."""
        invoice = invoice_of(**BERLIN)
        assert (invoice.tax, invoice.attention, asked(fake)) == (0, [], 0)
        approve(invoice.pk, finance)
        done = issue(invoice.pk, finance)
        assert (done.total.amount, done.tax, asked(fake)) == (Decimal("5.95"), Decimal("0.95"), 1)
        assert tax_lines(done) == [("VAT 19%", Decimal("0.95"))]
        assert [line.tax_key for line in done.lines.all()] == ["stripe", "stripe"]
        push()
        made = only(fake)
        assert (made["total"], recorded(fake)) == (595, [(done.number, 595)])
        check_books()

    def test_rates_that_add_up_and_products_with_codes_of_their_own(self, fake: Fake, finance: User) -> None:
        """6% and 3.25% of 5.00 in Oakland: 0.30 and 0.16, as Stripe rounds each."""
        invoice = invoice_of(**OAKLAND)
        done = approve(invoice.pk, finance)
        assert tax_lines(done) == [("California + Alameda 9.25%", Decimal("0.46"))]
        free = invoice_of(**OAKLAND)
        Product.objects.update(tax_category="txcd_untaxed")
        other = approve(free.pk, finance)
        assert (tax_lines(other), other.taxes[0]["key"], other.tax) == ([], "stripe:txcd_untaxed", 0)

    def test_reverse_charge(self, fake: Fake, finance: User) -> None:
        done = approve(invoice_of(country="FR", tax_id="FR40303265045").pk, finance)
        (tax,) = done.taxes
        assert (tax["category"], tax["amount"], tax["name"]) == ("AE", "0", "Reverse charge")
        assert tax["note"].startswith("Reverse charge")

    @pytest.mark.parametrize("own", [{"tax_rate": Decimal("0.07")}, {"tax_treatment": "exempt"}])
    def test_terms_of_its_own_come_first(self, fake: Fake, finance: User, own: dict[str, Any]) -> None:
        approve(invoice_of(**BERLIN, **own).pk, finance)
        assert (asked(fake), TaxAnswer.objects.count()) == (0, 0)

    @pytest.mark.parametrize("failure", ["500", "429", "timeout", "lost", "refuse", "nonsense"])
    def test_without_an_answer_nothing_is_approved(self, fake: Fake, finance: User, failure: str) -> None:
        invoice = invoice_of(**BERLIN)
        before = list(invoice.lines.values())
        fake.fail = {1: failure}
        with pytest.raises(RuleError, match="Stripe Tax"):
            approve(invoice.pk, finance)
        now = stored(invoice)
        assert (now.status, now.tax, now.total, list(now.lines.values())) == ("in_review", 0, invoice.total, before)
        assert not TaxAnswer.objects.exists()
        assert approve(invoice.pk, finance).tax == Decimal("0.95")

    @pytest.mark.parametrize(
        ("customer", "missing"),
        [({"address": "Somewhere"}, "needs the country"), ({"country": "US", "region": "CA"}, "needs the postal code")],
    )
    def test_what_an_address_lacks(self, fake: Fake, finance: User, customer: dict[str, Any], missing: str) -> None:
        with pytest.raises(RuleError, match=missing):
            approve(invoice_of(**customer).pk, finance)
        assert fake.calls == []

    def test_what_a_rule_approved_is_asked_for_at_issue(self, fake: Fake, finance: User) -> None:
        AutoApproval.objects.create(currency="USD", largest_total=100)
        invoice = invoice_of(**BERLIN)
        assert auto_approve([invoice]) == 1
        assert stored(invoice).tax == 0
        fake.fail = {1: "500"}
        with pytest.raises(RuleError, match="did not answer"):
            issue(invoice.pk, finance)
        assert (stored(invoice).status, stored(invoice).number) == ("approved", None)
        assert issue(invoice.pk, finance).total.amount == Decimal("5.95")

    def test_returned_to_review_it_is_asked_for_anew(self, fake: Fake, finance: User) -> None:
        invoice = invoice_of(**BERLIN)
        approve(invoice.pk, finance)
        assert return_to_review(invoice.pk, finance).tax == 0
        invoice.customer.country = "FR"
        invoice.customer.save()
        assert approve(invoice.pk, finance).tax == 1

    def test_on_screen(self, fake: Fake, finance: User, client: Client) -> None:
        invoice = invoice_of(**BERLIN)
        client.force_login(finance)
        page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
        assert "Stripe Tax adds the tax when it is approved" in client.get(page).text
        fake.fail = {1: "500"}
        told = client.post(reverse("admin:invoicing_invoice_approve", args=[invoice.pk]), follow=True).text
        assert "Stripe Tax did not answer" in told
        client.post(reverse("admin:invoicing_invoice_approve", args=[invoice.pk]))
        shown = client.get(page).text
        assert "VAT 19%" in shown
        assert "Stripe Tax adds" not in shown


class TestAfterwards:
    def issued(self, finance: User) -> Invoice:
        return issue(approve(invoice_of(**BERLIN).pk, finance).pk, finance)

    def test_a_void_takes_it_back(self, fake: Fake, finance: User) -> None:
        invoice = self.issued(finance)
        push()
        void(invoice.pk, finance, "wrong")
        fake.fail = {len(fake.calls) + 1: "timeout"}
        push()
        push()
        assert recorded(fake) == [(invoice.number, 595), (f"{invoice.number} void", -595)]
        check_books()

    def test_a_void_before_it_was_told(self, fake: Fake, finance: User) -> None:
        invoice = self.issued(finance)
        fake.fail = {2: "500"}
        push()
        void(invoice.pk, finance, "wrong")
        push()
        assert recorded(fake) == []

    def test_a_credit_note_takes_its_part_back(self, fake: Fake, finance: User, second: User) -> None:
        """2.00 and its tax of 0.38."""
        invoice = self.issued(finance)
        push()
        note = issue_credit_note(request_credit_note(invoice.pk, {1: Decimal(2)}, "slow", finance).pk, second)
        push()
        assert recorded(fake) == [(invoice.number, 595), (note.number, -238)]
        check_books()

    def test_paid_by_hand_before_it_was_pushed(self, fake: Fake, finance: User) -> None:
        invoice = self.issued(finance)
        record_payment(invoice.pk, Received(Decimal("5.95"), day(20, month=2), "hand:1"), finance)
        push()
        assert (recorded(fake), fake.of("invoice")) == ([(invoice.number, 595)], [])
        assert push().startswith("0 steps done")
        assert Payment.objects.count() == 1

    @pytest.mark.parametrize("failure", ["500", "429", "timeout", "lost", "kill"])
    def test_it_is_told_once_whatever_happens(self, fake: Fake, finance: User, failure: str) -> None:
        invoice = self.issued(finance)
        fake.fail = {2: failure}
        if failure == "kill":
            with pytest.raises(KeyboardInterrupt):
                push()
        else:
            push()
        push()
        push()
        assert recorded(fake) == [(invoice.number, 595)]
        assert not StripePush.objects.filter(done_at=None).exists()
        assert row_of(invoice).blocked is False


class TestThresholds:
    def test_the_tax_of_a_period_is_the_sum_of_its_invoices(self, fake: Fake, finance: User) -> None:
        """10.00 and then 15.00 at the thresholds, 5.05 at the end: 30.05 with 5.71 of tax, to the cent."""
        customer = CustomerFactory.create(**BERLIN)
        (contract,) = sell(customer=customer, used=[20], deal={"spend_threshold": {"amount": "10"}})
        assert bill_thresholds(day(11)) == 1
        send_usage(customer.key, 30, day(12))
        assert bill_thresholds(day(13)) == 1
        send_usage(customer.key, "10.1", day(14))
        close_periods(day(2, month=2), contract.key)
        final = Invoice.objects.get(kind="usage")
        done = issue(approve(final.pk, finance).pk, finance)
        assert (done.tax, done.taxes[0]["base"]) == (Decimal("5.71"), "30.05")
        totals = list(Invoice.objects.order_by("pk").values_list("total", flat=True))
        assert totals == [Decimal("11.90"), Decimal("17.85"), Decimal("6.01")]
        push()
        assert [amount for _, amount in recorded(fake)] == [1190, 1785, 601]
        assert [row["total"] for row in fake.of("invoice")] == [1190, 1785, 601]
        check_books()

    def test_without_an_answer_no_threshold_invoice_is_written(self, fake: Fake, finance: User) -> None:
        sell(customer=CustomerFactory.create(**BERLIN), used=[20], deal={"spend_threshold": {"amount": "10"}})
        fake.fail = {1: "500"}
        with pytest.raises(RuleError, match="did not answer"):
            bill_thresholds(day(11))
        assert not Invoice.objects.exists()
        assert bill_thresholds(day(11)) == 1

    def test_less_than_was_billed_is_refused(self, fake: Fake, finance: User) -> None:
        """A credit note over late usage is the way; Stripe Tax takes nothing below zero."""
        tiers = [{"up_to": 20, "unit_amount": "0.5"}, {"unit_amount": "0.1"}]
        price = {"model": "volume", "tiers": tiers}
        customer = CustomerFactory.create(**BERLIN)
        sell(customer=customer, price=price, used=[20], deal={"spend_threshold": {"amount": "10"}})
        assert bill_thresholds(day(11)) == 1
        send_usage(customer.key, 5, day(12))
        close_periods(day(2, month=2))
        final = Invoice.objects.get(kind="usage")
        with pytest.raises(RuleError, match="takes no amounts below zero"):
            approve(final.pk, finance)
        assert stored(final).status == Status.IN_REVIEW


def test_a_simulation_asks_nobody(fake: Fake, finance: User) -> None:
    with asking_nobody():
        approve(invoice_of(**BERLIN).pk, finance)
    assert fake.calls == []


def test_it_is_off_without_the_setting_and_without_keys(fake: Fake, finance: User, settings: Any) -> None:
    settings.STRIPE_TAX = False
    approve(invoice_of(**BERLIN).pk, finance)
    settings.STRIPE_TAX, settings.STRIPE_SECRET_KEY = True, ""
    approve(invoice_of(**BERLIN).pk, finance)
    assert fake.calls == []
