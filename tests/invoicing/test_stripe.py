"""The exchange with Stripe, against a small Stripe of our own that fails on demand."""

import json
import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.db import connection
from django.db.models import Sum
from django.test import Client
from django.urls import reverse

from billing_project.errors import ConflictError
from billing_project.locks import lock_number
from contracts.models import Customer
from invoicing import stripe_sync
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, request_credit_note
from invoicing.lifecycle import approve, issue
from invoicing.lines_by_hand import Written, add_line
from invoicing.models import Invoice, MirroredObject, Payment, Status, StripeCustomer, StripeEvent, StripePush
from invoicing.payments import Received, record_payment, reverse_payment, write_off
from invoicing.stripe_pushing import find_due, push_due, retry
from invoicing.voiding import void
from tests.factories import ContractFactory, CustomerFactory, RateFactory, day, reviewed, user
from tests.factories import send as send_usage
from tests.invoicing.stripe_fake import SECRET, Fake, running, send

pytestmark = pytest.mark.django_db


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
        yield made


def issued(finance: User, **terms: Any) -> Invoice:
    """5.00 USD before tax, 19% tax: 5.95."""
    given = {"name": "Acme", "email": "pay@acme.test", "address": "1 Main St\nSpringfield", "tax_id": "DE123"}
    customer = CustomerFactory.create(tax_rate=Decimal("0.19"), **given)
    invoice = reviewed(**{"customer": customer, **terms})
    return issue(approve(invoice.pk, finance).pk, finance)


def push() -> str:
    """Push what is due, as soon as it may be tried again."""
    StripePush.objects.update(next_attempt_at=None)
    out = StringIO()
    call_command("push_to_stripe", stdout=out, stderr=StringIO())
    return out.getvalue()


def only(fake: Fake) -> dict[str, Any]:
    (row,) = fake.of("invoice")
    return row


def row_of(invoice: Invoice, step: str = "invoice") -> StripePush:
    return StripePush.objects.get(invoice=invoice, step=step)


def stored(invoice: Invoice) -> Invoice:
    return Invoice.objects.get(pk=invoice.pk)


def bank(amount: str, source: str = "hand:1") -> Received:
    return Received(Decimal(amount), day(20, month=2), source)


def check_pushed(fake: Fake, invoice: Invoice) -> None:
    """One customer, one invoice in Stripe, with the lines and the total of ours."""
    made = only(fake)
    assert len(fake.of("customer")) == 1
    assert (made["status"], made["total"], made["number"]) == ("open", 595, invoice.number)
    assert sorted(item["amount"] for item in fake.of("invoiceitem")) == [95, 500]
    assert row_of(invoice).stripe_id == made["id"]


