"""Sales writes a deal on screen and sees what it would bill; prices are planned on a grid. In a browser."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect

from catalog.models import Product, Rate
from contracts.deal_dates import shown_document
from contracts.deal_words import deal_form
from contracts.models import Contract, ContractTemplate, DealGuardrails, Standing
from tests.contracts.deal_documents import deal_documents
from tests.factories import CustomerFactory, ProductFactory, RateFactory, send, user
from tests.journeys.conftest import Login, Shoot

pytestmark = pytest.mark.browser
SCRIPT = Path(__file__).parents[2] / "catalog/static/catalog/document.js"


def part(page: Page, path: str) -> Any:
    """The inputs of a place in the deal."""
    return page.locator(f'[data-path="{path}"]').locator("input, select").first


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_sales_writes_a_deal_sees_the_preview_and_saves(login: Login, live_server: Any, shoot: Shoot) -> None:
    user("Sales ops", "sales")
    rate = RateFactory.create(rate_card__name="List prices", product__name="API units", product__key="api")
    RateFactory.create(
        rate_card=rate.rate_card,
        product=ProductFactory.create(key="seat", name="Seat", kind="subscription", meter=None),
        price={"model": "per_unit", "unit_amount": "10"},
    )
    customer = CustomerFactory.create(key="nordwind", name="Nordwind Example Ltd")
    now = datetime.now(UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    send("nordwind", 100, now)

    sales = login("sales")
    sales.goto(f"{live_server.url}/admin/contracts/contract/add/?customer={customer.pk}&rate_card={rate.rate_card.pk}")
    sales.locator("#id_key").fill("nordwind-1")
    sales.locator("#id_starting_at_0").fill(f"{month:%Y-%m-%d}")
    preview = sales.get_by_role("complementary", name="Preview")
    expect(preview.get_by_text("50.00 USD").first).to_be_visible()

    tab(sales, "Prices")
    sales.get_by_role("button", name="Add an override").click()
    part(sales, "overrides[0].multiplier").fill("1.5 or so")
    expect(sales.locator('[data-path="overrides[0].multiplier"] .doc-fault')).to_have_text(
        "Write a number, such as 1250 or 0.002."
    )
    expect(preview.get_by_text("Price overrides 1, times the rate")).to_be_visible()
    part(sales, "overrides[0].multiplier").fill("0.8")
    expect(preview.get_by_text("40.00 USD").first).to_be_visible()

    tab(sales, "Commits and credits")
    sales.get_by_role("button", name="Add a commit", exact=True).click()
    part(sales, "commits[0].key").fill("y1")
    sales.get_by_role("button", name="Add an amount that can be used").click()
    part(sales, "commits[0].access[0].amount").fill("30")
    part(sales, "commits[0].access[0].starting_at").fill(f"{month:%Y-%m-%d}")
    sales.get_by_role("button", name="Add an amount that is billed").click()
    part(sales, "commits[0].invoices[0].amount").fill("25")
    part(sales, "commits[0].invoices[0].at").fill(f"{month:%Y-%m-%d}")
    expect(preview.get_by_text("-30.00 USD").first).to_be_visible()
    expect(preview.get_by_text("25.00 USD").first).to_be_visible()

    tab(sales, "Seats")
    sales.get_by_role("button", name="Add a subscription").click()
    part(sales, "subscriptions[0].key").fill("seats")
    part(sales, "subscriptions[0].product").fill("seat")
    part(sales, "subscriptions[0].quantity").fill("7")
    expect(preview.get_by_text("51.00 USD").first).to_be_visible()
    expect(preview.locator("svg")).to_contain_text("seats, seats")
    shoot(sales, "sales-writes-a-deal")
    assert not Contract.objects.exists()

    sales.get_by_role("button", name="Save", exact=True).click()
    expect(sales.get_by_text("was added successfully")).to_be_visible()
    contract = Contract.objects.get()
    instant = month.isoformat()
    assert contract.deal == {
        "overrides": [{"kind": "multiplier", "multiplier": "0.8"}],
        "commits": [
            {
                "key": "y1",
                "access": [{"amount": "30", "starting_at": instant}],
                "invoices": [{"amount": "25", "at": instant}],
            }
        ],
        "subscriptions": [{"key": "seats", "product": "seat", "quantity": "7"}],
    }

    sales.goto(f"{live_server.url}/admin/contracts/contract/{contract.pk}/change/")
    tab(sales, "Commits and credits")
    sales.get_by_role("button", name="Remove this commit").click()
    sales.get_by_role("button", name="Save", exact=True).click()
    expect(sales.get_by_text("was changed successfully")).to_be_visible()
    sales.goto(f"{live_server.url}/admin/contracts/contract/{contract.pk}/history/")
    expect(sales.get_by_text("Commits y1:").first).to_be_visible()
    shoot(sales, "the-history-of-a-deal")

    sales.goto(f"{live_server.url}/admin/catalog/ratecard/{rate.rate_card.pk}/grid/")
    sales.get_by_label("New prices from").fill("2031-01-01")
    sales.get_by_role("button", name="Plan a price change").click()
    sales.get_by_label("API units, 2031-01-01", exact=True).fill("0.75")
    sales.get_by_label("API units, 2031-01-01", exact=True).press("Tab")
    sales.get_by_role("button", name="Work it out").click()
    expect(sales.get_by_text("No contract on this card has a closed period.")).to_be_visible()
    shoot(sales, "a-planned-price")
    with sales.expect_navigation():
        sales.get_by_role("button", name="Save prices").click()
    api = Product.objects.get(key="api")
    assert list(Rate.objects.filter(product=api).order_by("pk").values_list("price__unit_amount", flat=True)) == [
        "0.50",
        "0.75",
    ]


def test_a_deal_beyond_the_guardrails_is_agreed_by_a_second_person(
    login: Login, live_server: Any, shoot: Shoot
) -> None:
    user("Sales ops", "sales")
    user("Deal desk", "desk")
    DealGuardrails.objects.create(max_discount_percent=20)
    rate = RateFactory.create(rate_card__name="List prices", product__name="API units", product__key="api")
    starter = {"discounts": [{"percent": "10"}], "net_days": 14}
    ContractTemplate.objects.create(key="starter", name="Starter", rate_card=rate.rate_card, document=starter)
    customer = CustomerFactory.create(key="nordwind", name="Nordwind Example Ltd")
    now = datetime.now(UTC)
    send("nordwind", 100, now)

    sales = login("sales")
    sales.goto(f"{live_server.url}/admin/contracts/contract/add/?customer={customer.pk}")
    sales.get_by_label("Start from").select_option(label="Starter")
    sales.get_by_label("on", exact=True).fill(f"{now:%Y-%m}-01")
    sales.get_by_role("button", name="Fill in").click()
    expect(sales.locator("#id_net_days")).to_have_value("14")
    sales.locator("#id_key").fill("nordwind-1")
    if not sales.locator("#id_customer").input_value():
        sales.locator("#id_customer").evaluate(
            "(select, id) => { select.append(new Option(id, id, true, true)); }", str(customer.pk)
        )
    preview = sales.get_by_role("complementary", name="Preview")
    tab(sales, "Prices")
    expect(preview.get_by_text("45.00 USD").first).to_be_visible()
    part(sales, "discounts[0].percent").fill("30")
    expect(preview.get_by_text("35.00 USD").first).to_be_visible()
    sales.get_by_role("button", name="Save", exact=True).click()
    expect(sales.get_by_text("waits for a second person: Discounts: 30% off, above 20%")).to_be_visible()
    contract = Contract.objects.get()
    assert contract.status == Standing.AWAITING_APPROVAL

    address = f"{live_server.url}/admin/contracts/contract/{contract.pk}/change/"
    sales.goto(address)
    expect(sales.get_by_text("It bills nothing until it is agreed")).to_be_visible()
    expect(sales.locator("a", has_text="Approve")).to_have_count(0)
    desk = login("desk")
    desk.goto(address)
    shoot(desk, "a-deal-waits")
    desk.locator("a", has_text="Approve").click()
    desk.locator("textarea[name=note]").fill("A reference customer.")
    desk.locator("button[type=submit]", has_text="Approve").click()
    expect(desk.get_by_text("is active.")).to_be_visible()
    contract.refresh_from_db()
    assert (contract.status, contract.status_note) == (Standing.ACTIVE, "A reference customer.")
    assert contract.approved_by is not None
    assert contract.approved_by.username == "desk"
    sales.goto(address)
    expect(sales.get_by_text("It bills nothing until it is agreed")).to_have_count(0)


def test_the_form_loses_nothing(chromium: Browser) -> None:
    """Every deal the tests write, drawn as a form, and typed in again in all its fields."""
    documents = [shown_document(each, ZoneInfo("Europe/Berlin")) for each in deal_documents()]
    page = chromium.new_page()
    page.add_script_tag(path=SCRIPT)
    back = page.evaluate(
        """([description, documents]) => documents.map((given) => {
            const host = document.body.appendChild(document.createElement("div"));
            const editor = new DocumentEditor({ description, value: structuredClone(given) });
            editor.mount(host);
            const drawn = structuredClone(editor.value);
            for (const input of host.querySelectorAll("input:not([placeholder='add …'])")) {
                input.dispatchEvent(new Event(input.type === "checkbox" ? "change" : "input", { bubbles: true }));
            }
            for (const select of host.querySelectorAll("select:not(.doc-tag select)")) {
                select.dispatchEvent(new Event("change", { bubbles: true }));
            }
            const lost = editor.showFaults([{ path: Object.keys(given)[0], message: "here" }]);
            host.remove();
            return { drawn, typed: editor.value, lost: lost.length };
        })""",
        [json.loads(json.dumps(deal_form())), documents],
    )
    assert len(back) == len(documents) > 25
    for given, found in zip(documents, back, strict=True):
        assert found["drawn"] == given
        assert found["lost"] == 0
        assert _said(found["typed"]) == _said(given)


def _said(value: Any) -> Any:
    """Group values are texts: a number in one is the same when it was typed."""
    if isinstance(value, dict):
        return {key: _texts(each) if key == "where" else _said(each) for key, each in value.items()}
    return [_said(each) for each in value] if isinstance(value, list) else value


def _texts(group: dict[str, Any]) -> dict[str, str]:
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in group.items()}
