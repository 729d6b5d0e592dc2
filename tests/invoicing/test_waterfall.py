"""Deferred and unbilled revenue by month: the arithmetic, the chart, the page and its CSV."""

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import Product, Rate
from invoicing.accounting import movements
from invoicing.admin.waterfall_chart import HEIGHT, WIDTH, draw
from invoicing.close import close_periods
from invoicing.lifecycle import approve, issue
from invoicing.models import Invoice
from invoicing.revenue import CREDITS, DEFERRED, REVENUE, UNBILLED
from invoicing.waterfall import Moved, cohorts, waterfalls
from tests.factories import day, sell, send, user

D = Decimal
JANUARY, FEBRUARY, MARCH = (date(2026, month, 1) for month in (1, 2, 3))


def test_a_fee_in_advance_and_a_commit_that_expires() -> None:
    """120.00 for January to March in advance, 40.00 a month; a commit of 10.00: 6.00 drawn, 4.00 expired."""
    (found,) = waterfalls(
        [
            ("USD", JANUARY, DEFERRED, "issued", D(-130)),
            ("USD", JANUARY, DEFERRED, "earned", D(40)),
            ("USD", JANUARY, REVENUE, "earned", D(-40)),
            ("USD", MARCH, DEFERRED, "earned", D(46)),
            ("USD", MARCH, REVENUE, "earned", D(-46)),
            ("USD", MARCH, DEFERRED, "breakage", D(4)),
            ("USD", MARCH, REVENUE, "breakage", D(-4)),
            ("USD", MARCH, "cash", "payment", D(130)),
        ],
        FEBRUARY,
    )
    assert found.months == [
        Moved(JANUARY, billed=D(130), recognised=D(-40), revenue=D(40)),
        Moved(FEBRUARY, deferred_start=D(90)),
        Moved(MARCH, deferred_start=D(90), recognised=D(-46), expired=D(-4), revenue=D(50)),
    ]
    assert [moved.deferred_end for moved in found.months] == [90, 90, 40]


def test_usage_earned_accrued_and_invoiced() -> None:
    """5.00 used in January, closed before it is issued in February, with 1.00 paid by a free credit."""
    (found,) = waterfalls(
        [
            ("USD", JANUARY, UNBILLED, "accrual", D(5)),
            ("USD", JANUARY, REVENUE, "accrual", D(-5)),
            ("USD", FEBRUARY, UNBILLED, "accrual", D(-5)),
            ("USD", FEBRUARY, REVENUE, "accrual", D(5)),
            ("USD", FEBRUARY, UNBILLED, "earned", D(4)),
            ("USD", FEBRUARY, REVENUE, "earned", D(-5)),
            ("USD", FEBRUARY, CREDITS, "earned", D(1)),
            ("USD", FEBRUARY, UNBILLED, "issued", D(-4)),
        ],
        JANUARY,
    )
    assert found.months == [
        Moved(JANUARY, accrued=D(5), revenue=D(5)),
        Moved(FEBRUARY, unbilled_start=D(5), accrued=D(-5), earned=D(4), invoiced=D(-4), revenue=D(-1)),
    ]
    assert [moved.unbilled_end for moved in found.months] == [5, 0]


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["EUR", "USD"]),
        st.dates(date(2024, 1, 1), date(2027, 12, 31)).map(lambda each: each.replace(day=1)),
        st.sampled_from([DEFERRED, UNBILLED, REVENUE, CREDITS, "cash"]),
        st.sampled_from(["issued", "earned", "credited", "breakage", "accrual", "payment"]),
        st.decimals(-1000, 1000, places=2),
    ),
    max_size=40,
)


@given(MOVES)
def test_every_month_begins_where_the_last_ended_and_the_last_is_the_balance(rows: list[Any]) -> None:
    for found in waterfalls(rows, MARCH):
        of_currency = [row for row in rows if row[0] == found.currency]
        for account, sign in ((DEFERRED, -1), (UNBILLED, 1)):
            balance = sum((row[4] for row in of_currency if row[2] == account), D(0))
            last = found.months[-1]
            assert (last.deferred_end if account == DEFERRED else last.unbilled_end) == sign * balance
        for before, after in zip(found.months, found.months[1:], strict=False):
            assert (after.deferred_start, after.unbilled_start) == (before.deferred_end, before.unbilled_end)
            assert (after.month - before.month).days <= 31
        chart = draw(found)
        for bar in chart.bars:
            assert 0 <= bar.x < bar.x + bar.width <= WIDTH
            assert 0 <= bar.y < bar.y + bar.height <= HEIGHT
        assert all(0 <= left < right <= WIDTH for left, right, _ in chart.links)


def test_bars_hang_from_where_the_last_one_ended() -> None:
    (found,) = waterfalls(
        [("USD", JANUARY, DEFERRED, "issued", D(-100)), ("USD", JANUARY, DEFERRED, "earned", D(25))], JANUARY
    )
    billed, recognised, end = draw(found).bars
    assert billed.title == "January 2026, billed: 100.00 USD"
    assert recognised.title == "January 2026, recognised: -25.00 USD"
    assert billed.y == recognised.y
    assert recognised.y + recognised.height == end.y
    assert end.y + end.height == billed.y + billed.height


