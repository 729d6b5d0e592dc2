"""Finance and cards in a browser: a refused card, the gate it shuts, another try, and what Stripe holds."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect

from invoicing.models import ChargeAttempt, Invoice, WebhookEndpoint
from invoicing.spend_thresholds import bill_now
from tests.factories import user
from tests.invoicing.stripe_fake import SECRET, running
from tests.invoicing.test_charging import GATED, now_used, wait
from tests.invoicing.test_stripe import push
from tests.journeys.conftest import Login, Shoot

pytestmark = pytest.mark.browser


def test_a_refused_card_from_the_list_to_the_payment(
    login: Login, live_server: Any, shoot: Shoot, settings: Any
) -> None:
    user("Finance", "first")
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = "sk_test_fake", SECRET
    settings.STRIPE_NETWORK_RETRIES, settings.STRIPE_COLLECTION = 0, "charge_automatically"
    admin = f"{live_server.url}/admin"
    with running() as fake:
        settings.STRIPE_API_URL = fake.url
        contract = now_used(GATED)
        bill_now([contract], timezone.now())
        invoice = Invoice.objects.get()
        fake.declines = 2
        push()
        wait()
        push()
        fake.deliver(Client())

        finance = login("first")
        finance.get_by_role("link", name="Charges of invoices").first.click()
        expect(finance.locator("#result_list")).to_contain_text("Your card was declined.")
        shoot(finance, "charges")
        finance.goto(f"{admin}/invoicing/stripepush/")
        expect(finance.locator("#result_list")).to_contain_text("Charge 2 was refused")
        shoot(finance, "exchanges")
        finance.goto(f"{admin}/contracts/contract/{contract.pk}/change/")
        expect(finance.get_by_text("Payment gate shut.")).to_be_visible()
        shoot(finance, "contract-with-its-gate-shut")
        finance.get_by_role("link", name=str(invoice.number)).first.click()
        expect(finance.locator(".ch-stripe")).to_contain_text("Charge 2")
        shoot(finance, "invoice")
        finance.on("dialog", lambda dialog: dialog.accept())
        finance.get_by_role("button", name="Charge now").click()
        expect(finance.get_by_text("is charged with the next run")).to_be_visible()
        push()
        fake.deliver(Client())
        finance.goto(f"{admin}/invoicing/invoice/{invoice.pk}/change/")
        expect(finance.locator(".ch-stripe")).to_contain_text("Paid")
        shoot(finance, "invoice-paid")
        finance.locator(".ch-stripe").get_by_role("link", name="paid").click()
        expect(finance.locator("pre")).to_contain_text(str(invoice.number))
        shoot(finance, "what-stripe-holds")
        finance.goto(f"{admin}/invoicing/mirroredobject/")
        shoot(finance, "mirror")
        finance.goto(f"{admin}/invoicing/stripeevent/")
        shoot(finance, "events")
        assert ChargeAttempt.objects.get(number=3).outcome == "paid"
        look_around(finance, admin, shoot)


def look_around(finance: Any, admin: str, shoot: Shoot) -> None:
    WebhookEndpoint.objects.create(url="https://example.com/hook", description="Our product")
    for name in ("recharge", "webhookendpoint", "delivery", "alert", "alertrule/add", "stripecustomer"):
        finance.goto(f"{admin}/invoicing/{name}/")
        shoot(finance, name.replace("/", "-"))
