"""Revenue by line and day: it adds up to the journal, whatever becomes of an invoice."""

import csv
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.test import Client

from catalog.models import Product, Rate
from contracts.models import Contract
from invoicing.accounting import close_month
from invoicing.books import INVARIANTS
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, request_credit_note
from invoicing.lifecycle import approve, issue
from invoicing.models import EarnedDays, Invoice, JournalEntry
from invoicing.revenue import CREDITS, REVENUE
from invoicing.revenue_by_day import days_add_up_to_entries
from invoicing.spend_thresholds import bill_thresholds
from invoicing.voiding import void
from tests.cases import worked_example
from tests.factories import ContractFactory, MeterFactory, ProductFactory, RateFactory, day, sell, send, user

pytestmark = pytest.mark.django_db
JANUARY = date(2026, 1, 1)


@pytest.fixture
def finance(roles: None) -> Iterator[User]:
    """Who issues; the books must hold at the end."""
    yield user("Finance")
    assert [fault for invariant in INVARIANTS.values() for fault in invariant()] == []


def measured(**meter: Any) -> Contract:
    """A contract on a product whose meter has other terms than usual."""
    product = ProductFactory.create(meter=MeterFactory.create(**meter), presentation_keys=meter.get("group_by", []))
    return ContractFactory.create(rate_card=RateFactory.create(product=product).rate_card)


def billed(finance: User, month: int = 2) -> Invoice:
    close_periods(day(2, month=month))
    waiting = Invoice.objects.filter(status="in_review").order_by("ending_before")
    return [issue(approve(each.pk, finance).pk, finance) for each in waiting][-1]


def by_day(**only: str) -> dict[str, str]:
    """The report's revenue by day, days that come to nothing left out; `only` by column."""
    out = StringIO()
    call_command("export_revenue", stdout=out)
    found: dict[str, Decimal] = {}
    for row in csv.DictReader(StringIO(out.getvalue())):
        if all(row[name] == value for name, value in only.items()):
            found[row["day"][5:]] = found.get(row["day"][5:], Decimal(0)) + Decimal(row["amount"])
    return {each: f"{found[each]:.2f}" for each in sorted(found) if found[each]}


def test_usage_is_earned_on_its_days(finance: User) -> None:
    """10 units on the 10th and 4 on the 20th at 0.50; one entry of the journal for both."""
    (contract,) = sell()
    send(contract.customer.key, 4, day(20))
    invoice = billed(finance)
    assert by_day() == {"01-10": "5.00", "01-20": "2.00"}
    assert JournalEntry.objects.filter(kind="earned").count() == 1
    out = StringIO()
    call_command("export_revenue", "--month", "2026-01", stdout=out)
    rows = list(csv.reader(StringIO(out.getvalue())))
    line = invoice.lines.get()
    assert dict(zip(rows[0], rows[1], strict=True)) == {
        "day": "2026-01-10",
        "booked": "2026-01-31",
        "currency": "USD",
        "customer": contract.customer.key,
        "contract": contract.key,
        "document": invoice.number,
        "line": "1",
        "line_kind": "usage",
        "product": line.product,
        "name": line.name,
        "account": "revenue",
        "balance": "",
        "entry": "earned",
        "amount": "5",
    }
    out = StringIO()
    call_command("export_revenue", "--month", "2026-02", stdout=out)
    assert len(out.getvalue().splitlines()) == 1


def test_published_usage_of_a_day(finance: User) -> None:
    example = worked_example("orb_revrec_usage_recognised_on_usage_day")
    given = example["inputs"]
    (contract,) = sell(price={"model": "per_unit", "unit_amount": given["unit_amount"]}, used=())
    send(contract.customer.key, given["files_on_april_2"], day(2, month=4))
    send(contract.customer.key, given["files_in_april"] - given["files_on_april_2"], day(20, month=4))
    billed(finance, month=5)
    assert by_day()["04-02"] == example["expected"]["recognised_april_2"]


