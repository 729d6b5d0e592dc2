"""A step for more invoices than a page of the list holds: some at a time, with its progress, going on after a kill."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.urls import reverse

from billing_project.errors import RuleError
from billing_project.locks import lock_number
from invoicing import bulk_steps, lifecycle
from invoicing.admin.invoices import InvoiceAdmin
from invoicing.bulk_steps import begin, go_on
from invoicing.close import close_periods
from invoicing.models import BulkStep, Invoice, Status
from tests import factories
from tests.factories import day

pytestmark = pytest.mark.django_db
NOTHING, MINUTE = timedelta(0), timedelta(minutes=1)
LIST = "admin:invoicing_invoice_changelist"


@pytest.fixture
def finance(roles: None) -> User:
    return factories.user("Finance")


def waiting(number: int = 4) -> list[Invoice]:
    factories.sell(number)
    close_periods(day(2, month=2))
    return list(Invoice.objects.order_by("pk"))


def states() -> list[str]:
    return list(Invoice.objects.order_by("pk").values_list("status", flat=True))


class TestGoingOn:
    def test_some_at_a_time_until_all_are_taken(self, finance: User) -> None:
        invoices = waiting()
        bulk = begin("approve", [invoice.pk for invoice in invoices], finance, "looked at all")
        assert states() == [Status.IN_REVIEW] * 4
        for done in range(1, 5):
            assert go_on(bulk.pk, finance, span=NOTHING).position == done
        bulk.refresh_from_db()
        assert (bulk.taken, bulk.refusals, bulk.left) == (4, [], 0)
        assert bulk.finished_at is not None
        assert states() == [Status.APPROVED] * 4
        assert invoices[0].steps.get(step="approved").reason == "looked at all"
        assert go_on(bulk.pk, finance).taken == 4

    def test_what_is_refused_is_named_and_the_rest_goes_on(self, finance: User) -> None:
        invoices = waiting(3)
        lifecycle.reject(invoices[1].pk, finance, "old rate")
        done = go_on(begin("approve", [invoice.pk for invoice in invoices], finance).pk, finance, span=MINUTE)
        assert (done.taken, done.left) == (2, 0)
        ((pk, text),) = done.refusals
        assert pk == invoices[1].pk
        assert "It was rejected: old rate" in text

    @pytest.mark.parametrize("taken", range(4))
    def test_killed_between_a_step_and_its_note(
        self, finance: User, monkeypatch: pytest.MonkeyPatch, taken: int
    ) -> None:
        """The step of one invoice was committed, that it was taken was not written down."""
        invoices = waiting()
        bulk = begin("approve", [invoice.pk for invoice in invoices], finance)
        save, saved = BulkStep.save, 0

        def dying(row: BulkStep, *args: Any, **more: Any) -> None:
            nonlocal saved
            saved += 1
            if saved == taken + 1:
                raise KeyboardInterrupt
            save(row, *args, **more)

        monkeypatch.setattr(BulkStep, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            go_on(bulk.pk, finance, span=MINUTE)
        monkeypatch.undo()
        bulk.refresh_from_db()
        assert bulk.position == taken
        assert states().count(Status.APPROVED) == taken + 1
        done = go_on(bulk.pk, finance, span=MINUTE)
        assert (done.taken, done.refusals, done.left) == (4, [], 0)

    def test_what_somebody_else_took_is_refused(self, finance: User) -> None:
        (invoice,) = waiting(1)
        bulk = begin("approve", [invoice.pk], finance)
        lifecycle.approve(invoice.pk, factories.user("Finance", "other"))
        assert "can take this step" in go_on(bulk.pk, finance).refusals[0][1]

    def test_an_invoice_that_is_gone_is_named(self, finance: User) -> None:
        assert "It is gone" in go_on(begin("issue", [987654321], finance).pk, finance).refusals[0][1]

    def test_only_who_began_it_goes_on(self, finance: User) -> None:
        bulk = begin("approve", [invoice.pk for invoice in waiting(1)], finance)
        with pytest.raises(PermissionDenied, match="finance began this"):
            go_on(bulk.pk, factories.user("Finance", "other"))

    def test_two_windows_do_not_take_a_step_twice(self, finance: User) -> None:
        bulk = begin("approve", [invoice.pk for invoice in waiting(1)], finance)
        given = connection.get_connection_params()
        where = {name: given[name] for name in ("dbname", "user", "password", "host", "port") if given.get(name)}
        with psycopg.connect(**where, autocommit=True) as other:
            number = lock_number("bulk step", bulk.pk)
            other.execute("SELECT pg_advisory_lock(%s)", [number])
            assert go_on(bulk.pk, finance).position == 0
            other.execute("SELECT pg_advisory_unlock(%s)", [number])
        assert go_on(bulk.pk, finance).position == 1

    def test_an_unknown_step(self, finance: User) -> None:
        with pytest.raises(RuleError, match="approve, issue"):
            begin("void", [], finance)


class TestThePage:
    def begun(self, client: Client, action: str = "approve_selected") -> str:
        """All invoices of the list are chosen, more than its page holds."""
        first = Invoice.objects.first()
        assert first is not None
        form = {"action": action, "_selected_action": [first.pk], "index": "0", "select_across": "1"}
        response = client.post(reverse(LIST), form)
        assert response.status_code == 302
        return str(response["Location"])

    @pytest.fixture(autouse=True)
    def small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(InvoiceAdmin, "list_per_page", 2)
        monkeypatch.setattr(bulk_steps, "SPAN", NOTHING)

    def test_more_than_a_page_is_approved_and_issued(self, client: Client, finance: User) -> None:
        waiting(3)
        client.force_login(finance)
        page = self.begun(client)
        assert page == reverse("admin:invoicing_bulk", args=[BulkStep.objects.get().pk])
        assert "<strong>0</strong> of 3 approved" in client.get(page).content.decode()
        assert states() == [Status.IN_REVIEW] * 3
        answer: dict[str, Any] = {}
        for _ in range(3):
            answer = client.post(page, headers={"accept": "application/json"}).json()
        assert answer["done"]
        assert "<strong>3</strong> of 3 approved. Done." in answer["shown"]
        issuing = self.begun(client, "issue_selected")
        for _ in range(3):
            assert client.post(issuing).status_code == 302
        numbers = Invoice.objects.order_by("number").values_list("number", flat=True)
        assert list(numbers) == ["INV-000001", "INV-000002", "INV-000003"]

    def test_others_look_and_do_not_go_on(self, client: Client, finance: User) -> None:
        waiting(3)
        client.force_login(finance)
        page = self.begun(client)
        client.force_login(factories.user("Auditor"))
        assert "finance began this; only they go on with it." in client.get(page).content.decode()
        client.post(page)
        assert states() == [Status.IN_REVIEW] * 3
        client.force_login(factories.user("Service"))
        assert client.get(page).status_code == 403

    def test_refusals_lead_to_their_invoices(self, client: Client, finance: User) -> None:
        held = waiting(3)[0]
        lifecycle.reject(held.pk, finance, "old rate")
        client.force_login(finance)
        page = self.begun(client)
        for _ in range(3):
            client.post(page)
        shown = client.get(page).content.decode()
        assert reverse("admin:invoicing_invoice_change", args=[held.pk]) in shown
        assert "It was rejected: old rate" in shown
        assert "bulk.js" not in shown


def test_an_approval_keeps_its_note_and_lines_lead_to_their_events(client: Client, finance: User) -> None:
    invoice = factories.reviewed()
    client.force_login(finance)
    page = client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()
    line = invoice.lines.get()
    customer = invoice.customer.key
    days = "start=2026-01-01&amp;end=2026-01-31&amp;window=day"
    link = f"?customer={customer}&amp;meter={line.meter}&amp;group_by=&amp;{days}"
    assert link in page
    url = reverse("admin:contracts_usage") + link.replace("&amp;", "&") + "&tz=UTC"
    assert client.get(url).context["rows"][0].row.events == 1
    client.post(reverse("admin:invoicing_invoice_approve", args=[invoice.pk]), {"note": " asked sales "})
    assert invoice.steps.get(step="approved").reason == "asked sales"
