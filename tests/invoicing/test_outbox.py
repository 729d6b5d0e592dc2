"""Webhooks and e-mails: written with what they tell of, delivered once it is committed, tried again, sent again."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from billing_project.errors import ConflictError
from invoicing.credit_notes import issue_credit_note, request_credit_note
from invoicing.delivering import WAITS, deliver, replay
from invoicing.lifecycle import approve, issue
from invoicing.models import Delivery, DeliveryAttempt, Invoice, InvoiceReminder, OutgoingEvent, WebhookEndpoint
from invoicing.payments import Received, record_payment
from invoicing.posting import post
from invoicing.reminders import send_reminders
from invoicing.voiding import void
from invoicing.webhook_signing import signature
from tests.factories import reviewed, user
from tests.invoicing.receiver import Receiver

pytestmark = pytest.mark.django_db


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    settings.WEBHOOKS_MAY_REACH_PRIVATE_NETWORKS = True
    made = Receiver()
    yield made
    made.end()


@pytest.fixture
def endpoint(receiver: Receiver) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(url=receiver.url, description="Ours")


def issued(finance: User, email: str = "") -> Invoice:
    invoice = reviewed()
    invoice.customer.email = email
    invoice.customer.save()
    return issue(approve(invoice.pk, finance).pk, finance)


def types() -> list[str]:
    return list(OutgoingEvent.objects.order_by("pk").values_list("type", flat=True))


def due_now() -> None:
    Delivery.objects.filter(state="waiting").update(next_attempt_at=timezone.now())


def test_a_signature_is_what_the_schemes_own_example_says() -> None:
    found = signature(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        '{"test": 2432232314}',
    )
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_life_of_an_invoice_is_told(finance: User, endpoint: WebhookEndpoint, receiver: Receiver) -> None:
    paid = issued(finance)
    record_payment(paid.pk, Received(paid.open_amount, timezone.now(), "bank-1"), finance)
    note = request_credit_note(paid.pk, {1: Decimal(1)}, "A mistake.", finance)
    issue_credit_note(note.pk, user("Finance", "second"))
    void(issued(finance).pk, finance, "Wrong address.")
    expected = ["invoice.issued", "invoice.paid", "credit_note.issued", "invoice.issued", "invoice.voided"]
    assert types() == expected
    assert str(deliver(webhooks=True)) == "5 delivered, 0 to be tried again, 0 given up."
    assert [told["type"] for _, told in receiver.got] == expected
    headers, told = receiver.got[0]
    assert headers["content-type"] == "application/json"
    assert (told["data"]["number"], told["data"]["total"], told["data"]["currency"]) == (paid.number, "5", "USD")
    assert all(receiver.is_signed(place, endpoint.secret) for place in range(5))
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 5
    assert deliver(webhooks=True).done == 0


def test_only_what_an_endpoint_wants(finance: User, endpoint: WebhookEndpoint) -> None:
    WebhookEndpoint.objects.create(url=endpoint.url, event_types=["invoice.paid"])
    WebhookEndpoint.objects.create(url=endpoint.url, active=False)
    issued(finance)
    assert [row.endpoint for row in Delivery.objects.all()] == [endpoint]


def test_what_is_rolled_back_is_not_told(finance: User, endpoint: WebhookEndpoint) -> None:
    with transaction.atomic():
        issued(finance)
        assert types() == ["invoice.issued"]
        transaction.set_rollback(True)
    assert types() == []


def test_failures_are_tried_again_and_then_given_up(
    finance: User, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    issued(finance)
    receiver.answers = [500, 503]
    assert deliver(webhooks=True).later == 1
    row = Delivery.objects.get()
    assert (row.attempts, row.last_status, row.last_error) == (1, 500, "told")
    assert timedelta(0) < (row.next_attempt_at or timezone.now()) - timezone.now() <= WAITS[0]
    assert deliver(webhooks=True).later == 0  # not yet
    due_now()
    assert deliver(webhooks=True).later == 1
    due_now()
    assert deliver(webhooks=True).done == 1
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert [each.status for each in DeliveryAttempt.objects.order_by("pk")] == [500, 503, 200]
    replay(row.pk, finance)
    receiver.answers = [500] * 20
    for _ in range(len(WAITS)):
        assert deliver(webhooks=True).later == 1
        due_now()
    assert deliver(webhooks=True).given_up == 1
    receiver.answers = []
    assert deliver(webhooks=True).done == 0
    replay(row.pk, finance)
    with pytest.raises(ConflictError):
        replay(row.pk, finance)
    assert deliver(webhooks=True).done == 1
    assert len(set(receiver.bodies)) == 1


def test_redirects_are_not_followed(finance: User, endpoint: WebhookEndpoint, receiver: Receiver) -> None:
    issued(finance)
    receiver.answers = [302]
    assert deliver(webhooks=True).later == 1
    assert len(receiver.got) == 1
    assert "not followed" in Delivery.objects.get().last_error


def test_nobody_at_home(finance: User, endpoint: WebhookEndpoint, receiver: Receiver) -> None:
    receiver.end()
    issued(finance)
    assert deliver(webhooks=True).later == 1
    assert "ConnectionRefusedError" in Delivery.objects.get().last_error
    receiver.__init__()  # type: ignore[misc]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "http://[::1]:9/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_private_networks_are_out_of_reach(url: str) -> None:
    answer = post(url, "{}", {})
    assert answer.status is None
    assert "private network" in answer.error


def test_other_schemes_are_refused() -> None:
    assert post("ftp://example.com/", "{}", {}).error == "The address is no http or https URL."


def test_while_a_secret_is_changed_both_sign(
    finance: User, endpoint: WebhookEndpoint, receiver: Receiver, client: Client
) -> None:
    before = endpoint.secret
    endpoint.old_secret, endpoint.old_secret_until = before, timezone.now() + timedelta(hours=1)
    endpoint.secret = "whsec_" + "QUJD" * 8
    endpoint.save()
    issued(finance)
    deliver(webhooks=True)
    assert receiver.is_signed(0, before)
    assert receiver.is_signed(0, endpoint.secret)
    WebhookEndpoint.objects.update(old_secret_until=timezone.now())
    replay(Delivery.objects.get().pk, finance)
    deliver(webhooks=True)
    assert not receiver.is_signed(1, before)


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_two_machines_at_once_deliver_once(receiver: Receiver) -> None:
    endpoint = WebhookEndpoint.objects.create(url=receiver.url)
    event = OutgoingEvent.objects.create(type="invoice.paid", cause="one", at=timezone.now(), body="{}")
    Delivery.objects.bulk_create(
        [Delivery(event=event, endpoint=endpoint, next_attempt_at=timezone.now()) for _ in range(40)]
    )

    def run() -> None:
        call_command("deliver_webhooks", stdout=StringIO())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiver.got) == 40
    assert not Delivery.objects.exclude(state="delivered").exists()


class TestMail:
    @pytest.fixture(autouse=True)
    def _connected(self, settings: Settings) -> None:
        settings.EMAIL_URL = "smtp://nowhere"  # pytest's own backend keeps what is sent

    def test_an_issued_invoice(self, finance: User) -> None:
        invoice = issued(finance, "ap@acme.test")
        assert mail.outbox == []
        assert deliver(webhooks=False).done == 1
        (sent,) = mail.outbox
        assert sent.to == ["ap@acme.test"]
        assert str(invoice.number) in sent.subject
        assert "\n" not in sent.subject
        assert "due on" in sent.body
        assert deliver(webhooks=False).done == 0

    def test_without_an_address_or_a_mail_server_nothing(self, finance: User, settings: Settings) -> None:
        issued(finance)
        settings.EMAIL_URL = ""
        issued(finance, "ap@acme.test")
        assert not Delivery.objects.exists()

    def test_reminders_come_once_each_until_it_is_paid(self, finance: User) -> None:
        invoice = issued(finance, "ap@acme.test")
        due = invoice.due_at or timezone.now()
        Delivery.objects.all().delete()

        def days(*given: int) -> list[int]:
            counts = [send_reminders(due + timedelta(days=each, minutes=1)) for each in given]
            assert all(count in (0, 1) for count in counts)
            return counts

        assert days(-4, -3, -3, 0, 7, 8, 20) == [0, 1, 0, 0, 1, 0, 0]
        record_payment(invoice.pk, Received(invoice.open_amount, timezone.now(), "bank-1"), finance)
        assert days(21, 40) == [0, 0]
        assert [row.days for row in InvoiceReminder.objects.order_by("pk")] == [-3, 7]
        assert deliver(webhooks=False).done == 2
        assert mail.outbox[0].subject.endswith(f"is due on {due:%-d %B %Y}")
        assert mail.outbox[1].subject.startswith("Reminder: ")

    def test_of_missed_reminders_only_the_last_is_sent(self, finance: User) -> None:
        invoice = issued(finance, "ap@acme.test")
        assert send_reminders((invoice.due_at or timezone.now()) + timedelta(days=30)) == 1
        assert InvoiceReminder.objects.get().days == 21

    def test_a_mail_server_that_is_down(self, finance: User, settings: Settings) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
        issued(finance, "ap@acme.test")
        assert deliver(webhooks=False).later == 1
        assert "ConnectionRefusedError" in Delivery.objects.get().last_error


def test_the_pages(finance: User, endpoint: WebhookEndpoint, receiver: Receiver, client: Client) -> None:
    client.force_login(finance)
    issued(finance)
    receiver.answers = [500]
    deliver(webhooks=True)
    row = Delivery.objects.get()
    assert "invoice.issued" in client.get("/admin/invoicing/delivery/").content.decode()
    page = client.get(f"/admin/invoicing/delivery/{row.pk}/change/").content.decode()
    assert "500 told" in page
    assert endpoint.secret not in client.get(f"/admin/invoicing/webhookendpoint/{endpoint.pk}/change/").content.decode()
    made = client.post(
        "/admin/invoicing/webhookendpoint/add/",
        {"url": "https://example.com/hook", "description": "", "event_types": "invoice.paid", "active": "on"},
        follow=True,
    )
    assert WebhookEndpoint.objects.get(url="https://example.com/hook").secret in made.content.decode()
