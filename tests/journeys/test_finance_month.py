"""Finance's month in a browser: the queue, an invoice down to its events, issuing, money in, corrections, the close."""

import re
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from invoicing.admin.invoices import InvoiceAdmin
from invoicing.close import close_periods
from invoicing.lines_by_hand import Written, add_line
from invoicing.models import AccountingPeriod, BulkStep, CreditNote, Invoice, Status
from tests.factories import day, sell, user
from tests.journeys.conftest import Login, Shoot

pytestmark = pytest.mark.browser
INVOICES = 7


def take_for_all(page: Page, action: str) -> None:
    """Choose every invoice of the list, on all its pages, and an action for them."""
    page.locator("#action-toggle").check()
    page.get_by_text(f"Select all {INVOICES} invoices").click()
    page.locator("select[name=action]").select_option(label=action)
    page.locator("button[name=index]").first.click()


def test_from_the_queue_to_the_closed_month(
    login: Login, live_server: Any, shoot: Shoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InvoiceAdmin, "list_per_page", 5)  # seven invoices are more than a page
    first, _ = user("Finance", "first"), user("Finance", "second")
    sell(INVOICES)
    close_periods(day(2, month=2))
    flagged = Invoice.objects.earliest("pk")
    add_line(flagged.pk, Written("Workshop", Decimal(3), "agreed by mail"), first)
    admin = f"{live_server.url}/admin/invoicing/invoice"

    finance = login("first")
    finance.get_by_role("link", name="Review queue").first.click()
    expect(finance.locator("#result_list tbody tr").first).to_contain_text("A line was written by hand.")
    shoot(finance, "the-queue")
    finance.keyboard.press("j")
    finance.keyboard.press("Enter")
    expect(finance).to_have_url(re.compile(f"{admin}/{flagged.pk}/change/"))
    finance.get_by_role("button", name="Why this line is what it is").first.click()
    finance.get_by_role("link", name="1 event").click()
    finance.locator(".ch-table a", has_text="1").first.click()
    expect(finance.locator("#events")).to_contain_text("api.call")
    shoot(finance, "down-to-the-events")
    finance.goto(f"{admin}/{flagged.pk}/change/")
    finance.get_by_role("button", name="Approve", exact=True).click()
    expect(finance.get_by_text("somebody else", exact=False).first).to_be_visible()

    second = login("second")
    second.goto(f"{admin}/{flagged.pk}/change/")
    second.get_by_label("Note for the approval").fill("Mail of 3 January")
    second.get_by_role("button", name="Approve", exact=True).click()
    expect(second.get_by_text("Mail of 3 January").first).to_be_visible()
    second.get_by_role("button", name="Return to review").click()
    expect(second.get_by_text("is returned to review").first).to_be_visible()

    second.goto(f"{admin}/review/")
    take_for_all(second, "Approve")
    expect(second.get_by_text(f"{INVOICES} of {INVOICES} approved. Done.").first).to_be_visible()
    second.get_by_role("link", name="To the list").click()
    take_for_all(second, "Issue")
    expect(second.get_by_text(f"{INVOICES} of {INVOICES} issued. Done.").first).to_be_visible()
    shoot(second, "issued-in-bulk")
    assert list(BulkStep.objects.values_list("taken", flat=True)) == [INVOICES, INVOICES]
    issued = list(Invoice.objects.order_by("number"))
    assert [invoice.number for invoice in issued] == [f"INV-00000{number}" for number in range(1, INVOICES + 1)]
    paid, credited, voided = [invoice for invoice in issued if invoice.pk != flagged.pk][:3]

    for amount, reference, then in (("2", "RF18 0001", "3.00 USD is open"), ("", "RF18 0002", "")):
        finance.goto(f"{admin}/{paid.pk}/record_payment/")
        if amount:
            finance.get_by_label("Amount in USD").fill(amount)
        finance.get_by_label("Reference").fill(reference)
        finance.get_by_role("button", name="Record a payment").click()
        expect(finance.get_by_text(reference).first).to_be_visible()
        if then:
            finance.goto(f"{admin}/{paid.pk}/record_payment/")
            expect(finance.get_by_text(then).first).to_be_visible()
    paid.refresh_from_db()
    assert (paid.status, paid.paid_amount) == (Status.PAID, 5)

    finance.goto(f"{admin}/{credited.pk}/credit/")
    finance.locator("#id_line_1").fill("1.50")
    finance.get_by_label("Reason").fill("Outage on 3 January")
    finance.get_by_role("button", name="Ask for a credit note").click()
    expect(finance.get_by_text("somebody else issues it").first).to_be_visible()
    second.goto(f"{admin}/{credited.pk}/change/")
    second.locator("#credit-notes").get_by_role("link", name="Issue", exact=True).click()
    second.get_by_role("button", name="Issue the credit note").click()
    expect(second.get_by_text("1.50 USD is credited").first).to_be_visible()
    assert CreditNote.objects.get().total == Decimal("1.50")

    finance.goto(f"{admin}/{voided.pk}/void/")
    finance.get_by_label("Reason").fill("Wrong address")
    finance.get_by_role("button", name="Void", exact=True).click()
    expect(finance.get_by_text("This invoice takes its place.").first).to_be_visible()
    instead = Invoice.objects.get(replaces=voided)

    month = f"{admin}/month/?month=2026-01"
    finance.goto(month)
    finance.get_by_role("button", name="Close January 2026").click()
    expect(finance.get_by_text("January 2026 is not closed. Still open: 1 invoice to review.").first).to_be_visible()
    shoot(finance, "the-month-is-not-ready")
    finance.get_by_role("link", name="Invoices to review").click()
    finance.locator("#result_list tbody a").first.click()
    expect(finance).to_have_url(re.compile(f"{admin}/{instead.pk}/change/"))
    finance.wait_for_load_state()  # keys are heard once the page is there
    finance.keyboard.press("a")
    expect(finance.get_by_text("is approved").first).to_be_visible()
    finance.once("dialog", lambda dialog: dialog.accept())
    finance.get_by_role("button", name="Issue", exact=True).click()
    expect(finance.get_by_text("INV-000008").first).to_be_visible()

    finance.goto(month)
    expect(finance.get_by_text("Everything is done.").first).to_be_visible()
    finance.once("dialog", lambda dialog: dialog.accept())
    finance.get_by_role("button", name="Close January 2026").click()
    expect(finance.get_by_text("The books of January 2026 are closed.").first).to_be_visible()
    shoot(finance, "the-month-is-closed")
    assert str(AccountingPeriod.objects.get().closed_by) == "first"
    finance.goto(f"{admin}/waterfall/?from=2026-01")
    expect(finance.get_by_text("Nothing was deferred in these months.")).to_be_visible()
