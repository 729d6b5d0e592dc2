"""Threshold invoices and recharges are charged by our own schedule, and payment gates shut until they are paid."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing_project.errors import ConflictError
from contracts.models import Contract
from invoicing.books import INVARIANTS
from invoicing.charging import SILENCE, charge_now
from invoicing.entitlements import grants
from invoicing.models import Alert, AlertRule, ChargeAttempt, Invoice, Recharge, Status, StripeCustomer, StripePush
from invoicing.payments import Received, record_payment, write_off
from invoicing.recharges import recharge_and_release
from invoicing.spend_thresholds import bill_now
from invoicing.voiding import void
from tests.factories import sell, send, user
from tests.invoicing.stripe_fake import SECRET, Fake, running
from tests.invoicing.test_stripe import push, stored

pytestmark = pytest.mark.django_db
FEATURE = [{"kind": "boolean", "feature": "api"}]
GATED: dict[str, Any] = {"spend_threshold": {"amount": "20", "gate": "payment"}, "entitlements": FEATURE}


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


@pytest.fixture
def fake(settings: Any) -> Iterator[Fake]:
    with running() as made:
        settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = "sk_test_fake", SECRET
        settings.STRIPE_API_URL, settings.STRIPE_NETWORK_RETRIES, settings.STRIPE_TIMEOUT_SECONDS = made.url, 0, 20
        settings.STRIPE_COLLECTION = "charge_automatically"
        yield made


def now_used(deal: dict[str, Any], used: int = 50, **terms: Any) -> Contract:
    """A contract of this month at 0.50 a call; 50 calls are 25.00."""
    start = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    (contract,) = sell(deal=deal, starting_at=start, **terms)
    send(contract.customer.key, used, timezone.now() - timedelta(seconds=1))
    return Contract.objects.select_related("customer", "rate_card").get(pk=contract.pk)


def billed(deal: dict[str, Any] | None = None, **terms: Any) -> tuple[Contract, Invoice]:
    contract = now_used(deal or GATED, **terms)
    assert bill_now([contract], timezone.now()).done == 1
    return contract, Invoice.objects.get(kind="threshold")


def attempts() -> list[tuple[int, str]]:
    return list(ChargeAttempt.objects.order_by("number").values_list("number", "outcome"))


def wait() -> None:
    """The next attempt falls due."""
    ChargeAttempt.objects.filter(outcome="").update(due_at=timezone.now())


def warning(invoice: Invoice) -> str:
    return StripePush.objects.get(invoice=invoice, step="invoice").warning


def access(contract: Contract) -> tuple[bool, str]:
    grant = grants([contract], timezone.now())["api"]
    return grant.has_access, grant.reason


class TestCharging:
    def test_a_threshold_invoice_is_charged_with_the_push(self, fake: Fake, finance: User, client: Client) -> None:
        _, invoice = billed()
        assert "1 charged, 0 under way, 0 refused" in push()
        (made,) = fake.of("invoice")
        assert (made["auto_advance"], made["status"], attempts()) == (False, "paid", [(1, "paid")])
        fake.deliver(client)
        assert stored(invoice).status == Status.PAID
        assert "0 charged" in push()

    def test_other_invoices_are_left_to_stripe(self, fake: Fake, finance: User) -> None:
        _, invoice = billed()
        StripeCustomer.objects.create(customer=invoice.customer, collection="send_invoice")
        push()
        assert fake.of("invoice")[0]["auto_advance"] is True
        assert attempts() == []

    def test_a_refused_card_is_asked_again_with_backoff_and_shown(
        self, fake: Fake, finance: User, client: Client
    ) -> None:
        """Refused twice, after an hour and a day more; then it succeeds."""
        _, invoice = billed()
        fake.declines = 2
        for number, hours in ((1, 1), (2, 24)):
            assert "1 refused" in push()
            assert "0 refused" in push()
            coming = ChargeAttempt.objects.get(outcome="")
            before = ChargeAttempt.objects.get(number=number)
            assert (coming.number, before.message) == (number + 1, "Your card was declined. (card_declined)")
            assert before.ended_at is not None
            assert coming.due_at == before.ended_at + timedelta(hours=hours)
            fake.deliver(client)
            expected = f"Charge {number} was refused: Your card was declined. (card_declined). The next one is planned"
            assert warning(invoice).startswith(expected)
            wait()
        assert "1 charged" in push()
        fake.deliver(client)
        assert (stored(invoice).status, warning(invoice)) == (Status.PAID, "")
        assert attempts() == [(1, "refused"), (2, "refused"), (3, "paid")]
        assert [wrong for invariant in INVARIANTS.values() for wrong in invariant()] == []

    def test_it_gives_up_aloud_and_a_person_tries_again(self, fake: Fake, finance: User, settings: Any) -> None:
        settings.STRIPE_CHARGE_WAITS = [timedelta(hours=1)]
        AlertRule.objects.create(name="Card", kind="charge", limit=2)
        _, invoice = billed()
        fake.declines = 3
        push()
        assert not Alert.objects.exists()
        wait()
        push()
        assert attempts() == [(1, "refused"), (2, "refused")]
        assert warning(invoice).endswith("No further one is planned: try again, or collect it otherwise.")
        assert "2 charges of INV-000001 were refused" in Alert.objects.get().reason
        assert "0 refused" in push()
        with pytest.raises(PermissionDenied):
            charge_now(invoice.pk, user("Sales ops"))
        charge_now(invoice.pk, finance)
        assert "1 refused" in push()
        charge_now(invoice.pk, finance)
        assert "1 charged" in push()
        with pytest.raises(ConflictError, match="no charge to try again"):
            charge_now(invoice.pk, finance)

    def test_the_next_one_is_brought_forward(self, fake: Fake, finance: User) -> None:
        _, invoice = billed()
        fake.declines = 1
        push()
        assert charge_now(invoice.pk, finance).number == 2
        assert "1 charged" in push()

    @pytest.mark.parametrize("failure", ["500", "429", "timeout", "lost", "kill", "nonsense"])
    def test_each_call_fails_once(self, fake: Fake, finance: User, failure: str) -> None:
        """Two calls: how it stands, and the charge. The card is asked once for each attempt, whatever happens."""
        billed()
        for call, declined in ((1, 0), (2, 0), (2, 1)):
            fake.forget()
            for model in (ChargeAttempt, StripePush, StripeCustomer):
                model.objects.all().delete()
            fake.fail = {6: "lost"}  # pushed, not charged yet
            fake.declines = declined
            push()
            assert fake.of("invoice")[0]["status"] == "open"
            fake.fail = {len(fake.calls) + call: failure}
            wait()
            if failure == "kill":
                with pytest.raises(KeyboardInterrupt):
                    push()
            else:
                push()
            assert attempts() == [(1, "")]
            wait()
            push()
            asked = fake.of("invoice")[0]["attempt_count"] + len(fake.of("invoice_payment"))
            assert asked == 1, (call, fake.calls)
            assert attempts()[0] == (1, "refused" if declined else "paid")

    def test_paid_otherwise_meanwhile(self, fake: Fake, finance: User) -> None:
        _, invoice = billed()
        fake.declines = 1
        push()
        received = Received(invoice.open_amount, timezone.now(), "hand:1")
        record_payment(invoice.pk, received, finance)
        wait()
        push()
        assert attempts()[-1] == (2, "dropped")
        assert fake.of("invoice")[0]["status"] == "paid"
        assert len(fake.of("invoice_payment")) == 1

    def test_a_part_paid_by_hand_is_told_before_the_rest_is_charged(self, fake: Fake, finance: User) -> None:
        _, invoice = billed()
        record_payment(invoice.pk, Received(Decimal(5), timezone.now(), "hand:1"), finance)
        push()
        push()
        paid = [(row["amount_paid"], row["payment"]["type"]) for row in fake.of("invoice_payment")]
        assert paid == [(500, "payment_record"), (2000, "payment_intent")]

    def test_a_debit_under_way(self, fake: Fake, finance: User, client: Client) -> None:
        """It fails days later, says an event; of the next one nothing is heard at all."""
        billed()
        fake.debits = True
        assert "1 under way" in push()
        assert "0 under way" in push()
        fake.fail_payment(fake.of("invoice")[0]["id"])
        fake.deliver(client)
        assert attempts() == [(1, "refused"), (2, "")]
        wait()
        push()
        ChargeAttempt.objects.filter(number=2).update(ended_at=timezone.now() - timedelta(days=8))
        push()
        assert ChargeAttempt.objects.get(number=2).message == SILENCE
        assert attempts()[-1] == (3, "")

    def test_a_recharge(self, fake: Fake, finance: User, client: Client) -> None:
        deal = {
            "commits": [{"key": "first", "access": [{"amount": "20", "starting_at": month_start()}]}],
            "balance_threshold": {"amount": "5", "recharge_to": "30", "usable": "when_paid"},
        }
        contract = now_used(deal, used=30)
        assert recharge_and_release([contract], timezone.now()).done == 1
        fake.declines = 1
        push()
        fake.deliver(client)
        recharge_and_release([contract], timezone.now())
        assert Recharge.objects.get().status == "waiting"
        wait()
        push()
        fake.deliver(client)
        recharge_and_release([contract], timezone.now())
        assert Recharge.objects.get().status == "usable"

    def test_on_screen(self, fake: Fake, finance: User, client: Client, settings: Any) -> None:
        settings.STRIPE_CHARGE_WAITS = []
        contract, invoice = billed()
        fake.declines = 2
        push()
        client.force_login(finance)
        page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
        shown = client.get(page).text
        assert "Refused, no further one planned" in shown
        assert "Your card was declined." in shown
        charges = reverse("admin:invoicing_chargeattempt_changelist")
        assert "Your card was declined." in client.get(charges, {"state": "given_up"}).text
        assert "Your card was declined." not in client.get(charges, {"state": "to_come"}).text
        gate = client.get(reverse("admin:contracts_contract_change", args=[contract.pk])).text
        assert "Payment gate shut." in gate
        assert "Charge now" in shown
        client.post(reverse("admin:invoicing_invoice_charge", args=[invoice.pk]))
        assert attempts() == [(1, "refused"), (2, "")]
        push()
        row = ChargeAttempt.objects.get(number=2)
        again = reverse("admin:invoicing_chargeattempt_charge_one", args=[row.pk])
        assert client.post(again, {"_form_submitted": "on"}).status_code == 200
        push()
        assert attempts()[-1] == (3, "paid")


def month_start() -> str:
    return timezone.now().strftime("%Y-%m-01T00:00:00Z")


class TestGate:
    def test_an_unpaid_invoice_holds_back_the_next_and_a_refusal_shuts_the_gate(
        self, fake: Fake, finance: User, client: Client
    ) -> None:
        contract, invoice = billed()
        assert access(contract) == (True, "")
        send(contract.customer.key, 50, timezone.now() - timedelta(microseconds=1))
        assert bill_now([contract], timezone.now()).done == 0
        fake.declines = 1
        push()
        assert access(contract) == (False, "unpaid")
        wait()
        push()
        fake.deliver(client)
        assert access(contract) == (True, "")
        assert bill_now([contract], timezone.now()).done == 1
        second = Invoice.objects.exclude(pk=invoice.pk).get(kind="threshold")
        assert second.total.amount == 25

    def test_an_overdue_one_shuts_it(self, finance: User) -> None:
        contract, _ = billed(net_days=1)
        assert access(contract) == (True, "")
        later = grants([contract], timezone.now() + timedelta(days=1))["api"]
        assert (later.has_access, later.reason) == (False, "unpaid")

    @pytest.mark.parametrize("end", ["void", "write off"])
    def test_what_is_written_off_keeps_it_shut_and_a_void_opens_it(self, finance: User, end: str) -> None:
        contract, invoice = billed()
        if end == "void":
            void(invoice.pk, finance, "wrong")
            assert access(contract) == (True, "")
        else:
            write_off(invoice.pk, finance, "gone")
            assert access(contract) == (False, "unpaid")
            assert bill_now([contract], timezone.now()).done == 0

    def test_without_a_gate_all_goes_on(self, finance: User) -> None:
        contract, _ = billed({"spend_threshold": {"amount": "20"}, "entitlements": FEATURE}, net_days=0)
        send(contract.customer.key, 50, timezone.now() - timedelta(microseconds=1))
        assert bill_now([contract], timezone.now()).done == 1
        assert access(contract) == (True, "")