class TestPush:
    def test_an_issued_invoice(self, fake: Fake, finance: User) -> None:
        invoice = issued(finance)
        assert push().startswith("1 steps done, 0 to be tried again later, 0 stopped")
        check_pushed(fake, invoice)
        made = only(fake)
        assert (made["collection_method"], made["days_until_due"], made["auto_advance"]) == ("send_invoice", 30, True)
        assert (made["sent"], made["pending_invoice_items_behavior"]) == (1, "exclude")
        assert made["custom_fields"] == [{"name": "Tax ID", "value": "DE123"}]
        assert fake.of("customer")[0]["address"] == {"line1": "1 Main St", "line2": "Springfield"}
        words = [item["description"] for item in fake.of("invoiceitem")]
        assert words == [f"{invoice.lines.get(position=1).name}, 10 × 0.5 USD", "Tax 19%"]
        row = row_of(invoice)
        assert (row.stripe_status, row.hosted_url) == ("open", f"https://invoice.stripe.test/{made['id']}")

    def test_again_changes_nothing(self, fake: Fake, finance: User) -> None:
        issued(finance)
        push()
        calls = len(fake.calls)
        assert push().startswith("0 steps done")
        assert len(fake.calls) == calls

    def test_charged_automatically(self, fake: Fake, finance: User) -> None:
        invoice = issued(finance)
        StripeCustomer.objects.create(customer=invoice.customer, collection="charge_automatically")
        push()
        made = only(fake)
        assert (made["collection_method"], made["sent"], made["auto_advance"]) == ("charge_automatically", 0, True)
        assert "days_until_due" not in made

    def test_a_customer_changed_since_is_brought_up_to_date(self, fake: Fake, finance: User) -> None:
        invoice = issued(finance)
        push()
        Customer.objects.update(name="Acme & Sons")
        send_usage(invoice.customer.key, 2, day(10, month=2))
        close_periods(day(2, month=3))
        issue(approve(Invoice.objects.get(status=Status.IN_REVIEW).pk, finance).pk, finance)
        push()
        (customer,) = fake.of("customer")
        assert customer["name"] == "Acme & Sons"
        assert [row["customer"] for row in fake.of("invoice")] == [customer["id"]] * 2

    def test_more_lines_than_stripe_takes(self, fake: Fake, finance: User, second: User) -> None:
        invoice = reviewed()
        for number in range(1, 261):
            add_line(invoice.pk, Written(f"Line {number}", Decimal(number) / 100, "r"), second)
        issue(approve(invoice.pk, finance).pk, finance)
        push()
        total = sum(range(1, 261)) + 500
        assert (len(fake.of("invoiceitem")), only(fake)["total"], only(fake)["status"]) == (250, total, "open")

    def test_totals_that_differ_stop_it_as_a_draft(self, fake: Fake, finance: User) -> None:
        invoice = issued(finance)
        fake.spoil_totals = True
        assert "1 stopped" in push()
        row = row_of(invoice)
        assert (only(fake)["status"], row.blocked) == ("draft", True)
        assert row.last_error == "Stripe's total is 5.96 USD, ours $5.95: it stays a draft there."

    def test_paid_elsewhere_before_it_was_pushed(self, fake: Fake, finance: User) -> None:
        record_payment(issued(finance).pk, bank("5.95"), finance)
        push()
        assert fake.of("invoice") == []

    def test_paid_in_part_before_it_was_pushed(self, fake: Fake, finance: User) -> None:
        """1.00 of 5.95: nothing is collected or sent before Stripe knows that 4.95 is left."""
        invoice = issued(finance)
        record_payment(invoice.pk, bank("1", "hand:2"), finance)
        fake.fail = dict.fromkeys(range(7, 12), "lost")
        push()
        assert (only(fake)["auto_advance"], only(fake)["sent"], only(fake)["status"]) == (False, 0, "open")
        fake.fail = {}
        push()
        assert (only(fake)["auto_advance"], only(fake)["sent"], only(fake)["amount_remaining"]) == (True, 1, 495)


class TestConnection:
    def test_a_run_takes_one_connection(self, fake: Fake, finance: User) -> None:
        issued(finance)
        issued(finance)
        assert push().startswith("2 steps done")
        assert (fake.connections, len(fake.of("customer"))) == (1, 2)

    def test_each_thread_has_its_own(self, fake: Fake) -> None:
        def ask() -> None:
            stripe_sync.client().v1.invoices.list({"customer": "cus_1"})

        for asking in [threading.Thread(target=ask) for _ in range(2)]:
            asking.start()
            asking.join()
        ask()
        ask()
        assert fake.connections == 3

    def test_a_forked_process_has_its_own(self, fake: Fake) -> None:
        stripe_sync.client().v1.invoices.list({"customer": "cus_1"})
        child = os.fork()
        if not child:
            try:
                stripe_sync.client().v1.invoices.list({"customer": "cus_1"})
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        stripe_sync.client().v1.invoices.list({"customer": "cus_1"})
        assert (fake.connections, len(fake.calls)) == (2, 3)

    def test_one_that_was_closed_meanwhile_is_made_again(self, fake: Fake, finance: User, settings: Any) -> None:
        first = issued(finance)
        push()
        fake.hang_up()
        second = issued(finance)
        assert push().startswith("1 steps done, 0 to be tried again later")
        assert (fake.connections, len(fake.of("invoice"))) == (2, 2)
        assert row_of(first).stripe_id != row_of(second).stripe_id


