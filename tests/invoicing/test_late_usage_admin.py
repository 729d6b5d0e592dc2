"""The list of late usage: what came late, and what is decided about it."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from invoicing.close import close_periods
from invoicing.corrections import find_late_usage
from invoicing.lifecycle import approve, issue
from invoicing.models import CreditNote, Invoice, LateUsage
from meters.late_days import note
from meters.models import Subject
from tests.factories import day, sell, send, user

pytestmark = pytest.mark.django_db
LIST = "admin:invoicing_lateusage_changelist"
Decision = LateUsage.Decision


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


@pytest.fixture
def late(finance: User) -> LateUsage:
    """January's invoice over 10 units at 0.50 is issued; then 4 more come."""
    (contract,) = sell()
    close_periods(day(3, month=2))
    invoice = Invoice.objects.get()
    issue(approve(invoice.pk, finance).pk, finance)
    send(contract.customer.key, 4, day(20), event_id="late")
    note([(Subject.objects.get(key=contract.customer.key).pk, day(20))])
    find_late_usage(day(3, month=2))
    return LateUsage.objects.get()


def act(client: Client, action: str, *rows: LateUsage) -> Any:
    form = {"action": action, "_selected_action": [row.pk for row in rows], "index": "0"}
    return client.post(reverse(LIST), form, follow=True)


def told(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_a_row_says_what_came_late_and_where_it_goes(client: Client, finance: User, late: LateUsage) -> None:
    client.force_login(finance)
    page = client.get(reverse(LIST)).content.decode()
    for part in (str(late.invoice), str(late.invoice.customer), "10 → 14", "2.00 USD", "On the next invoice"):
        assert part in page
    assert "waits for an invoice" in page
    close_periods(day(2, month=3))
    after = Invoice.objects.get(starting_at=day(1, month=2))
    page = client.get(reverse(LIST)).content.decode()
    assert reverse("admin:invoicing_invoice_change", args=[after.pk]) in page


def test_held_back_credited_and_billed_after_all(client: Client, finance: User, late: LateUsage) -> None:
    client.force_login(finance)
    assert told(act(client, "hold", late)) == ["1 decided: to be decided."]
    assert client.get(reverse(LIST), {"decision__exact": Decision.PENDING}).context["cl"].result_count == 1
    assert told(act(client, "bill_next", late)) == ["1 decided: on the next invoice."]
    late.refresh_from_db()
    assert (late.decision, late.decided_by) == (Decision.NEXT_INVOICE, finance)
    refused = told(act(client, "credit", late))
    assert refused
    assert not CreditNote.objects.exists()


def test_writing_off_asks_why(client: Client, finance: User, late: LateUsage) -> None:
    client.force_login(finance)
    page = act(client, "write_off", late)
    assert "Why is it written off?" in page.content.decode()
    late.refresh_from_db()
    assert late.decision == Decision.NEXT_INVOICE
    form = {"action": "write_off", "_selected_action": [late.pk], "index": "0", "reason": "goodwill"}
    assert told(client.post(reverse(LIST), form, follow=True)) == ["1 decided: written off."]
    late.refresh_from_db()
    assert (late.decision, late.reason) == (Decision.WRITE_OFF, "goodwill")
    close_periods(day(2, month=3))
    assert Invoice.objects.get(starting_at=day(1, month=2)).total.amount == 0


def test_a_credit_for_usage_that_was_less(client: Client, finance: User, late: LateUsage) -> None:
    """4 units were taken back after they had been billed: the difference is below zero, and is credited."""
    client.force_login(finance)
    close_periods(day(2, month=3))
    after = Invoice.objects.get(starting_at=day(1, month=2))
    issue(approve(after.pk, finance).pk, finance)
    send(late.invoice.customer.key, -6, day(21), event_id="less")
    note([(Subject.objects.get(key=late.invoice.customer.key).pk, day(21))])
    find_late_usage(day(3, month=3))
    less = LateUsage.objects.exclude(pk=late.pk).get()
    assert less.amount == -3
    assert told(act(client, "credit", less)) == ["1 decided: credit note."]
    assert CreditNote.objects.get().total == Decimal(3)


def test_what_is_billed_is_decided(client: Client, finance: User, late: LateUsage) -> None:
    client.force_login(finance)
    close_periods(day(2, month=3))
    after = Invoice.objects.get(starting_at=day(1, month=2))
    issue(approve(after.pk, finance).pk, finance)
    assert "billed" in told(act(client, "hold", late))[0]


def test_what_waits_for_a_decision_stands_first(client: Client, finance: User, late: LateUsage) -> None:
    send(late.invoice.customer.key, 1_000, day(22), event_id="more")
    note([(Subject.objects.get(key=late.invoice.customer.key).pk, day(22))])
    find_late_usage(day(3, month=2))
    newer = LateUsage.objects.exclude(pk=late.pk).get()
    client.force_login(finance)
    assert list(client.get(reverse(LIST)).context["cl"].result_list) == [newer, late]
    act(client, "hold", late)
    response = client.get(reverse(LIST))
    assert list(response.context["cl"].result_list) == [late, newer]
    assert "14 → 1,014" in response.content.decode()


def test_auditors_look_and_others_do_not(client: Client, late: LateUsage) -> None:
    client.force_login(user("Auditor"))
    response = client.get(reverse(LIST))
    assert str(late.invoice) in response.content.decode()
    act(client, "hold", late)
    late.refresh_from_db()
    assert late.decision == Decision.NEXT_INVOICE
    detail = reverse("admin:invoicing_lateusage_change", args=[late.pk])
    assert client.get(detail)["Location"] == reverse("admin:invoicing_invoice_change", args=[late.invoice_id])
    client.force_login(user("Service"))
    assert client.get(reverse(LIST)).status_code == 403
