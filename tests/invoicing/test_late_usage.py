"""Usage that comes after the invoice of its period."""

import io
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_project.errors import ConflictError, RuleError
from contracts.ledger import balance_of
from invoicing.books import bills_add_up_to_usage
from invoicing.close import close_periods
from invoicing.corrections import find_late_usage
from invoicing.credit_notes import issue_credit_note, reject_credit_note
from invoicing.deciding_late import decide
from invoicing.drafts import statements, with_terms
from invoicing.late_differences import differences
from invoicing.lifecycle import approve, issue
from invoicing.models import AddedLine, Invoice, LateUsage, Status
from invoicing.voiding import void
from meters.late_days import note
from meters.models import Event, LateDay, Subject
from tests.factories import ContractFactory, MeterFactory, ProductFactory, RateFactory, amounts, day, sell, send, user
from tests.meters.making import rolled

pytestmark = pytest.mark.django_db

# 10 at 1.00, the next 10 at 0.50, all above at 0.10.
GRADUATED = {
    "model": "graduated",
    "tiers": [
        {"up_to": "10", "unit_amount": "1.00"},
        {"up_to": "20", "unit_amount": "0.50"},
        {"unit_amount": "0.10"},
    ],
}
MARCH = day(2, month=3)


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


@pytest.fixture
def second(finance: User) -> User:
    return user("Finance", "second")


def january(finance: User, **terms: Any) -> Invoice:
    """The issued invoice of January 2026 of a new contract."""
    (contract,) = sell(**terms)
    close_periods(day(3, month=2), contract.key)
    invoice = Invoice.objects.get(contract=contract)
    return issue(approve(invoice.pk, finance).pk, finance)


def february(invoice: Invoice, close: bool = True) -> Invoice:
    if close:
        close_periods(MARCH)
    return Invoice.objects.exclude(status=Status.VOID).get(contract=invoice.contract, starting_at=day(1, month=2))


def found() -> list[tuple[Any, ...]]:
    rows = LateUsage.objects.order_by("pk")
    return list(rows.values_list("quantity_before", "quantity_after", "amount", "decision"))


def late(invoice: Invoice, units: int, on: int = 20) -> None:
    """Usage of January, noted as the roller does: it counts committed events only, and tests do not commit."""
    number = Event.objects.count()
    send(invoice.customer.key, units, day(on), event_id=f"late-{number}")
    note([(Subject.objects.get(key=invoice.customer.key).pk, day(on))])