def test_revenue_by_the_month_it_was_invoiced_in() -> None:
    rows = [("USD", JANUARY, JANUARY, D(4)), ("USD", JANUARY, MARCH, D(5)), ("USD", MARCH, MARCH, D(1))]
    (found,) = cohorts(rows, JANUARY, MARCH)
    assert found.earned == [JANUARY, MARCH]
    assert found.rows == [(JANUARY, [D(4), D(5)]), (MARCH, [D(0), D(1)])]
    assert found.sums == [4, 6]
    assert cohorts(rows, FEBRUARY, FEBRUARY) == []


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


@pytest.fixture
def seats_in_advance(finance: User) -> Invoice:
    """Two seats at 45.00 for a quarter, billed on 1 January."""
    (contract,) = sell(used=())
    seat = Product.objects.create(key="seat", name="Seat", kind="subscription")
    Rate.objects.create(rate_card=contract.rate_card, product=seat, price={"model": "per_unit", "unit_amount": "45.00"})
    contract.deal = {"subscriptions": [{"key": "seats", "product": "seat", "quantity": "2", "every": "quarter"}]}
    contract.full_clean()
    contract.save()
    close_periods(day(2))
    waiting = Invoice.objects.get(status="in_review")
    return issue(approve(waiting.pk, finance).pk, finance)


@pytest.mark.django_db
class TestThePage:
    def ask(self, client: Client, **query: str) -> Any:
        return client.get(reverse("admin:invoicing_waterfall"), query)

    def test_the_table_adds_up_and_months_lead_to_their_close(
        self, client: Client, finance: User, seats_in_advance: Invoice
    ) -> None:
        client.force_login(finance)
        response = self.ask(client)
        (part,) = [part for part, _ in response.context["parts"]]
        assert part.months[-1].month == datetime.now(UTC).date().replace(day=1)
        assert sum(moved.revenue for moved in part.months) == 90
        page = response.content.decode()
        assert f"{reverse('admin:invoicing_month')}?month=2026-01" in page
        # Issued after the quarter: all of it was earned by then.
        assert "Nothing was deferred in these months." in page
        assert "<svg" not in page

    def test_what_is_deferred_is_drawn(self, client: Client, finance: User) -> None:
        window = {"amount": "8", "starting_at": "2026-01-01", "ending_before": "2099-01-01"}
        commit = {"key": "y1", "access": [window], "invoices": [{"amount": "6", "at": "2026-01-01"}]}
        (contract,) = sell(used=())
        contract.deal = {"commits": [commit]}
        contract.full_clean()
        contract.save()
        close_periods(day(2))
        issue(approve(Invoice.objects.get(status="in_review").pk, finance).pk, finance)
        client.force_login(finance)
        page = self.ask(client).content.decode()
        chart = page.partition("<svg")[2].partition("</svg>")[0]
        assert chart.count("<rect") >= 2
        assert "http" not in chart
        assert "Nothing was deferred" not in page

    def test_as_csv(self, client: Client, finance: User, seats_in_advance: Invoice) -> None:
        client.force_login(finance)
        response = self.ask(client, **{"from": "2026-02", "to": "2026-03", "format": "csv"})
        february, march = csv.DictReader(io.StringIO(response.content.decode()))
        # Issued today, long after: what January to March earned went through unbilled.
        assert (february["month"], february["earned"], february["revenue"]) == ("2026-02", "28", "28")
        assert (march["unbilled_start"], march["unbilled_end"]) == ("59", "90")
        assert sum(D(march[name]) for name in ("unbilled_start", "earned", "accrued", "invoiced")) == 90
        by_invoice = self.ask(client, **{"from": "2026-01", "format": "csv-by-invoice"}).content.decode()
        rows = list(csv.DictReader(io.StringIO(by_invoice)))
        assert {row["earned_in"]: row["revenue"] for row in rows} == {"2026-01": "31", "2026-02": "28", "2026-03": "31"}

    @pytest.mark.parametrize("month", ["", "nonsense", "0001-01", "9999-12", "2026-13"])
    def test_whatever_month_is_asked_for(
        self, client: Client, finance: User, seats_in_advance: Invoice, month: str
    ) -> None:
        client.force_login(finance)
        assert self.ask(client, **{"from": month, "to": month}).status_code == 200

    def test_empty_books(self, client: Client, finance: User) -> None:
        client.force_login(finance)
        assert "The books are empty" in self.ask(client).content.decode()

    def test_who_may_look(self, client: Client, roles: None) -> None:
        client.force_login(user("Service"))
        assert self.ask(client).status_code == 403
        client.force_login(user("Auditor"))
        assert self.ask(client).status_code == 200


@pytest.mark.django_db
def test_what_the_books_moved_by(finance: User) -> None:
    (contract,) = sell()
    close_periods(day(2, month=2))
    send(contract.customer.key, 1, day(3, month=2))
    issue(approve(Invoice.objects.get(status="in_review").pk, finance).pk, finance)
    assert ("USD", JANUARY, REVENUE, "earned", D(-5)) in movements()