class TestFailures:
    """A push makes seven calls: customer, invoice, two items, the comparison, finalising, sending."""

    CALLS = 7

    @pytest.mark.parametrize("failure", ["500", "429", "timeout", "lost", "kill"])
    def test_each_call_fails_once(self, fake: Fake, finance: User, failure: str) -> None:
        invoice = issued(finance)
        for call in range(1, self.CALLS + 1):
            fake.forget()
            StripePush.objects.all().delete()
            StripeCustomer.objects.all().delete()
            fake.fail = {call: failure}
            if failure == "kill":
                with pytest.raises(KeyboardInterrupt):
                    push()
            else:
                assert "0 steps done, 1 to be tried again later" in push(), call
                assert row_of(invoice).next_attempt_at is not None
            assert fake.fail == {}
            assert push().startswith("1 steps done"), call
            check_pushed(fake, invoice)

    def test_every_call_fails_in_turn(self, fake: Fake, finance: User) -> None:
        invoice = issued(finance)
        kinds = ["500", "timeout", "429", "lost"]
        fake.fail = {number: kinds[number // 3 % 4] for number in range(2, 80, 3)}
        for _ in range(40):
            if "1 steps done" in push():
                break
        check_pushed(fake, invoice)

    def test_an_unknown_error_stops_this_invoice_until_somebody_retries(self, fake: Fake, finance: User) -> None:
        first, other = issued(finance), issued(finance)
        fake.fail = {2: "refuse"}
        assert push().startswith("1 steps done, 0 to be tried again later, 1 stopped")
        row = row_of(first)
        assert (row.blocked, row.last_error) == (True, "Stripe does not like it. (brand_new_error)")
        assert row_of(other).stripe_status == "open"
        assert push().startswith("0 steps done")
        with pytest.raises(PermissionDenied, match="retry_stripe"):
            retry(row.pk, user("Sales ops"))
        retry(row.pk, finance)
        assert push().startswith("1 steps done")
        with pytest.raises(ConflictError, match="done already"):
            retry(row.pk, finance)
        assert sorted(made["number"] for made in fake.of("invoice")) == [first.number, other.number]

    def test_an_answer_nobody_understands_stops_this_invoice_only(self, fake: Fake, finance: User) -> None:
        first, other = issued(finance), issued(finance)
        fake.fail = {2: "nonsense"}
        assert push().startswith("1 steps done, 0 to be tried again later, 1 stopped")
        assert (row_of(first).blocked, row_of(other).stripe_status) == (True, "open")
        assert row_of(first).last_error.startswith(("KeyError", "AttributeError"))
        retry(row_of(first).pk, finance)
        assert push().startswith("1 steps done")

    def test_a_credit_note_stripe_cannot_take_stops_nothing_else(self, fake: Fake, finance: User, second: User) -> None:
        """0.228 KWD: Stripe counts dinars in hundredths. Said of this note; the next invoice is pushed."""
        rate = RateFactory.create(rate_card__currency="KWD")
        contract = ContractFactory.create(rate_card=rate.rate_card)
        send_usage(contract.customer.key, 10, day(10))
        close_periods(day(2, month=2), contract.key)
        invoice = issue(approve(Invoice.objects.get(contract=contract).pk, finance).pk, finance)
        push()
        issue_credit_note(request_credit_note(invoice.pk, {1: Decimal("0.228")}, "slow", finance).pk, second)
        other = issued(finance)
        assert push().startswith("1 steps done, 0 to be tried again later, 1 stopped")
        assert row_of(invoice, "credit_note").last_error.startswith("Stripe takes no 0.228 KWD")
        assert row_of(other).stripe_status == "open"

    def test_a_wrong_key_stops_nothing(self, fake: Fake, finance: User, settings: Any) -> None:
        invoice = issued(finance)
        settings.STRIPE_SECRET_KEY = "sk_test_mistyped"
        push()
        assert (row_of(invoice).blocked, row_of(invoice).last_error) == (False, "Invalid API Key provided")
        settings.STRIPE_SECRET_KEY = "sk_test_fake"
        push()
        check_pushed(fake, invoice)


class TestAfterwards:
    def test_a_void(self, fake: Fake, finance: User) -> None:
        invoice = issued(finance)
        push()
        void(invoice.pk, finance, "wrong")
        fake.fail = {len(fake.calls) + 2: "timeout"}
        push()
        push()
        assert only(fake)["status"] == row_of(invoice).stripe_status == "void"

    def test_a_void_before_it_was_finished(self, fake: Fake, finance: User) -> None:
        invoice = issued(finance)
        fake.fail = {4: "lost"}
        push()
        void(invoice.pk, finance, "wrong")
        assert only(fake)["status"] == "draft"
        push()
        assert (fake.of("invoice"), row_of(invoice).stripe_status, row_of(invoice, "void").blocked) == (
            [],
            "deleted",
            False,
        )

    def test_a_credit_note_on_what_is_open_and_on_what_is_paid(self, fake: Fake, finance: User, second: User) -> None:
        """2.00 with tax 2.38 of 5.95 open; then 3.57 is paid, and 1.00 with tax 1.19 goes back elsewhere."""
        invoice = issued(finance)
        push()
        note = request_credit_note(invoice.pk, {1: Decimal(2)}, "slow", finance)
        issue_credit_note(note.pk, second)
        fake.fail = {len(fake.calls) + 2: "timeout"}
        push()
        push()
        assert (len(fake.of("credit_note")), only(fake)["amount_remaining"]) == (1, 357)
        fake.pay(only(fake)["id"])
        fake.deliver(Client())
        assert stored(invoice).status == Status.PAID
        issue_credit_note(request_credit_note(invoice.pk, {1: Decimal(1)}, "slower", finance).pk, second)
        push()
        assert [row.get("out_of_band_amount") for row in fake.of("credit_note")] == [None, 119]
        assert not StripePush.objects.filter(done_at=None).exists()

    def test_paid_by_hand_is_told(self, fake: Fake, finance: User) -> None:
        invoice = issued(finance)
        push()
        record_payment(invoice.pk, bank("5.95"), finance)
        push()
        assert fake.deliver(Client()) == [200] * 4
        assert only(fake)["status"] == row_of(invoice).stripe_status == "paid"
        assert Payment.objects.count() == 1

    def test_uncollectible(self, fake: Fake, finance: User) -> None:
        invoice = issued(finance)
        push()
        write_off(invoice.pk, finance, "gone")
        push()
        assert only(fake)["status"] == row_of(invoice).stripe_status == "uncollectible"
        fake.pay(only(fake)["id"])
        fake.deliver(Client())
        assert stored(invoice).status == Status.PAID


class TestPaidInPartByHand:
    """Stripe asks for the rest only, and what it says was paid is not counted twice."""

    def pushed(self, fake: Fake, finance: User) -> Invoice:
        invoice = issued(finance)
        push()
        fake.events.clear()
        record_payment(invoice.pk, bank("2", "hand:1"), finance)
        return invoice

    def test_stripe_asks_for_the_rest(self, fake: Fake, finance: User) -> None:
        invoice = self.pushed(fake, finance)
        push()
        assert push().startswith("0 steps done")
        assert (only(fake)["amount_remaining"], only(fake)["sent"], len(fake.of("payment_record"))) == (395, 1, 1)
        fake.pay(only(fake)["id"])
        fake.deliver(Client())
        assert list(Payment.objects.values_list("amount", "method")) == [
            (2, "bank_transfer"),
            (Decimal("3.95"), "stripe"),
        ]
        assert stored(invoice).status == Status.PAID

    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.parametrize("first", ["Stripe", "hand"])
    def test_both_pay_parts(self, fake: Fake, finance: User, first: str, order: int) -> None:
        """1.95 in Stripe, 2.00 by hand and 2.00 in Stripe, told in any order."""
        invoice = self.pushed(fake, finance)
        if first == "hand":
            push()
        fake.pay(only(fake)["id"], 195)
        push()
        fake.pay(only(fake)["id"])
        fake.deliver(Client(), fake.events[::order])
        fake.deliver(Client())
        paid = dict(Payment.objects.values_list("method").annotate(Sum("amount")))
        assert paid == {"stripe": Decimal("3.95"), "bank_transfer": Decimal(2)}
        assert (stored(invoice).status, row_of(invoice).warning) == (Status.PAID, "")

    def test_a_second_part_that_settles_it(self, fake: Fake, finance: User) -> None:
        invoice = self.pushed(fake, finance)
        push()
        record_payment(invoice.pk, bank("3.95", "hand:2"), finance)
        push()
        fake.deliver(Client())
        assert (only(fake)["status"], stored(invoice).status) == ("paid", Status.PAID)
        assert Payment.objects.count() == 2

    @pytest.mark.parametrize("failure", ["500", "429", "timeout", "lost", "kill"])
    def test_each_call_fails_once(self, fake: Fake, finance: User, failure: str) -> None:
        """Four calls: what is open, the report, its attachment, how it stands."""
        for number in range(1, 5):
            invoice = self.pushed_again(fake, finance, number)
            before = len(fake.of("invoice_payment"))
            fake.fail = {len(fake.calls) + number: failure}
            if failure == "kill":
                with pytest.raises(KeyboardInterrupt):
                    push()
            else:
                assert "1 to be tried again later" in push()
            push()
            told = fake.objects[row_of(invoice).stripe_id]
            assert (told["amount_remaining"], len(fake.of("invoice_payment"))) == (395, before + 1), number
            assert row_of(invoice, "payment").done_at is not None

    def pushed_again(self, fake: Fake, finance: User, number: int) -> Invoice:
        invoice = issued(finance)
        push()
        record_payment(invoice.pk, bank("2", f"hand:{number}"), finance)
        return invoice

    def test_long_after_the_keys_are_forgotten(self, fake: Fake, finance: User) -> None:
        self.pushed(fake, finance)
        fake.fail = {len(fake.calls) + 3: "timeout"}
        push()
        fake.answers.clear()
        push()
        assert (only(fake)["amount_remaining"], len(fake.of("invoice_payment"))) == (395, 1)

    def test_one_that_bounces(self, fake: Fake, finance: User) -> None:
        invoice = self.pushed(fake, finance)
        reverse_payment(Payment.objects.get().pk, finance, "bounced")
        push()
        assert (only(fake)["amount_remaining"], fake.of("payment_record")) == (595, [])
        later = record_payment(invoice.pk, bank("1", "hand:2"), finance)
        push()
        reverse_payment(later.pk, finance, "bounced too")
        push()
        assert only(fake)["amount_remaining"] == 495
        assert "taken back" in StripePush.objects.get(payment=later).warning

    def test_the_customer_paid_all_of_it_before_stripe_was_told(self, fake: Fake, finance: User) -> None:
        invoice = self.pushed(fake, finance)
        fake.pay(only(fake)["id"])
        push()
        fake.deliver(Client())
        assert fake.of("payment_record") == []
        assert row_of(invoice).warning == "Stripe took 2 USD more than was open: pay it back or credit it."
        assert (stored(invoice).status, stored(invoice).paid_amount) == (Status.PAID, Decimal("5.95"))


class TestWebhook:
    def pushed(self, fake: Fake, finance: User) -> tuple[Invoice, str]:
        invoice = issued(finance)
        push()
        fake.deliver(Client())
        return invoice, only(fake)["id"]

    def test_a_payment_is_recorded_once(self, fake: Fake, finance: User, client: Client) -> None:
        invoice, made = self.pushed(fake, finance)
        fake.pay(made)
        events = list(fake.events)
        for order in (events, events[::-1], events):
            assert set(fake.deliver(client, order)) == {200}
        payment = Payment.objects.get()
        assert (payment.amount, payment.source, payment.method) == (Decimal("5.95"), f"stripe:{made}:595", "stripe")
        assert (stored(invoice).status, row_of(invoice).stripe_status) == (Status.PAID, "paid")

    @pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
    def test_parts_in_any_order(self, fake: Fake, finance: User, client: Client, order: tuple[int, ...]) -> None:
        invoice, made = self.pushed(fake, finance)
        fake.pay(made, 100)
        fake.pay(made)
        assert len(fake.events) == 5
        fake.deliver(client, [fake.events[number] for number in order])
        assert stored(invoice).status == Status.PAID
        assert stored(invoice).paid_amount == Decimal("5.95")

    @pytest.mark.parametrize("backwards", [False, True])
    def test_refunds(self, fake: Fake, finance: User, client: Client, backwards: bool) -> None:
        """5.95 paid, 1.00 and 2.00 back: 2.95 stays paid."""
        invoice, made = self.pushed(fake, finance)
        payment = fake.pay(made)
        fake.refund(payment, 100)
        fake.refund(payment, 200)
        fake.deliver(client, fake.events[::-1] if backwards else fake.events)
        fake.deliver(client)
        assert stored(invoice).paid_amount == Decimal("2.95")
        assert stored(invoice).status == Status.ISSUED
        assert not StripeEvent.objects.filter(applied_at=None).exists()

    @pytest.mark.parametrize("backwards", [False, True])
    @pytest.mark.parametrize("won", [False, True])
    def test_disputes(self, fake: Fake, finance: User, client: Client, backwards: bool, won: bool) -> None:
        """5.95 paid and taken back by the customer's bank: open again, unless the dispute is won."""
        invoice, made = self.pushed(fake, finance)
        dispute = fake.dispute(fake.pay(made), 595)
        if won:
            fake.win(dispute)
        fake.deliver(client, fake.events[::-1] if backwards else fake.events)
        fake.deliver(client)
        assert not StripeEvent.objects.filter(applied_at=None).exists()
        assert stored(invoice).paid_amount == (Decimal("5.95") if won else 0)
        assert stored(invoice).status == (Status.PAID if won else Status.ISSUED)
        told = f"Dispute du_1: the customer's bank took 5.95 USD of {invoice.number} back."
        assert row_of(invoice).warning == ("" if won else told)
        assert MirroredObject.objects.get(stripe_id=dispute).error == ""

    def test_one_dispute_does_not_hide_another(self, fake: Fake, finance: User, client: Client) -> None:
        """2.00 of it was paid by hand meanwhile, so what the bank gives again is too much, and stays in sight."""
        invoice, made = self.pushed(fake, finance)
        one, other = (fake.dispute(payment, 200) for payment in (fake.pay(made, 200), fake.pay(made, 395)))
        fake.deliver(client)
        record_payment(invoice.pk, bank("4", "hand:1"), finance)
        for dispute in (one, other):
            fake.win(dispute)
        fake.deliver(client)
        assert stored(invoice).status == Status.PAID
        assert stored(invoice).paid_amount == Decimal("5.95")
        warning = row_of(invoice).warning
        assert all(f"{dispute} over 2 USD" in warning for dispute in (one, other))

    def test_a_dispute_of_a_payment_that_was_paid_back_is_shown(
        self, fake: Fake, finance: User, client: Client
    ) -> None:
        invoice, made = self.pushed(fake, finance)
        payment = fake.pay(made)
        fake.refund(payment, 595)
        dispute = fake.dispute(payment, 595)
        fake.deliver(client)
        assert stored(invoice).paid_amount == 0
        assert "0 was paid of" in row_of(invoice).warning
        fake.win(dispute)
        fake.deliver(client)
        assert stored(invoice).paid_amount == 0
        assert not StripeEvent.objects.filter(applied_at=None).exists()

    def test_money_that_no_invoice_is_for_stays_in_sight(self, fake: Fake, finance: User, client: Client) -> None:
        """Voided here while the customer paid there, and told in any order."""
        invoice = issued(finance)
        push()
        fake.pay(only(fake)["id"], 195)
        void(invoice.pk, finance, "wrong")
        push()
        events = list(fake.events)
        for order in (events, events[::-1]):
            fake.deliver(client, order)
            assert row_of(invoice).warning.startswith("Stripe took 1.95 USD, and it cannot be recorded")
        assert Payment.objects.count() == 0

    def test_a_refund_whose_payment_was_never_told(self, fake: Fake, finance: User, client: Client) -> None:
        invoice, made = self.pushed(fake, finance)
        fake.refund(fake.pay(made), 595)
        fake.deliver(client, [event for event in fake.events if event["type"] != "invoice_payment.paid"])
        assert StripeEvent.objects.filter(applied_at=None).count() == 1
        assert "0 events from Stripe are waiting" in push()
        assert (stored(invoice).paid_amount, stored(invoice).status) == (0, Status.ISSUED)

    def test_told_before_the_push_knew_its_id(self, fake: Fake, finance: User, client: Client) -> None:
        invoice = issued(finance)
        fake.fail = {2: "timeout"}
        push()
        fake.deliver(client)
        assert row_of(invoice).stripe_id == only(fake)["id"]
        push()
        check_pushed(fake, invoice)

    def test_a_failed_payment_is_shown_until_it_is_paid(self, fake: Fake, finance: User, client: Client) -> None:
        invoice, made = self.pushed(fake, finance)
        fake.fail_payment(made)
        (failed,) = fake.events
        fake.deliver(client)
        assert "A payment failed" in row_of(invoice).warning
        fake.pay(made)
        fake.deliver(client)
        send(client, {**failed, "id": "evt_late"})
        assert row_of(invoice).warning == ""

    def test_what_stripe_took_twice_is_shown(self, fake: Fake, finance: User, client: Client) -> None:
        invoice, made = self.pushed(fake, finance)
        record_payment(invoice.pk, bank("5"), finance)
        fake.pay(made)
        fake.deliver(client)
        assert stored(invoice).status == Status.PAID
        assert row_of(invoice).warning == "Stripe took 5 USD more than was open: pay it back or credit it."

    def test_voided_there_is_shown(self, fake: Fake, finance: User, client: Client) -> None:
        invoice, made = self.pushed(fake, finance)
        fake.void(made)
        fake.deliver(client)
        assert stored(invoice).status == Status.ISSUED
        assert row_of(invoice).warning == "It was marked void in Stripe, and not here."

    def test_others_are_kept(self, fake: Fake, finance: User, client: Client) -> None:
        event = {"id": "evt_x", "type": "radar.early", "created": 1767225600, "data": {"object": {"id": "x"}}}
        assert send(client, event) == 200
        assert StripeEvent.objects.get().payload == event

    @pytest.mark.parametrize("body", ["{}", "[]", "nonsense", '{"id": 1, "type": "x"}'])
    def test_what_is_no_event(self, fake: Fake, client: Client, db: None, body: str) -> None:
        assert send(client, json.loads(body) if body != "nonsense" else body) == 400  # type: ignore[arg-type]

    def test_a_wrong_signature(self, fake: Fake, client: Client, db: None) -> None:
        event = {"id": "evt_x", "type": "x", "created": 1, "data": {"object": {}}}
        assert send(client, event, secret="whsec_guessed") == 400
        assert client.post("/stripe/webhook/", b"{}", content_type="application/json").status_code == 400
        assert client.get("/stripe/webhook/").status_code == 405
        assert not StripeEvent.objects.exists()


def test_without_keys_nothing_happens(finance: User, client: Client) -> None:
    issued(finance)
    out = StringIO()
    call_command("push_to_stripe", stdout=out)
    assert out.getvalue().startswith("Not connected to Stripe")
    assert not StripePush.objects.exists()
    assert send(client, {"id": "evt"}) == 503


def test_a_customer_another_run_is_busy_with_is_left_to_it(fake: Fake, finance: User) -> None:
    invoice = issued(finance)
    assert find_due() == find_due() == 1
    name = lock_number("stripe", invoice.customer_id)
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [name])
        assert push_due().done == 0
        assert fake.calls == []
        # Said, as the server may notice a closed connection later than we do.
        other.execute("SELECT pg_advisory_unlock(%s)", [name])
    assert push_due().done == 1
    assert push_due().done == 0


def test_on_screen(fake: Fake, finance: User, client: Client) -> None:
    """What stopped is on the invoice and in the list of problems; a button tries again; what is open can be paid."""
    invoice = issued(finance)
    fake.fail = {2: "refuse"}
    push()
    client.force_login(finance)
    page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
    assert "Stripe does not like it." in client.get(page).text
    problems = reverse("admin:invoicing_stripepush_changelist")
    assert "Stripe does not like it." in client.get(problems, {"problem": "stopped"}).text
    assert "Stripe does not like it." not in client.get(problems, {"problem": "look"}).text
    row = row_of(invoice)
    again = reverse("admin:invoicing_stripepush_retry_one", args=[row.pk])
    assert client.post(again, {"_form_submitted": "on"}).status_code == 200
    push()
    url = row_of(invoice).hosted_url
    assert url
    assert url in client.get(page).text
    assert url in client.get(reverse("admin:invoicing_document", args=[invoice.pk])).text
    assert url in client.get(reverse("admin:invoicing_stripepush_change", args=[row.pk])).text
    client.get(reverse("admin:invoicing_stripecustomer_changelist"))
    assert set(fake.deliver(client)) == {200}
    event = StripeEvent.objects.first()
    assert event is not None
    shown = client.get(reverse("admin:invoicing_stripeevent_change", args=[event.pk]))
    assert event.stripe_id in shown.text