class TestNextInvoice:
    def test_late_units_are_priced_in_the_tiers_they_fall_in(self, finance: User) -> None:
        """8 were billed at 1.00. 15 more: 2 at 1.00, 10 at 0.50 and 3 at 0.10 make 7.30."""
        invoice = january(finance, price=GRADUATED, used=[8])
        assert invoice.total.amount == 8
        late(invoice, 15)
        after = february(invoice)
        assert found() == [(8, 23, Decimal("7.30"), "next_invoice")]
        assert amounts(after) == [(Decimal(15), Decimal("7.30"))]
        line = after.lines.get()
        assert (line.kind, line.starting_at, line.ending_before) == ("correction", day(1), day(1, month=2))
        assert line.name.endswith("correction of 1 – 31 Jan 2026")
        assert "Bills late usage of an earlier invoice." in after.attention
        assert AddedLine.objects.get().cause == f"late-usage:{LateUsage.objects.get().pk}"

    def test_twice_late_adds_the_further_difference(self, finance: User) -> None:
        invoice = january(finance, price=GRADUATED, used=[8])
        late(invoice, 4)
        february(invoice)
        late(invoice, 10)
        find_late_usage(MARCH)
        find_late_usage(MARCH)
        assert LateDay.objects.count() == 0
        assert [row[:3] for row in found()] == [(8, 12, 3), (12, 22, Decimal("4.20"))]
        after = february(invoice)
        assert after.total.amount == Decimal("7.20")
        issue(approve(after.pk, finance).pk, finance)
        assert february(invoice, close=False).total.amount == Decimal("7.20")

    def test_nothing_late_finds_nothing(self, finance: User) -> None:
        invoice = january(finance)
        assert find_late_usage(MARCH).rows == 0
        send(invoice.customer.key, 3, day(10, month=2))
        assert amounts(february(invoice)) == [(Decimal(3), Decimal("1.50"))]
        assert found() == []

    def test_the_command_says_what_it_found(self, finance: User) -> None:
        invoice = january(finance)
        late(invoice, 4)
        printed = io.StringIO()
        for _ in range(2):
            call_command("find_late_usage", "--as-of", "2026-02-04", contract=invoice.contract.key, stdout=printed)
        lines = printed.getvalue().splitlines()
        looked = "Invoices looked at: 1. Late lines found: {}; put on open invoices: 0; waiting for the next one: 1."
        assert lines == [looked.format(1), looked.format(0)]
        with pytest.raises(CommandError, match="there is no contract with this key"):
            call_command("find_late_usage", contract="nobodys")

    def test_it_waits_for_an_invoice(self, finance: User) -> None:
        invoice = january(finance)
        late(invoice, 4)
        assert find_late_usage(day(4, month=2)).billed == 0
        assert found() == [(10, 14, 2, "next_invoice")]
        assert february(invoice).total.amount == 2

    def test_less_than_was_billed(self, finance: User) -> None:
        """The latest value counts: 10 were billed, a later event of January says 4."""
        rate = RateFactory.create(product=ProductFactory.create(meter=MeterFactory.create(aggregation="latest")))
        contract = ContractFactory.create(rate_card=rate.rate_card)
        send(contract.customer.key, 10, day(10))
        close_periods(day(3, month=2))
        invoice = Invoice.objects.get()
        issue(approve(invoice.pk, finance).pk, finance)
        late(invoice, 4)
        assert february(invoice).total.amount == -3
        assert found() == [(10, 4, -3, "next_invoice")]

    def test_usage_between_approval_and_issue(self, finance: User) -> None:
        sell()
        close_periods(day(3, month=2))
        invoice = approve(Invoice.objects.get().pk, finance)
        late(invoice, 4)
        find_late_usage(day(4, month=2))
        assert found() == []
        issue(invoice.pk, finance)
        assert february(invoice).total.amount == 2

    def test_a_balance_pays_for_it(self, finance: User) -> None:
        """A credit of 8.00 paid the 5.00 of January; 3.00 of the 4.00 that came late are paid by what is left."""
        year = {"starting_at": "2026-01-01", "ending_before": "2027-01-01"}
        invoice = january(finance, deal={"credits": [{"key": "gift", "access": [{"amount": "8", **year}]}]})
        late(invoice, 8)
        after = february(invoice)
        assert after.total.amount == 1
        issue(approve(after.pk, finance).pk, finance)
        assert balance_of(invoice.contract, "gift") == 0


class TestDecisions:
    def test_written_off_and_found_no_more(self, finance: User) -> None:
        invoice = january(finance)
        late(invoice, 4)
        february(invoice)
        (row,) = LateUsage.objects.all()
        with pytest.raises(RuleError, match="Say why"):
            decide(row.pk, "write_off", finance)
        decide(row.pk, "write_off", finance, "our gateway was down")
        assert february(invoice).total.amount == 0
        assert found() == [(10, 14, 2, "write_off")]
        decide(row.pk, "next_invoice", finance)
        assert february(invoice, close=False).total.amount == 2

    def test_more_usage_is_not_credited(self, finance: User) -> None:
        invoice = january(finance)
        late(invoice, 4)
        february(invoice)
        with pytest.raises(RuleError, match="Only less usage can be credited"):
            decide(LateUsage.objects.get().pk, "credit_note", finance)

    def test_less_usage_is_credited(self, finance: User, second: User) -> None:
        rate = RateFactory.create(product=ProductFactory.create(meter=MeterFactory.create(aggregation="latest")))
        contract = ContractFactory.create(rate_card=rate.rate_card)
        send(contract.customer.key, 10, day(10))
        close_periods(day(3, month=2))
        invoice = Invoice.objects.get()
        issue(approve(invoice.pk, finance).pk, finance)
        late(invoice, 4)
        find_late_usage(day(4, month=2))
        (row,) = LateUsage.objects.all()
        first = decide(row.pk, "credit_note", finance).credit_note
        assert first is not None
        with pytest.raises(ConflictError, match="credited by"):
            decide(row.pk, "next_invoice", finance)
        reject_credit_note(first.pk, second, "not yet")
        again = decide(row.pk, "credit_note", finance, "agreed now").credit_note
        assert again is not None
        assert (again.total, again.cause) == (3, f"late-usage:{row.pk}:2")
        issue_credit_note(again.pk, second)
        assert february(invoice).total.amount == 0

    def test_what_is_issued_is_decided(self, finance: User) -> None:
        invoice = january(finance)
        late(invoice, 4)
        issue(approve(february(invoice).pk, finance).pk, finance)
        with pytest.raises(ConflictError, match="billed on INV-000002 already"):
            decide(LateUsage.objects.get().pk, "write_off", finance, "r")


