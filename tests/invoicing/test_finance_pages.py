"""The review queue's comparisons, receivables by age, and the month's close as a checklist."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from contracts.models import Customer
from invoicing import lifecycle, payments
from invoicing.admin.sparkline import HEIGHT, WIDTH, points
from invoicing.close import close_periods
from invoicing.credit_notes import request_credit_note
from invoicing.models import AccountingPeriod, Invoice
from invoicing.receivables import AGES, Owed, age_of, in_order, receivables
from invoicing.trend import last_totals
from tests import factories
from tests.factories import day

pytestmark = pytest.mark.django_db
QUEUE = "admin:invoicing_review_queue"
MONTHS = [(10, 1), (20, 2), (5, 3)]  # units used, month


@pytest.fixture
def finance(roles: None) -> User:
    return factories.user("Finance")


def issued(actor: User, **terms: Any) -> Invoice:
    """An invoice over 10 units at 0.50 USD, due 30 days from now."""
    invoice = factories.reviewed(**terms)
    lifecycle.approve(invoice.pk, actor)
    return lifecycle.issue(invoice.pk, actor)


def three_months(contracts: int = 1) -> list[Invoice]:
    """Contracts with invoices in review of 5.00, 10.00 and 2.50 USD."""
    sold = factories.sell(contracts, used=())
    for contract in sold:
        for units, month in MONTHS:
            factories.send(contract.customer.key, units, day(10, month=month))
    close_periods(day(3, month=4))
    return list(Invoice.objects.filter(contract=sold[0]).order_by("ending_before"))


class TestQueue:
    def test_every_invoice_stands_beside_what_came_before(self, client: Client, finance: User) -> None:
        january, february, march = three_months()
        client.force_login(finance)
        response = client.get(reverse(QUEUE), follow=True)
        shown = {each.pk: each for each in response.context["cl"].result_list}
        assert [shown[each.pk].total_before for each in (january, february, march)] == [None, 5, 10]
        assert shown[march.pk].totals == [5, 10, Decimal("2.5")]
        page = response.content.decode()
        for part in ("10.00 USD", "+100%", "-75%", "5.00 USD, 10.00 USD, 2.50 USD", "<kbd>j</kbd>"):
            assert part in page
        invoice_page = client.get(reverse("admin:invoicing_invoice_change", args=[march.pk])).content.decode()
        assert "Last total" in invoice_page
        assert "-75%" in invoice_page

    def test_at_most_six_totals_up_to_the_invoice(self) -> None:
        (contract,) = factories.sell(used=(), billing_every="day", starting_at=day(1))
        for number in range(1, 9):
            factories.send(contract.customer.key, number * 2, day(number))
        close_periods(day(9, month=1))
        invoices = list(Invoice.objects.order_by("ending_before"))
        found = last_totals(invoices)
        assert [found[each.pk] for each in (invoices[1], invoices[7])] == [[1, 2], [3, 4, 5, 6, 7, 8]]

    def test_the_page_takes_as_many_queries_for_many(self, client: Client, finance: User) -> None:
        client.force_login(finance)
        three_months()
        url = reverse(QUEUE)
        client.get(url, follow=True)
        one = counted(lambda: client.get(url, follow=True))
        three_months(12)
        assert counted(lambda: client.get(url, follow=True)) == one <= 25


def counted(work: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        work()
    return len(queries)


@pytest.mark.parametrize(
    ("totals", "places"),
    [
        ([0, 10], [(2, 18), (70, 2)]),
        ([5, 5, 5], [(2, 2), (36, 2), (70, 2)]),
        ([0, 0], [(2, 18), (70, 18)]),
        ([-10, 10], [(2, 18), (70, 2)]),
    ],
)
def test_a_sparkline_stays_in_its_box(totals: list[int], places: list[tuple[int, int]]) -> None:
    found = points([Decimal(total) for total in totals])
    assert found == places
    assert all(0 <= across <= WIDTH and 0 <= down <= HEIGHT for across, down in found)


class TestReceivables:
    @pytest.mark.parametrize(
        ("overdue", "age"),
        [
            (timedelta(days=-10), "not due"),
            (timedelta(0), "not due"),
            (timedelta(seconds=1), "1-30"),
            (timedelta(days=30), "1-30"),
            (timedelta(days=30, seconds=1), "31-60"),
            (timedelta(days=60), "31-60"),
            (timedelta(days=90), "61-90"),
            (timedelta(days=91), "over 90"),
        ],
    )
    def test_every_invoice_has_one_age(self, finance: User, overdue: timedelta, age: str) -> None:
        invoice = issued(finance)
        assert invoice.due_at is not None
        as_of = invoice.due_at + overdue
        assert age_of(invoice.due_at, as_of) == age
        (owed,) = receivables(as_of)
        assert owed.by_age == {each: 5 if each == age else 0 for each in AGES}

    def test_those_longest_overdue_come_first(self) -> None:
        def owed(name: str, **amounts: int) -> Owed:
            ages = {age: Decimal(amounts.get(f"_{age[:2]}", 0)) for age in AGES}
            return Owed(Customer(name=name), "EUR", ages)

        assert owed("Ash", _no=100, _31=-1).oldest == list(AGES).index("31-60")
        rows = [owed("Ash", _no=9), owed("Birch", _61=1), owed("Cedar", _ov=1, _no=1), owed("Alder", _61=2)]
        assert [each.customer.name for each in in_order(rows)] == ["Cedar", "Alder", "Birch", "Ash"]

    def test_what_is_paid_credited_or_given_up_is_not_owed(self, finance: User) -> None:
        partly, paid, lost = issued(finance), issued(finance), issued(finance)
        now = timezone.now()
        payments.record_payment(partly.pk, payments.Received(Decimal(2), now, "hand:1"), finance)
        payments.record_payment(paid.pk, payments.Received(Decimal(5), now, "hand:2"), finance)
        payments.write_off(lost.pk, finance, "insolvent")
        assert [(owed.customer, owed.total) for owed in receivables(now)] == [(partly.customer, Decimal(3))]

    def test_amounts_lead_to_their_invoices(self, client: Client, finance: User) -> None:
        mine, _ = issued(finance), issued(finance)
        client.force_login(finance)
        response = client.get(reverse("admin:invoicing_receivables"))
        (row,) = [each for each in response.context["rows"] if each["customer"] == mine.customer]
        assert list(client.get(row["cells"][0]["url"]).context["cl"].result_list) == [mine]
        assert list(client.get(row["cells"][1]["url"]).context["cl"].result_list) == []
        (total,) = response.context["sums"]
        assert (total["currency"], total["total"]) == ("USD", 10)

    def test_the_list_of_issued_says_what_is_open_and_how_late(
        self, client: Client, finance: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = issued(finance)
        payments.record_payment(invoice.pk, payments.Received(Decimal(2), timezone.now(), "hand:1"), finance)
        client.force_login(finance)
        page = client.get("/admin/invoicing/invoice/?status__exact=issued").content.decode()
        assert "3.00 USD" in page
        assert "late</span>" not in page
        issued(finance, net_days=0)
        in_two_days = timezone.now() + timedelta(days=2, hours=1)
        monkeypatch.setattr("invoicing.admin.invoices.timezone.now", lambda: in_two_days)
        page = client.get("/admin/invoicing/invoice/?status__exact=issued").content.decode()
        assert "2 days late</span>" in page

    def test_as_csv_by_invoice(self, client: Client, finance: User) -> None:
        invoice = issued(finance)
        client.force_login(finance)
        response = client.get(reverse("admin:invoicing_receivables"), {"format": "csv"})
        (row,) = csv.DictReader(io.StringIO(response.content.decode()))
        assert row["customer"] == invoice.customer.key
        assert [row[name] for name in ("invoice", "currency", "age", "days_overdue", "open")] == [
            "INV-000001",
            "USD",
            "not due",
            "0",
            "5",
        ]

    def test_queries_do_not_grow(self, finance: User) -> None:
        issued(finance)
        one = counted(lambda: receivables(timezone.now()))
        for _ in range(3):
            issued(finance)
        assert counted(lambda: receivables(timezone.now())) == one == 2


class TestMonth:
    def numbers(self, client: Client, month: str = "2026-01") -> dict[str, int]:
        response = client.get(reverse("admin:invoicing_month"), {"month": month})
        return {check.label: check.number for check in response.context["checks"] if check.number}

    def test_what_is_left_to_do(self, client: Client, finance: User) -> None:
        owed, _ = issued(finance), factories.reviewed()
        note = request_credit_note(owed.pk, {1: Decimal(1)}, "outage", finance)
        product = factories.ProductFactory.create(
            meter=factories.MeterFactory.create(group_by=["model"]), pricing_keys=["model"]
        )
        rate = factories.RateFactory.create(product=product, where={"model": "a"})
        unrated = factories.ContractFactory.create(rate_card=rate.rate_card)
        factories.send(unrated.customer.key, 7, day(3), model="b")
        close_periods(day(2, month=2), unrated.key)
        factories.send("nobody", 1, day(3))
        client.force_login(finance)
        assert note.requested_at > datetime(2026, 2, 1, tzinfo=UTC)
        assert self.numbers(client) == {
            "Invoices to review": 2,
            "Invoices with usage without a rate": 1,
            "Unclaimed customer keys": 1,
        }
        assert self.numbers(client, f"{note.requested_at:%Y-%m}")["Credit notes asked for"] == 1
        assert "Invoices to review" not in self.numbers(client, "2025-12")

    @pytest.mark.books_unchecked
    def test_periods_not_closed_are_named(self, client: Client, finance: User) -> None:
        (contract,) = factories.sell()
        close_periods(day(2, month=2))
        contract.billing_periods.update(closed_at=None)
        client.force_login(finance)
        page = client.get(reverse("admin:invoicing_month"), {"month": "2026-01"}).content.decode()
        for period in contract.billing_periods.filter(ending_before__lte=day(1, month=2)):
            assert reverse("admin:invoicing_period", args=[period.pk]) in page
        assert "Billing periods not closed" in page

    @pytest.mark.parametrize("month", ["nonsense", "0001-01", "9999-12", "2026-13", ""])
    def test_another_month_is_the_last_one(self, client: Client, finance: User, month: str) -> None:
        client.force_login(finance)
        response = client.get(reverse("admin:invoicing_month"), {"month": month})
        assert response.context["month"] == response.context["months"][1]

    def test_every_link_opens(self, client: Client, finance: User) -> None:
        client.force_login(finance)
        for check in client.get(reverse("admin:invoicing_month")).context["checks"]:
            assert not check.url or client.get(check.url).status_code == 200


class TestClosingTheMonth:
    def close(self, client: Client, month: str = "2026-01", reason: str = "") -> Any:
        return client.post(f"{reverse('admin:invoicing_month_close')}?month={month}", {"reason": reason}, follow=True)

    def test_what_is_still_open_is_said_and_a_reason_closes_all_the_same(self, client: Client, finance: User) -> None:
        factories.reviewed()
        client.force_login(finance)
        refused = self.close(client)
        assert refused.status_code == 409
        assert "January 2026 is not closed. Still open: 1 invoice to review." in refused.content.decode()
        assert not AccountingPeriod.objects.exists()
        page = self.close(client, reason="The customer disputes it.").content.decode()
        assert "The books of January 2026 are closed." in page
        assert "With work left: The customer disputes it." in page
        closed = AccountingPeriod.objects.get()
        assert (closed.closed_by, closed.reason) == (finance, "The customer disputes it.")

    def test_months_close_in_order_and_once(self, client: Client, finance: User) -> None:
        first = factories.reviewed()
        lifecycle.approve(first.pk, finance)
        lifecycle.issue(first.pk, finance)
        client.force_login(finance)
        close_periods(day(2, month=3))
        for invoice in Invoice.objects.filter(status="in_review"):
            lifecycle.issue(lifecycle.approve(invoice.pk, finance).pk, finance)
        refused = self.close(client, "2026-02").content.decode()
        assert "Still open: 1 earlier month not closed." in refused
        assert f"{reverse('admin:invoicing_month')}?month=2026-01" in refused
        self.close(client, reason="nothing is open")
        assert AccountingPeriod.objects.get().reason == ""
        assert "are closed" in self.close(client, "2026-02").content.decode()
        again = self.close(client, "2026-02")
        assert AccountingPeriod.objects.count() == 2
        assert '<form method="post" action="/admin/invoicing/invoice/month/close' not in again.content.decode()

    def test_a_month_that_runs_is_not_closed(self, client: Client, finance: User) -> None:
        client.force_login(finance)
        assert "is not over yet" in self.close(client, "2999-01").content.decode()

    def test_nobody_else_closes(self, client: Client, roles: None) -> None:
        client.force_login(factories.user("Auditor"))
        assert self.close(client).status_code == 403
        page = client.get(reverse("admin:invoicing_month"), {"month": "2026-01"}).content.decode()
        assert "month/close" not in page
        assert client.get(reverse("admin:invoicing_month_close")).status_code == 405

    def test_the_command_says_what_is_open_too(self, roles: None) -> None:
        factories.reviewed()
        with pytest.raises(CommandError, match="Still open: 1 invoice to review"):
            call_command("close_month", "2026-01", stderr=io.StringIO())
        call_command("close_month", "2026-01", "--reason", "disputed", stdout=io.StringIO(), stderr=io.StringIO())
        assert AccountingPeriod.objects.get().reason == "disputed"


@pytest.mark.parametrize("name", ["receivables", "month"])
def test_pages_need_the_right_to_see_invoices(client: Client, roles: None, name: str) -> None:
    client.force_login(factories.user("Service"))
    assert client.get(reverse(f"admin:invoicing_{name}")).status_code == 403
    client.force_login(factories.user("Auditor"))
    assert client.get(reverse(f"admin:invoicing_{name}")).status_code == 200