def test_published_usage_billed_once_a_year(finance: User) -> None:
    used = worked_example("stripe_revenue_recognised_on_usage_date")["inputs"]["usage"][:2]
    (contract,) = sell(price={"model": "per_unit", "unit_amount": "1"}, used=(), billing_every="year")
    for each in used:
        send(contract.customer.key, each["q"], day(int(each["at"][3:]), month=3))
    close_periods(day(2, year=2027))
    billed(finance)
    assert by_day() == {each["at"]: f"{each['q']}.00" for each in used}


def test_tiers_cost_every_day_the_average_of_the_line(finance: User) -> None:
    """10 units at 1.00 and 5 at 0.10 are 10.50: a unit is earned at 0.70, whichever came first."""
    tiers = [{"up_to": "10", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.10"}]
    (contract,) = sell(price={"model": "graduated", "tiers": tiers})
    send(contract.customer.key, 5, day(20))
    billed(finance)
    assert by_day() == {"01-10": "7.00", "01-20": "3.50"}


def test_groups_have_days_of_their_own(finance: User) -> None:
    contract = measured(group_by=["region"])
    for number, region in ((10, "eu"), (20, "us"), (21, "us")):
        send(contract.customer.key, 2, day(number), region=region)
    billed(finance)
    assert by_day(line="1") == {"01-10": "1.00"}
    assert by_day(line="2") == {"01-20": "1.00", "01-21": "1.00"}


def test_days_are_those_of_the_contracts_zone(finance: User) -> None:
    """22:30 UTC is the next day in Berlin in summer."""
    (contract,) = sell(used=(), starting_at=day(1, month=7), timezone="Europe/Berlin")
    send(contract.customer.key, 2, day(14, month=7).replace(hour=21, minute=30))
    send(contract.customer.key, 4, day(14, month=7).replace(hour=22, minute=30))
    billed(finance, month=8)
    assert by_day() == {"07-14": "1.00", "07-15": "2.00"}


def test_a_fee_is_earned_every_day_of_its_service(finance: User) -> None:
    """100.00 in advance for January to March: 1.12 on the first days of a month, 1.11 on the rest, 100.00 in all."""
    (contract,) = sell(used=())
    seat = Product.objects.create(key="seat", name="Seat", kind="subscription")
    Rate.objects.create(rate_card=contract.rate_card, product=seat, price={"model": "per_unit", "unit_amount": "100"})
    contract.deal = {"subscriptions": [{"key": "seats", "product": "seat", "quantity": "1", "every": "quarter"}]}
    contract.full_clean()
    contract.save()
    close_periods(day(2))
    billed(finance, month=1)
    found = by_day()
    assert (len(found), set(found.values()), sum(map(Decimal, found.values()))) == (90, {"1.11", "1.12"}, 100)
    # The months get what they always got: 31, 28 and 31 ninetieths.
    months = {
        month: sum(Decimal(each) for at, each in found.items() if at[:2] == month) for month in ("01", "02", "03")
    }
    assert months == {"01": Decimal("34.45"), "02": Decimal("31.11"), "03": Decimal("34.44")}


def test_what_a_commit_pays_is_earned_on_the_days_of_the_usage(finance: User) -> None:
    """5.00 and 2.00 of usage drawn from 8.00 that cost 6.00: a quarter of each day goes off as credits."""
    window = {"starting_at": "2026-01-01", "ending_before": "2026-03-01"}
    commit = {"key": "y1", "access": [{"amount": "8", **window}], "invoices": [{"amount": "6", "at": "2026-01-01"}]}
    (contract,) = sell(deal={"commits": [commit]})
    send(contract.customer.key, 4, day(20))
    billed(finance)
    assert by_day(account=REVENUE) == {"01-10": "5.00", "01-20": "2.00"}
    assert by_day(account=CREDITS) == {"01-10": "-1.25", "01-20": "-0.50"}
    close_periods(day(2, month=3))
    billed(finance, month=3)
    assert by_day(entry="breakage") == {"02-28": "0.75"}


def test_a_void_and_a_credit_note(finance: User) -> None:
    (contract,) = sell()
    invoice = billed(finance)
    send(contract.customer.key, 4, day(20))
    instead = void(invoice.pk, finance, "usage was missing")
    assert by_day() == {}
    issue(approve(instead.pk, finance).pk, finance)
    assert by_day() == {"01-10": "5.00", "01-20": "2.00"}
    note = request_credit_note(instead.pk, {1: Decimal(1)}, "not delivered", finance)
    issued = issue_credit_note(note.pk, user("Finance", "second"))
    assert issued.issued_at is not None
    assert by_day(entry="credited", line="1", line_kind="usage") == {f"{issued.issued_at:%m-%d}": "-1.00"}


def test_threshold_invoices_take_back_the_days_they_earned(finance: User) -> None:
    """5.00 of the 10th billed at once; then 2 units of the 20th, and 2 more of the 10th that came late."""
    (contract,) = sell(deal={"spend_threshold": {"amount": "4"}})
    assert bill_thresholds(day(15)) == 1
    assert by_day() == {"01-10": "5.00"}
    send(contract.customer.key, 2, day(20))
    send(contract.customer.key, 2, day(10), event_id="late")
    billed(finance)
    assert by_day() == {"01-10": "6.00", "01-20": "1.00"}


def test_what_is_issued_after_the_close_keeps_its_days(finance: User) -> None:
    """Booked in February, with the accrual of January taken back there; the days are those of the usage."""
    (contract,) = sell()
    send(contract.customer.key, 4, day(20))
    close_month(JANUARY, finance)
    assert by_day(booked="2026-01-31") == {"01-31": "7.00"}
    assert by_day() == {}
    billed(finance)
    assert by_day(booked="2026-02-01") == {"01-10": "5.00", "01-20": "2.00", "01-31": "-7.00"}
    assert by_day() == {"01-10": "5.00", "01-20": "2.00"}


def test_a_maximum_is_earned_evenly(finance: User) -> None:
    contract = measured(aggregation="max")
    send(contract.customer.key, 62, day(10))
    billed(finance)
    found = by_day()
    assert (len(found), set(found.values())) == (31, {"1.00"})


@pytest.mark.usefixtures("roles")
@pytest.mark.books_unchecked
def test_days_that_do_not_add_up_are_found() -> None:
    sell()
    billed(user("Finance"))
    assert list(days_add_up_to_entries()) == []
    row = EarnedDays.objects.get()
    EarnedDays.objects.create(entry=row.entry, account=REVENUE, product=row.product, first_day=JANUARY, amounts=[-1])
    (fault,) = days_add_up_to_entries()
    assert fault.endswith(f"-5 of revenue {row.product} is posted, its days come to -6.")
    with pytest.raises(DatabaseError, match="pgtrigger"), transaction.atomic():
        EarnedDays.objects.update(amounts=[])


def test_the_page_hands_it_out(client: Client, finance: User) -> None:
    sell()
    billed(finance)
    client.force_login(finance)
    page = "/admin/invoicing/invoice/waterfall/"
    assert "csv-by-day" in client.get(page).content.decode()
    answer: Any = client.get(f"{page}?from=2026-01&to=2026-01&format=csv-by-day")
    assert answer["Content-Disposition"] == 'attachment; filename="revenue-by-day-2026-01-2026-01.csv"'
    (row,) = csv.DictReader(StringIO(b"".join(answer.streaming_content).decode()))
    assert (row["day"], row["amount"]) == ("2026-01-10", "5")


def test_it_takes_one_more_question(finance: User, django_assert_max_num_queries: Any) -> None:
    """The usage of all days and lines is read at once."""
    contracts: list[Contract] = sell(used=(1,) * 5)
    close_periods(day(2, month=2))
    invoice = approve(Invoice.objects.get(contract=contracts[0]).pk, finance)
    with django_assert_max_num_queries(60):
        issue(invoice.pk, finance)
