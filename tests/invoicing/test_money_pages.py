"""The steps of an invoice that ask for something first, and the lists of what came in and was credited."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from invoicing import lifecycle
from invoicing.admin.asking import ASKS
from invoicing.credit_notes import request_credit_note
from invoicing.lines_by_hand import Written, add_line
from invoicing.models import AddedLine, AutoApproval, CreditNote, Invoice, Payment, Status
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def finance(client: Client) -> User:
    user = factories.user("Finance")
    client.force_login(user)
    return user


@pytest.fixture
def second(roles: None) -> User:
    return factories.user("Finance", "second")


def issued(actor: User, **terms: Any) -> Invoice:
    """An invoice over 10 units at 0.50 USD."""
    invoice = factories.reviewed(**terms)
    lifecycle.approve(invoice.pk, actor)
    return lifecycle.issue(invoice.pk, actor)


def page_url(invoice: Invoice) -> str:
    return reverse("admin:invoicing_invoice_change", args=[invoice.pk])


def url_of(name: str, *keys: int | None) -> str:
    return reverse(f"admin:invoicing_invoice_{name}", args=keys)


def page_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def prefilled(client: Client, url: str, **changes: str) -> dict[str, str]:
    """What the browser would send back without a change, but for `changes`."""
    form = client.get(url).context["form"]
    return {field.html_name: str(field.value() or "") for field in form} | changes


def errors_of(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200
    return {name: list(texts) for name, texts in response.context["form"].errors.items()}


def test_reject_with_a_note_and_release(client: Client, finance: User) -> None:
    first, other = factories.reviewed(used=[100]), factories.reviewed()
    url = url_of("reject", first.pk)
    assert url in page_of(client, page_url(first))
    assert errors_of(client.post(url, {"reason": " "})) == {"reason": ["This field is required."]}
    response = client.post(url, {"reason": "The rate is last year's.", "next": "1"})
    assert response.headers["Location"] == page_url(other)
    page = page_of(client, page_url(first))
    assert "The rate is last year&#x27;s." in page
    assert url_of("approve", first.pk) not in page
    queue = client.get(reverse("admin:invoicing_review_queue"), follow=True).context["cl"].result_list
    assert [invoice.pk for invoice in queue] == [other.pk, first.pk]
    client.post(url_of("release", first.pk))
    assert Invoice.objects.get(pk=first.pk).hold_reason == ""
    steps = client.get(page_url(first)).context["taken"]
    assert [(each.step, each.actor) for each in steps] == [("released", finance), ("rejected", finance)]


def test_a_line_by_hand_comes_and_goes(client: Client, finance: User) -> None:
    invoice = factories.reviewed()
    url = url_of("add_line", invoice.pk)
    given = {"name": "Onboarding", "quantity": "2", "unit_amount": "0", "reason": "as agreed", "product": ""}
    assert errors_of(client.post(url, given)) == {
        "unit_amount": ["The line comes to nothing: give another quantity or unit amount."]
    }
    assert "product" in errors_of(client.post(url, {**given, "product": "no such key"}))
    client.post(url, {**given, "unit_amount": "100.25"})
    line = AddedLine.objects.get()
    assert (line.author, line.amount) == (finance, Decimal("200.50"))
    page = page_of(client, page_url(invoice))
    take_off = url_of("remove_line", invoice.pk, line.pk)
    for part in ("205.50 USD", "as agreed", take_off):
        assert part in page
    client.post(take_off, {"reason": "twice"})
    assert not AddedLine.objects.exists()
    assert Invoice.objects.get(pk=invoice.pk).total.amount == 5


def test_a_payment_is_prefilled_and_recorded_once(client: Client, finance: User) -> None:
    invoice = issued(finance)
    url = url_of("record_payment", invoice.pk)
    given = prefilled(client, url, reference="transfer 7")
    assert given["amount"] == "5.00"
    too_much = errors_of(client.post(url, {**given, "amount": "5.01"}))
    assert too_much["amount"][0].startswith("5 USD is open on INV-000001")
    assert "received_on" in errors_of(client.post(url, {**given, "received_on": "2999-01-01"}))
    for _ in range(2):
        client.post(url, {**given, "amount": "2"})
    payment = Payment.objects.get()
    assert (payment.amount, payment.recorded_by, payment.reference) == (Decimal(2), finance, "transfer 7")
    assert prefilled(client, url)["amount"] == "3.00"
    client.post(url, prefilled(client, url))
    assert Invoice.objects.get(pk=invoice.pk).status == Status.PAID
    assert url not in page_of(client, page_url(invoice))


def test_a_payment_is_taken_back(client: Client, finance: User) -> None:
    invoice, other = issued(finance), issued(finance)
    client.post(url_of("record_payment", invoice.pk), prefilled(client, url_of("record_payment", invoice.pk)))
    payment = Payment.objects.get()
    url = url_of("reverse_payment", invoice.pk, payment.pk)
    assert url in page_of(client, page_url(invoice))
    assert client.get(url_of("reverse_payment", other.pk, payment.pk)).status_code == 404
    client.post(url, {"reason": "bounced"})
    assert Invoice.objects.get(pk=invoice.pk).status == Status.ISSUED
    page = page_of(client, page_url(invoice))
    assert url not in page
    assert "-5.00 USD" in page


def test_write_off(client: Client, finance: User) -> None:
    invoice = issued(finance)
    client.post(url_of("write_off", invoice.pk), {"reason": "insolvent"})
    assert Invoice.objects.get(pk=invoice.pk).status == Status.UNCOLLECTIBLE
    page = page_of(client, page_url(invoice))
    assert url_of("record_payment", invoice.pk) in page
    assert url_of("write_off", invoice.pk) not in page


def test_a_void_leads_to_the_replacement(client: Client, finance: User) -> None:
    invoice = issued(finance)
    response = client.post(url_of("void", invoice.pk), {"reason": "wrong address"})
    instead = Invoice.objects.get(replaces=invoice)
    assert response.headers["Location"] == page_url(instead)
    assert page_url(invoice) in page_of(client, page_url(instead))
    assert page_url(instead) in page_of(client, page_url(invoice))


def test_one_asks_for_a_credit_note_and_another_issues_it(client: Client, finance: User, second: User) -> None:
    invoice = issued(finance)
    url = url_of("credit", invoice.pk)
    given = prefilled(client, url)
    assert given["line_1"] == "5.00"
    refused = errors_of(client.post(url, {**given, "line_1": "6", "reason": "outage"}))
    assert refused == {"line_1": ["5 USD of this line is left to credit."]}
    assert errors_of(client.post(url, {"line_1": "", "reason": "outage"})) == {
        "__all__": ["Name at least one line and how much of it is credited."]
    }
    client.post(url, {"line_1": "1.50", "reason": "outage on the 3rd"})
    note = CreditNote.objects.get()
    issue = url_of("issue_note", invoice.pk, note.pk)
    assert issue not in page_of(client, page_url(invoice))
    assert errors_of(client.post(issue)) == {
        "__all__": ["You asked for this credit note yourself: somebody else must issue it."]
    }
    client.force_login(second)
    assert issue in page_of(client, page_url(invoice))
    client.post(issue)
    note.refresh_from_db()
    assert (note.status, note.issued_by) == (CreditNote.Status.ISSUED, second)
    page = page_of(client, reverse("admin:invoicing_credit_note_document", args=[note.pk]))
    for part in (f"Credit note {note.number}", "INV-000001", "outage on the 3rd", "1.50 USD", invoice.bill_to["name"]):
        assert part in page
    assert "Draft" not in page
    assert "3.50 USD" in page_of(client, page_url(invoice))


def test_a_credit_note_is_rejected(client: Client, finance: User) -> None:
    invoice = issued(finance)
    note = request_credit_note(invoice.pk, {1: Decimal(5)}, "all of it", finance)
    client.post(url_of("reject_note", invoice.pk, note.pk), {"reason": "it was used"})
    note.refresh_from_db()
    assert note.status == CreditNote.Status.REJECTED
    document = page_of(client, reverse("admin:invoicing_credit_note_document", args=[note.pk]))
    assert "Rejected: it was never issued." in document


@pytest.mark.parametrize("role", ["Sales ops", "Auditor"])
def test_others_are_offered_and_may_do_nothing(client: Client, second: User, role: str) -> None:
    waiting, owed = factories.reviewed(), issued(second)
    line = add_line(waiting.pk, Written("Fee", Decimal(1), "agreed"), second)
    note = request_credit_note(owed.pk, {1: Decimal(1)}, "outage", second)
    client.force_login(factories.user(role))
    of_parts = {"remove_line": (waiting, line.pk), "issue_note": (owed, note.pk), "reject_note": (owed, note.pk)}
    urls = [url_of(ask.name, invoice.pk) for ask in ASKS for invoice in (waiting, owed)]
    urls += [url_of(name, invoice.pk, key) for name, (invoice, key) in of_parts.items()]
    pages = page_of(client, page_url(waiting)) + page_of(client, page_url(owed))
    for url in urls:
        assert client.post(url, {"reason": "mine"}).status_code == 403
        assert url not in pages
    assert [each.name for each in ASKS] == ["reject", "add_line", "record_payment", "credit", "write_off", "void"]


def test_payments_and_credit_notes_are_lists_to_read(client: Client, finance: User) -> None:
    invoice = issued(finance)
    client.post(
        url_of("record_payment", invoice.pk), prefilled(client, url_of("record_payment", invoice.pk), amount="1")
    )
    note = request_credit_note(invoice.pk, {1: Decimal(2)}, "outage", finance)
    for model, key, text in (("payment", Payment.objects.get().pk, "1.00 USD"), ("creditnote", note.pk, "2.00 USD")):
        assert text in page_of(client, reverse(f"admin:invoicing_{model}_changelist"))
        response = client.get(reverse(f"admin:invoicing_{model}_change", args=[key]))
        assert response.headers["Location"].startswith(page_url(invoice))
        assert client.get(reverse(f"admin:invoicing_{model}_add")).status_code == 403


def test_finance_sets_the_rules_of_automatic_approval(client: Client, finance: User) -> None:
    url = reverse("admin:invoicing_autoapproval_add")
    response = client.post(url, {"currency": "dollars", "largest_total": "-1", "active": "on"})
    assert {"currency", "largest_total"} <= set(response.context["adminform"].form.errors)
    client.post(url, {"currency": "USD", "largest_total": "100", "largest_change_percent": "", "active": "on"})
    assert AutoApproval.objects.get().largest_total == 100
    assert "100.00 USD" in page_of(client, reverse("admin:invoicing_autoapproval_changelist"))
    client.force_login(factories.user("Sales ops"))
    assert client.get(url).status_code == 403
