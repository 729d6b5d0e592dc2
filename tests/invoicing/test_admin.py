"""The review queue, the page of an invoice with its buttons, live drafts and the document."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from catalog.models import Rate
from contracts.models import BillingPeriod, Contract
from invoicing import lifecycle
from invoicing.admin import steps
from invoicing.close import close_periods
from invoicing.models import Invoice, Status
from tests import factories
from tests.factories import day

pytestmark = pytest.mark.django_db
LIST = "admin:invoicing_invoice_changelist"


@pytest.fixture
def finance(client: Client) -> User:
    user = factories.user("Finance")
    client.force_login(user)
    return user


def page_url(invoice: Invoice) -> str:
    return reverse("admin:invoicing_invoice_change", args=[invoice.pk])


def step_url(invoice: Invoice, step: str) -> str:
    return reverse(f"admin:invoicing_invoice_{step}", args=[invoice.pk])


def text_of(client: Client, url: str, **query: str) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def status_of(invoice: Invoice) -> str:
    return Invoice.objects.get(pk=invoice.pk).status


def issued(actor: User, **terms: Any) -> Invoice:
    invoice = factories.reviewed(**terms)
    lifecycle.approve(invoice.pk, actor)
    return lifecycle.issue(invoice.pk, actor)


def test_the_queue_shows_what_needs_a_look_first_then_the_largest(client: Client, finance: User) -> None:
    small, large = factories.reviewed(used=[1]), factories.reviewed(used=[100])
    odd = factories.reviewed(price={"model": "per_unit", "unit_amount": "0"})
    draft = factories.reviewed()
    Invoice.objects.filter(pk=draft.pk).update(attention=[])
    lifecycle.approve(draft.pk, finance)
    response = client.get(reverse("admin:invoicing_review_queue"), follow=True)
    assert [invoice.pk for invoice in response.context["cl"].result_list] == [odd.pk, large.pk, small.pk]
    page = response.content.decode()
    assert "Nothing was charged although there was usage." in page
    assert "50.00 USD" in page
    assert "1 – 31 Jan 2026" in page
    assert [(tab.label, tab.number) for tab in response.context["tabs"]] == [
        ("In review", 3),
        ("Approved", 1),
        ("Draft", 0),
        ("Issued", 0),
        ("Paid", 0),
        ("All", None),
    ]


def test_lists_can_be_filtered_and_searched(client: Client, finance: User) -> None:
    odd, plain = factories.reviewed(price={"model": "flat", "amount": "0"}), factories.reviewed()
    for query, found in (
        ({"flagged": "1"}, [odd]),
        ({"flagged": "0"}, [plain]),
        ({"q": plain.customer.key}, [plain]),
        ({"ending_before_from": "2026-02-01"}, []),
        ({"ending_before_from": "2026-01-31", "ending_before_to": "2026-01-31", "flagged": "0"}, [plain]),
        ({"ending_before_to": "2026-01-30"}, []),
        ({"ending_before_to": "nonsense", "flagged": "0"}, [plain]),
    ):
        assert list(client.get(reverse(LIST), query).context["cl"].result_list) == found


def test_an_invoice_says_why_each_line_is_what_it_is(client: Client, finance: User) -> None:
    tiers = [{"up_to": "4", "unit_amount": "0.00000005"}, {"unit_amount": "2", "flat_amount": "1"}]
    invoice = factories.reviewed(price={"model": "graduated", "tiers": tiers}, used=[4, 6])
    page = text_of(client, page_url(invoice))
    card = Rate.objects.get().rate_card
    for part in (
        "sum over <a",
        ">2 events</a>",
        "0.00000005 USD",
        "13.0000002 USD",
        "13.00 USD",
        f"rate card {card.key}",
        reverse("admin:catalog_ratecard_change", args=[card.pk]),
        reverse("admin:meters_meter_change", args=[Rate.objects.get().product.meter_id]),
    ):
        assert part in page
    assert "5E-8" not in page


def test_a_line_cut_by_a_new_rate_says_what_came_before(client: Client, finance: User) -> None:
    (contract,) = factories.sell(used=[10])
    rate = Rate.objects.get()
    Rate.objects.filter(pk=rate.pk).update(ending_before=day(15))
    factories.RateFactory.create(rate_card=rate.rate_card, product=rate.product, starting_at=day(15))
    factories.send(contract.customer.key, 3, day(20))
    close_periods(day(2, month=2))
    page = text_of(client, page_url(Invoice.objects.get()))
    assert "10: tiers carry on from there" in page
    assert "15 – 31 Jan 2026" in page


def test_usage_without_a_rate_is_named_with_a_link_to_add_one(client: Client, finance: User) -> None:
    meter = factories.MeterFactory.create(group_by=["model"])
    product = factories.ProductFactory.create(key="tokens", meter=meter, pricing_keys=["model"])
    rate = factories.RateFactory.create(product=product, where={"model": "a"})
    contract = factories.ContractFactory.create(rate_card=rate.rate_card)
    factories.send(contract.customer.key, 7, day(3), model="b")
    close_periods(day(2, month=2))
    invoice = Invoice.objects.get()
    page = text_of(client, page_url(invoice))
    assert "tokens, model=b: 7 without a rate." in page
    assert "Add a rate" not in page
    response = client.post(step_url(invoice, "approve"), follow=True)
    assert messages_of(response) == ["Some usage on this invoice has no rate: add one to the rate card, then approve."]
    client.force_login(factories.user("Sales ops"))
    page = text_of(client, page_url(invoice))
    assert f"rate_card={rate.rate_card.pk}&amp;product={product.pk}&amp;where=model%3Db" in page


def test_approving_and_issuing_with_the_buttons(client: Client, finance: User) -> None:
    invoice = factories.reviewed()
    page = text_of(client, page_url(invoice))
    assert step_url(invoice, "approve") in page
    assert step_url(invoice, "issue") not in page
    response = client.post(step_url(invoice, "approve"), follow=True)
    assert messages_of(response) == [f"{invoice.customer}: 5.00 USD is approved."]
    page = response.content.decode()
    assert step_url(invoice, "issue") in page
    assert step_url(invoice, "return_to_review") in page
    client.post(step_url(invoice, "return_to_review"))
    assert status_of(invoice) == Status.IN_REVIEW
    client.post(step_url(invoice, "approve"))
    response = client.post(step_url(invoice, "issue"), follow=True)
    invoice.refresh_from_db()
    assert invoice.status == Status.ISSUED
    assert messages_of(response)[-1] == f"{invoice.number}: 5.00 USD is issued."
    page = response.content.decode()
    assert str(invoice.number) in page
    assert "/issue/" not in page
    assert finance.username in page


def test_approving_can_go_on_to_the_next(client: Client, finance: User) -> None:
    first, second = factories.reviewed(used=[100]), factories.reviewed(used=[10])
    assert reverse("admin:invoicing_invoice_change", args=[second.pk]) in text_of(client, page_url(first))
    response = client.post(step_url(first, "approve"), {"next": "1"})
    assert response.headers["Location"] == page_url(second)
    response = client.post(step_url(second, "approve"), {"next": "1"})
    assert response.headers["Location"] == page_url(second)


def test_the_second_of_two_who_press_the_same_button_is_told(client: Client, finance: User) -> None:
    invoice = factories.reviewed()
    lifecycle.approve(invoice.pk, finance)
    response = client.post(step_url(invoice, "approve"), follow=True)
    assert "only an invoice that is in review can take this step" in messages_of(response)[0]


def test_usage_that_came_meanwhile_is_looked_at_first(client: Client, finance: User) -> None:
    invoice = factories.reviewed()
    factories.send(invoice.customer.key, 10, day(12))
    response = client.post(step_url(invoice, "approve"), {"next": "1"}, follow=True)
    assert messages_of(response)[0].startswith("Usage or terms changed since this invoice was written")
    assert "10.00 USD" in response.content.decode()
    assert status_of(invoice) == Status.IN_REVIEW


@pytest.mark.parametrize("step", ["approve", "return_to_review", "issue"])
def test_a_link_takes_no_step(client: Client, finance: User, step: str) -> None:
    invoice = factories.reviewed()
    assert client.get(step_url(invoice, step)).status_code == 405
    assert status_of(invoice) == Status.IN_REVIEW


def test_a_forged_form_takes_no_step(finance: User) -> None:
    invoice = factories.reviewed()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(finance)
    assert strict.post(step_url(invoice, "approve")).status_code == 403
    assert status_of(invoice) == Status.IN_REVIEW


@pytest.mark.parametrize("role", ["Sales ops", "Auditor", "Service"])
def test_only_finance_moves_invoices(client: Client, role: str) -> None:
    approver = User.objects.create_superuser("root")
    waiting, approved = factories.reviewed(), factories.reviewed()
    lifecycle.approve(approved.pk, approver)
    client.force_login(factories.user(role))
    for invoice, step in ((waiting, "approve"), (approved, "return_to_review"), (approved, "issue")):
        assert client.post(step_url(invoice, step)).status_code == 403
        if role != "Service":
            assert f"/{step}/" not in text_of(client, page_url(invoice))
    for action, invoice in (("approve_selected", waiting), ("issue_selected", approved)):
        client.post(reverse(LIST), {"action": action, "_selected_action": [invoice.pk], "index": "0"})
    assert [status_of(waiting), status_of(approved)] == [Status.IN_REVIEW, Status.APPROVED]


@pytest.mark.parametrize("role", ["Sales ops", "Finance", "Auditor", "admin"])
def test_nobody_writes_invoices_by_hand(client: Client, role: str) -> None:
    user = User.objects.create_superuser("root") if role == "admin" else factories.user(role)
    client.force_login(user)
    invoice = factories.reviewed()
    assert client.get(reverse("admin:invoicing_invoice_add")).status_code == 403
    assert client.post(page_url(invoice), {"status": "issued"}).status_code == 403
    assert client.post(page_url(invoice).replace("change", "delete"), {"post": "yes"}).status_code == 403
    client.post(reverse(LIST), {"action": "delete_selected", "_selected_action": [invoice.pk], "post": "yes"})
    assert status_of(invoice) == Status.IN_REVIEW


def test_several_are_approved_and_issued_at_once(client: Client, finance: User) -> None:
    good = [factories.reviewed(), factories.reviewed()]
    late = factories.reviewed()
    factories.send(late.customer.key, 1, day(12))
    keys = [invoice.pk for invoice in (*good, late)]
    form = {"action": "approve_selected", "_selected_action": keys, "index": "0"}
    told = messages_of(client.post(reverse(LIST), form, follow=True))
    assert told[0] == "2 invoices are approved."
    assert told[1].startswith(f"{late.customer}: Usage or terms changed")
    told = messages_of(client.post(reverse(LIST), {**form, "action": "issue_selected"}, follow=True))
    assert told[0] == "2 invoices are issued."
    numbered = Invoice.objects.exclude(number=None).order_by("number")
    assert list(numbered.values_list("number", flat=True)) == ["INV-000001", "INV-000002"]


def test_many_refusals_are_summed_up(client: Client, finance: User) -> None:
    invoice = factories.reviewed()
    copies = [invoice] * 12
    lifecycle.approve(invoice.pk, finance)
    request = client.get(page_url(invoice)).wsgi_request
    steps.take_all(request, finance, steps.APPROVE, copies)
    assert "... and 2 more were refused." in [str(message) for message in get_messages(request)]


def running_contract(**terms: Any) -> Contract:
    """A contract from 1 January 2026 on, with 10 units used just now."""
    (contract,) = factories.sell(used=(), **terms)
    factories.send(contract.customer.key, 10, timezone.now())
    return contract


def test_the_live_draft_follows_usage(client: Client, finance: User) -> None:
    contract = running_contract()
    url = reverse("admin:invoicing_live_draft", args=[contract.pk])
    assert "5.00 USD" in text_of(client, url)
    factories.send(contract.customer.key, 5, timezone.now())
    assert "7.50 USD" in text_of(client, url)
    assert not Invoice.objects.exists()


def test_a_contract_without_a_running_period_has_no_live_draft(client: Client, finance: User) -> None:
    contract = factories.ContractFactory.create(ending_before=day(1, month=2))
    page = text_of(client, reverse("admin:invoicing_live_draft", args=[contract.pk]))
    assert "has no billing period now" in page
    assert client.get(reverse("admin:invoicing_live_draft", args=[contract.pk + 1])).status_code == 404


@pytest.mark.books_unchecked
def test_a_billing_period_leads_to_its_invoice(client: Client, finance: User) -> None:
    invoice = factories.reviewed()
    response = client.get(reverse("admin:invoicing_period", args=[invoice.period_id]))
    assert response.headers["Location"] == page_url(invoice)
    open_period = BillingPeriod.objects.create(
        contract=invoice.contract, starting_at=day(1, month=4), ending_before=day(1, month=5)
    )
    assert "1 – 30 Apr 2026" in text_of(client, reverse("admin:invoicing_period", args=[open_period.pk]))


def test_a_draft_is_shown_as_it_is_now(client: Client, finance: User) -> None:
    (contract,) = factories.sell()
    close_periods(day(1, month=2))
    invoice = Invoice.objects.get(contract=contract)
    assert invoice.status == Status.DRAFT
    factories.send(contract.customer.key, 90, day(12))
    page = text_of(client, page_url(invoice))
    assert "50.00 USD" in page
    assert "shown as of now" in page


def test_an_issued_document_is_complete_and_keeps_what_it_says(client: Client, finance: User, settings: Any) -> None:
    settings.SELLER = {"name": "Tokens Inc", "address": "1 Main St", "tax_id": "US1", "email": "ar@tokens.test"}
    invoice = issued(finance)
    invoice.customer.name = "Renamed"
    invoice.customer.save()
    name = invoice.bill_to["name"]
    settings.SELLER = {"name": "Successor"}
    page = text_of(client, reverse("admin:invoicing_document", args=[invoice.pk]))
    for part in (
        "Invoice INV-000001",
        name,
        "Tokens Inc",
        "Tax ID US1",
        "1 – 31 Jan 2026",
        "0.50 USD",
        "5.00 USD",
        "30 days net",
        "Due date",
    ):
        assert part in page
    assert "Draft" not in page
    assert "Successor" not in page


def test_a_draft_document_is_marked_and_has_no_number(client: Client, finance: User) -> None:
    invoice = factories.reviewed()
    page = text_of(client, reverse("admin:invoicing_document", args=[invoice.pk]))
    assert '<div class="draft" aria-hidden="true">Draft</div>' in page
    assert "Invoice number" not in page
    assert str(invoice.customer) in page


def test_a_document_shows_tiers_and_other_currencies(client: Client, finance: User) -> None:
    tiers = [{"up_to": "4", "unit_amount": "100"}, {"unit_amount": "50", "flat_amount": "7"}]
    card = factories.RateCardFactory.create(currency="JPY")
    rate = factories.RateFactory.create(rate_card=card, price={"model": "graduated", "tiers": tiers})
    contract = factories.ContractFactory.create(rate_card=card)
    factories.send(contract.customer.key, 5, day(3))
    close_periods(day(2, month=2))
    page = text_of(client, reverse("admin:invoicing_document", args=[Invoice.objects.get().pk]))
    for part in (rate.product.name, "50 JPY + 7 JPY flat", "457 JPY"):
        assert part in page
    assert Invoice.objects.get().total.amount == Decimal(457)


def test_a_flat_fee_has_no_quantity(client: Client, finance: User) -> None:
    invoice = factories.reviewed(price={"model": "flat", "amount": "20"}, used=[1234])
    assert "flat fee" in text_of(client, page_url(invoice))
    document = text_of(client, reverse("admin:invoicing_document", args=[invoice.pk]))
    assert "20.00 USD" in document
    assert "1,234" not in document


def test_the_history_of_an_invoice_names_who_did_it(client: Client, finance: User) -> None:
    invoice = factories.reviewed()
    client.post(step_url(invoice, "approve"))
    page = text_of(client, reverse("admin:invoicing_invoice_history", args=[invoice.pk]))
    assert "in_review" in page
    assert finance.username in page


@pytest.mark.parametrize(
    ("role", "labels"),
    [
        ("Finance", ["invoices to review", "of them need a look", "approved, to be issued", "unclaimed customer keys"]),
        ("Service", []),
    ],
)
def test_the_front_page_shows_what_waits(client: Client, role: str, labels: list[str]) -> None:
    factories.reviewed(price={"model": "flat", "amount": "0"})
    factories.send("nobody", 1, day(3))
    client.force_login(factories.user(role))
    response = client.get(reverse("admin:index"))
    assert [tile.label for tile in response.context["tiles"]] == labels
    assert [tile.number for tile in response.context["tiles"]] == [1, 1, 0, 1][: len(labels)]
    assert ("is of 10 Jan 2026" in response.content.decode()) is (role == "Finance")


@pytest.mark.parametrize("name", ["document", "live_draft", "period"])
def test_pages_of_invoices_need_the_right_to_see_them(client: Client, name: str) -> None:
    client.force_login(factories.user("Service"))
    assert client.get(reverse(f"admin:invoicing_{name}", args=[1])).status_code == 403