class TestVoid:
    def test_what_replaces_it_bills_all_usage(self, finance: User) -> None:
        invoice = january(finance)
        late(invoice, 4)
        assert february(invoice).total.amount == 2
        instead = void(invoice.pk, finance, "wrong address")
        assert instead.total.amount == 7
        assert february(invoice).total.amount == 0
        assert found() == [(10, 14, 2, "superseded")]

    def test_after_it_was_billed_it_is_taken_back(self, finance: User) -> None:
        invoice = january(finance)
        late(invoice, 4)
        issue(approve(february(invoice).pk, finance).pk, finance)
        instead = void(invoice.pk, finance, "wrong address")
        issue(approve(instead.pk, finance).pk, finance)
        find_late_usage(MARCH)
        find_late_usage(MARCH)
        assert [row[2] for row in found()] == [2, -2]

    def test_of_the_invoice_that_bills_it(self, finance: User) -> None:
        invoice = january(finance)
        late(invoice, 4)
        send(invoice.customer.key, 6, day(10, month=2))
        after = february(invoice)
        issue(approve(after.pk, finance).pk, finance)
        instead = void(after.pk, finance, "wrong address")
        assert instead.total.amount == 5
        assert [row[2:] for row in found()] == [(2, "superseded"), (2, "next_invoice")]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(st.integers(0, 15), max_size=3),
    batches=st.lists(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 28)), max_size=4), max_size=4),
)
def test_bills_end_at_the_statement_of_all_usage(
    finance: User, first: list[int], batches: list[list[tuple[int, int]]]
) -> None:
    invoice = january(finance, price=GRADUATED, used=first)
    for batch in batches:
        for units, on in batch:
            late(invoice, units, on)
        find_late_usage(MARCH)
        close_periods(MARCH)
    billed = invoice.total.amount + february(invoice).total.amount
    assert invoice.period_id is not None
    assert billed == statements([with_terms(invoice.period_id)])[0].total
    assert differences([Invoice.objects.select_related("period__contract__customer").get(pk=invoice.pk)]) == {
        invoice.pk: []
    }


@pytest.mark.usefixtures("real_commits")
def test_the_roller_notes_what_came_late() -> None:
    finance = user("Finance")
    invoice = january(finance)
    rolled()
    find_late_usage(MARCH)
    assert LateDay.objects.count() == 0
    send(invoice.customer.key, 4, day(20))
    send("nobody-yet", 4, day(20))
    rolled()
    assert february(invoice).total.amount == 2
    # Somebody may claim it.
    assert [each.subject.key for each in LateDay.objects.select_related("subject")] == ["nobody-yet"]
    assert list(bills_add_up_to_usage()) == []


@pytest.mark.usefixtures("real_commits")
def test_the_terms_are_those_of_then() -> None:
    """History is told apart by the time of its transactions."""
    invoice = january(user("Finance"))
    rate = invoice.contract.rate_card.rates.get()
    rate.price = {"model": "per_unit", "unit_amount": "9"}
    rate.save()
    late(invoice, 4)
    assert february(invoice).total.amount == 2
    assert found() == [(10, 14, 2, "next_invoice")]
