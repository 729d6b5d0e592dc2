"""The copy of Stripe's objects in dj-stripe's tables: what it holds, and what it never does."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import stripe
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from djstripe import models as djstripe

from invoicing.models import MirroredObject, StripeEvent
from invoicing.stripe_mirror import NO_KEY, mirror, mirror_waiting
from tests.factories import day, user
from tests.invoicing.stripe_fake import SECRET, Fake, running, send
from tests.invoicing.test_stripe import issued, only, push, stored

pytestmark = pytest.mark.django_db


class Unasked(stripe.HTTPClient):
    """What dj-stripe would call Stripe with."""

    name = "unasked"

    def request(self, method: str, url: str, *_: Any, **__: Any) -> Any:
        pytest.fail(f"Stripe was asked past the door: {method} {url}")


@pytest.fixture
def fake(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setattr(stripe, "default_http_client", Unasked())
    with running() as made:
        settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = "sk_test_fake", SECRET
        settings.STRIPE_API_URL, settings.STRIPE_NETWORK_RETRIES, settings.STRIPE_TIMEOUT_SECONDS = made.url, 0, 20
        yield made


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


def test_what_is_pushed_is_there_from_the_answers(fake: Fake, finance: User) -> None:
    issued(finance)
    push()
    calls = len(fake.calls)
    made = djstripe.Invoice.objects.get(id=only(fake)["id"])
    assert (made.customer.id, made.customer.email, made.stripe_data["status"]) == ("cus_1", "pay@acme.test", "open")
    assert made.stripe_data["total"] == 595
    assert (len(fake.calls), MirroredObject.objects.exclude(error="").count()) == (calls, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_events_fill_it_in_any_order(fake: Fake, finance: User, client: Client, order: int) -> None:
    """Nothing but the newest state stays, also where all happened within a second."""
    issued(finance)
    fake.now = lambda: 1_770_000_000
    push()
    payment = fake.pay(only(fake)["id"])
    fake.refund(payment, 100)
    djstripe.Invoice.objects.all().delete()
    MirroredObject.objects.all().delete()
    events = fake.events[::order]
    assert set(fake.deliver(client, events)) == {200}
    assert djstripe.Invoice.objects.get().stripe_data["status"] == "paid"
    charge = djstripe.Charge.objects.get()
    assert (charge.stripe_data["amount_refunded"], charge.customer_id) == (100, "cus_1")
    assert not MirroredObject.objects.exclude(error="").exists()
    assert not StripeEvent.objects.filter(mirrored_at=None).exists()


def test_no_secret_is_stored(fake: Fake, finance: User, client: Client) -> None:
    issued(finance)
    push()
    fake.deliver(client)
    assert list(djstripe.APIKey.objects.values_list("secret", flat=True)) == [NO_KEY]
    with connection.cursor() as cursor:
        for model in (djstripe.APIKey, djstripe.Account, djstripe.Customer, djstripe.Invoice):
            cursor.execute(f"SELECT count(*) FROM {model._meta.db_table} AS row WHERE row::text LIKE '%sk_test_fake%'")
            assert cursor.fetchone() == (0,)


def test_what_was_stored_and_not_copied_is_copied_by_the_next_run(fake: Fake, finance: User, client: Client) -> None:
    issued(finance)
    push()
    fake.deliver(client)
    StripeEvent.objects.update(mirrored_at=None)
    djstripe.Invoice.objects.all().delete()
    MirroredObject.objects.all().delete()
    push()
    assert djstripe.Invoice.objects.count() == 1
    assert mirror_waiting() == 0


def test_a_failure_is_shown_and_harms_nothing(fake: Fake, finance: User, client: Client) -> None:
    """A charge without an amount: the refund it tells of is applied all the same."""
    invoice = issued(finance)
    push()
    fake.refund(fake.pay(only(fake)["id"]), 100)
    for event in fake.events:
        if event["type"] == "charge.refunded":
            del event["data"]["object"]["amount"]
    assert set(fake.deliver(client)) == {200}
    assert str(stored(invoice).paid_amount) == "4.95"
    (failed,) = MirroredObject.objects.exclude(error="")
    assert (failed.kind, failed.error.split(":")[0]) == ("charge", "IntegrityError")
    client.force_login(finance)
    told = client.get(reverse("admin:invoicing_mirroredobject_changelist"), {"copy": "failed"}).text
    assert failed.stripe_id in told
    assert "IntegrityError" in client.get(reverse("admin:invoicing_mirroredobject_change", args=[failed.pk])).text
    charge = next(row for row in fake.of("charge"))
    mirror(charge, failed.as_of + timedelta(seconds=1))
    assert not MirroredObject.objects.exclude(error="").exists()


@pytest.mark.parametrize(
    "told", [{}, {"object": "balance", "id": "x"}, {"object": "invoice"}, {"object": "invoice", "id": 7}]
)
def test_what_it_does_not_hold_is_left_alone(told: dict[str, Any]) -> None:
    mirror(told, day(1))
    assert not djstripe.Invoice.objects.exists()


def test_it_is_read_in_the_admin(fake: Fake, finance: User, client: Client) -> None:
    invoice = issued(finance)
    push()
    made = djstripe.Invoice.objects.get()
    page = reverse("admin:djstripe_invoice_change", args=[made.pk])
    client.force_login(finance)
    assert page in client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).text
    shown = client.get(page)
    assert "cus_1" in shown.text
    assert "$595.00" not in shown.text  # how dj-stripe names an invoice of 5.95
    assert "_save" not in shown.text
    customer = reverse("admin:djstripe_customer_change", args=[djstripe.Customer.objects.get().pk])
    assert customer in shown.text
    assert client.get(customer).status_code == 200
    assert client.post(page, {"id": "in_other"}).status_code == 403
    assert client.get(reverse("admin:djstripe_invoice_changelist")).status_code == 200
    client.force_login(user("Service"))
    assert client.get(page).status_code == 403


def test_an_event_of_nobody_is_taken(fake: Fake, client: Client) -> None:
    event = {
        "id": "evt_1", "type": "customer.deleted", "created": 1_770_000_000,
        "data": {"object": {"id": "cus_9", "object": "customer", "livemode": False, "metadata": {}}},
    }  # fmt: skip
    assert send(client, event) == 200
    assert djstripe.Customer.objects.get(id="cus_9").stripe_data["deleted"] is True
