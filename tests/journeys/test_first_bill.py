"""From a signed contract to a printed invoice, in a browser, as the people of the house do it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import Page, expect

from billing_project.models import ApiKey, Scope
from invoicing.models import Invoice, Status
from tests.factories import CALL, RateFactory, user
from tests.journeys.conftest import Login, Shoot

pytestmark = pytest.mark.browser


def choose(page: Page, label: str, typed: str, shown: str) -> None:
    """Pick from a field that searches."""
    page.locator(f".field-{label} .select2-selection").click()
    page.locator(".select2-search__field").fill(typed)
    page.get_by_role("option", name=shown).click()


def start_of_month(now: datetime) -> datetime:
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def test_sales_writes_a_contract_an_event_arrives_finance_approves_and_issues(
    login: Login, live_server: Any, shoot: Shoot
) -> None:
    for role, name in (("Sales ops", "sales"), ("Finance", "finance"), ("Auditor", "auditor")):
        user(role, name)
    RateFactory.create(rate_card__name="List prices", product__name="API units")
    secret = ApiKey.issue("product", [Scope.INGEST])[1]
    now = datetime.now(UTC)
    month = start_of_month(now)
    after = start_of_month(month + timedelta(days=32)) + timedelta(days=2)

    sales = login("sales")
    shoot(sales, "sales-front-page")
    sales.goto(f"{live_server.url}/admin/contracts/customer/add/")
    sales.get_by_label("Key", exact=False).first.fill("nordwind")
    sales.locator("#id_name").fill("Nordwind Example Ltd")
    sales.locator("#id_address").fill("1 Example Street\nExampletown")
    sales.get_by_role("button", name="Save", exact=True).click()
    expect(sales.get_by_text("was added successfully")).to_be_visible()

    sales.goto(f"{live_server.url}/admin/contracts/contract/add/")
    sales.locator("#id_key").fill("nordwind-1")
    sales.locator("#id_name").fill("Nordwind, first year")
    choose(sales, "customer", "Nordwind", "Nordwind Example Ltd")
    choose(sales, "rate_card", "List", "List prices (USD)")
    sales.locator("#id_starting_at_0").fill(f"{month:%Y-%m-%d}")
    shoot(sales, "sales-writes-a-contract")
    sales.get_by_role("button", name="Save", exact=True).click()
    expect(sales.get_by_text("was added successfully")).to_be_visible()

    event = {"id": "1", "type": CALL, "subject": "nordwind", "time": now.isoformat(), "data": {"units": "25"}}
    answer = sales.request.post(
        f"{live_server.url}/api/v1/events", headers={"Authorization": f"Bearer {secret}"}, data=event
    )
    assert answer.status == 204

    sales.get_by_role("link", name="Live draft").first.click()
    expect(sales.get_by_role("heading", name="Live draft")).to_be_visible()
    expect(sales.get_by_text("API units").first).to_be_visible()
    expect(sales.get_by_text("12.50").first).to_be_visible()
    shoot(sales, "sales-sees-the-live-draft")

    call_command("close_periods", as_of=after)

    finance = login("finance")
    finance.get_by_role("link", name="Review queue").first.click()
    shoot(finance, "finance-review-queue")
    finance.get_by_role("link", name="Nordwind Example Ltd").first.click()
    expect(finance.get_by_text("12.50").first).to_be_visible()
    shoot(finance, "finance-looks-at-the-invoice")

    sales.goto(finance.url)
    expect(sales.get_by_text("12.50").first).to_be_visible()
    expect(sales.get_by_role("button", name="Approve")).to_have_count(0)

    finance.get_by_role("button", name="Approve", exact=True).click()
    expect(finance.get_by_text("is approved")).to_be_visible()
    finance.once("dialog", lambda dialog: dialog.accept())
    finance.get_by_role("button", name="Issue", exact=True).click()
    expect(finance.get_by_text("INV-000001").first).to_be_visible()
    shoot(finance, "finance-has-issued")
    invoice = Invoice.objects.get()
    assert (invoice.status, str(invoice.issued_by), invoice.number) == (Status.ISSUED, "finance", "INV-000001")

    with finance.context.expect_page() as opened:
        finance.get_by_role("link", name="Document").click()
    document = opened.value
    for text in ("Invoice", "INV-000001", "Nordwind Example Ltd", "1 Example Street", "API units", "25", "0.50"):
        expect(document.get_by_text(text).first).to_be_visible()
    expect(document.locator(".totals .due").last).to_contain_text(re.compile(r"12\.50"))
    shoot(document, "the-document")
    assert document.pdf().startswith(b"%PDF")

    auditor = login("auditor")
    auditor.goto(finance.url)
    expect(auditor.get_by_text("INV-000001").first).to_be_visible()
    for name in ("Approve", "Issue", "Return to review", "Save"):
        expect(auditor.get_by_role("button", name=name)).to_have_count(0)
    auditor.goto(f"{live_server.url}/admin/contracts/contract/")
    expect(auditor.get_by_role("link", name="Nordwind, first year")).to_be_visible()
    expect(auditor.get_by_role("link", name="Add contract")).to_have_count(0)
    shoot(auditor, "auditor-reads")
