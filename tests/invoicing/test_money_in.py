"""After the issue: payments, credit notes, voids, write-offs; before it: lines by hand, rejections, flags, rules."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pghistory
import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, transaction

from billing_project.errors import ConflictError, RuleError
from contracts.ledger import balance_of
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, left_to_credit, reject_credit_note, request_credit_note
from invoicing.lifecycle import approve, issue, reject, release, return_to_review
from invoicing.lines_by_hand import Written, add_line, remove_line
from invoicing.models import AddedLine, AutoApproval, CreditNote, CreditNoteLine, Invoice, InvoiceStep, Payment, Status
from invoicing.payments import Received, record_payment, reverse_payment, write_off
from invoicing.voiding import void
from tests.factories import amounts, day, reviewed, sell, send, user

pytestmark = pytest.mark.django_db

YEAR = {"starting_at": "2026-01-01", "ending_before": "2027-01-01"}
COMMIT = {"credits": [{"key": "gift", "access": [{"amount": "3", **YEAR}]}]}


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


@pytest.fixture
def second(finance: User) -> User:
    return user("Finance", "second")


def issued(finance: User, **terms: Any) -> Invoice:
    """An invoice over 10 units at 0.50 USD."""
    return issue(approve(reviewed(**terms).pk, finance).pk, finance)


def stored(invoice: Invoice) -> Invoice:
    return Invoice.objects.get(pk=invoice.pk)


def money(amount: str, source: str = "hand:1", at: datetime | None = None) -> Received:
    return Received(Decimal(amount), at or day(10, month=2), source, reference="transfer 7")


class TestPayments:
    def test_paid_in_parts(self, finance: User) -> None:
        invoice = issued(finance)
        record_payment(invoice.pk, money("2.00", "hand:1"), finance)
        assert (stored(invoice).status, stored(invoice).open_amount) == (Status.ISSUED, Decimal(3))
        record_payment(invoice.pk, money("3.00", "hand:2"), finance)
        assert (stored(invoice).status, stored(invoice).open_amount) == (Status.PAID, Decimal(0))
        assert stored(invoice).paid_at is not None

    def test_the_same_payment_counts_once(self, finance: User) -> None:
        invoice = issued(finance)
        first = record_payment(invoice.pk, money("5.00"), finance)
        assert record_payment(invoice.pk, money("5.00"), finance) == first
        assert Payment.objects.count() == 1
        with pytest.raises(RuleError, match=r"hand:1 is recorded already, as 5 for INV-000001"):
            record_payment(invoice.pk, money("4.00"), finance)

    @pytest.mark.parametrize(
        ("amount", "message"),
        [
            ("0", "above zero"),
            ("-1", "above zero"),
            ("1.001", "whole minor units of USD"),
            ("5.01", r"5 USD is open on INV-000001"),
        ],
    )
    def test_amounts_that_cannot_be(self, finance: User, amount: str, message: str) -> None:
        with pytest.raises(RuleError, match=message) as refused:
            record_payment(issued(finance).pk, money(amount), finance)
        assert refused.value.problems[0].path == "amount"

    def test_a_paid_invoice_takes_no_more(self, finance: User) -> None:
        invoice = issued(finance)
        record_payment(invoice.pk, money("5"), finance)
        with pytest.raises(ConflictError, match="is paid already"):
            record_payment(invoice.pk, money("1", "hand:2"), finance)

    def test_an_invoice_that_is_not_issued_takes_none(self, finance: User) -> None:
        with pytest.raises(ConflictError, match="is in review; only"):
            record_payment(reviewed().pk, money("5"), finance)

    def test_sales_may_not(self, finance: User) -> None:
        with pytest.raises(PermissionDenied, match="record_payment"):
            record_payment(issued(finance).pk, money("5"), user("Sales ops"))

    def test_a_payment_that_bounced(self, finance: User) -> None:
        invoice = issued(finance)
        payment = record_payment(invoice.pk, money("5"), finance)
        back = reverse_payment(payment.pk, finance, "bounced")
        assert reverse_payment(payment.pk, finance, "bounced") == back
        row = stored(invoice)
        assert (row.status, row.paid_amount, row.paid_at) == (Status.ISSUED, Decimal(0), None)
        with pytest.raises(RuleError, match="took a payment back"):
            reverse_payment(back.pk, finance, "again")

    def test_an_invoice_over_nothing_is_paid_when_issued(self, finance: User) -> None:
        assert issued(finance, price={"model": "per_unit", "unit_amount": "0"}).status == Status.PAID

    def test_payments_are_never_changed(self, finance: User) -> None:
        payment = record_payment(issued(finance).pk, money("5"), finance)
        with pytest.raises(DatabaseError, match="pgtrigger"), transaction.atomic():
            Payment.objects.filter(pk=payment.pk).update(amount=4)
        with pytest.raises(DatabaseError, match="pgtrigger"), transaction.atomic():
            Payment.objects.filter(pk=payment.pk)._raw_delete("default")

    def test_written_off_and_paid_after_all(self, finance: User) -> None:
        invoice = issued(finance)
        with pytest.raises(RuleError, match="Say why"):
            write_off(invoice.pk, finance, " ")
        assert write_off(invoice.pk, finance, "insolvent").status == Status.UNCOLLECTIBLE
        record_payment(invoice.pk, money("2"), None)
        assert stored(invoice).status == Status.UNCOLLECTIBLE
        record_payment(invoice.pk, money("3", "stripe:pi_1"), None)
        assert stored(invoice).status == Status.PAID


class TestCreditNotes:
    def test_part_of_a_line_with_its_tax(self, finance: User, second: User) -> None:
        """Of 5.00 with 19% tax (0.95): 2.00 is credited with 0.38, what is open falls from 5.95 to 3.57."""
        invoice = reviewed()
        invoice.customer.tax_rate = Decimal("0.19")
        invoice.customer.save()
        with pytest.raises(ConflictError):
            approve(invoice.pk, finance)
        issue(approve(invoice.pk, finance).pk, finance)
        note = request_credit_note(invoice.pk, {1: Decimal(2)}, "not delivered", finance)
        assert (note.subtotal, note.tax, note.total) == (Decimal(2), Decimal("0.38"), Decimal("2.38"))
        assert stored(invoice).open_amount == Decimal("5.95")
        done = issue_credit_note(note.pk, second)
        assert (done.number, done.bill_to) == ("CN-000001", stored(invoice).bill_to)
        assert stored(invoice).open_amount == Decimal("3.57")
        assert left_to_credit(invoice) == {1: Decimal(3)}

    def test_all_of_it(self, finance: User, second: User) -> None:
        invoice = issued(finance)
        issue_credit_note(request_credit_note(invoice.pk, {1: Decimal(5)}, "wrong", finance).pk, second)
        assert stored(invoice).status == Status.PAID

    def test_after_the_payment_there_is_money_to_give_back(self, finance: User, second: User) -> None:
        invoice = issued(finance)
        record_payment(invoice.pk, money("5"), finance)
        issue_credit_note(request_credit_note(invoice.pk, {1: Decimal(1)}, "wrong", finance).pk, second)
        assert (stored(invoice).status, stored(invoice).open_amount) == (Status.PAID, Decimal(-1))

    def test_four_eyes(self, finance: User, second: User, settings: Any) -> None:
        note = request_credit_note(issued(finance).pk, {1: Decimal(1)}, "wrong", finance)
        with pytest.raises(RuleError, match="somebody else must issue it"):
            issue_credit_note(note.pk, finance)
        settings.FOUR_EYES = False
        assert issue_credit_note(note.pk, finance).status == CreditNote.Status.ISSUED
        with pytest.raises(ConflictError, match="CN-000001 is issued already"):
            issue_credit_note(note.pk, second)

    @pytest.mark.parametrize(
        ("asked", "path", "message"),
        [
            ({}, "lines", "at least one line"),
            ({2: "1"}, "lines[2]", "no line here"),
            ({1: "0"}, "lines[1]", "above zero"),
            ({1: "0.005"}, "lines[1]", "whole minor units"),
            ({1: "5.01"}, "lines[1]", "5 USD of this line is left"),
        ],
    )
    def test_what_cannot_be_credited(self, finance: User, asked: dict[int, str], path: str, message: str) -> None:
        amounts = {position: Decimal(amount) for position, amount in asked.items()}
        with pytest.raises(RuleError, match=message) as refused:
            request_credit_note(issued(finance).pk, amounts, "wrong", finance)
        assert refused.value.problems[0].path == path

    def test_no_more_than_the_customer_was_asked_for(self, finance: User) -> None:
        """3.00 of the 5.00 was paid by a credit: 2.00 is left to give back."""
        invoice = issued(finance, deal=COMMIT)
        position = next(iter(left_to_credit(invoice)))
        with pytest.raises(RuleError, match="2 of INV-000001 is left to credit"):
            request_credit_note(invoice.pk, {position: Decimal("2.50")}, "wrong", finance)

    def test_a_rejected_one_frees_its_lines(self, finance: User, second: User) -> None:
        invoice = issued(finance)
        note = request_credit_note(invoice.pk, {1: Decimal(5)}, "wrong", finance)
        assert left_to_credit(invoice) == {1: Decimal(0)}
        reject_credit_note(note.pk, second, "it was right")
        assert left_to_credit(invoice) == {1: Decimal(5)}
        with pytest.raises(ConflictError, match="rejected already"):
            issue_credit_note(note.pk, second)

    def test_an_issued_one_is_frozen(self, finance: User, second: User) -> None:
        note = issue_credit_note(request_credit_note(issued(finance).pk, {1: Decimal(1)}, "w", finance).pk, second)
        with pytest.raises(DatabaseError, match="pgtrigger"), transaction.atomic():
            CreditNote.objects.filter(pk=note.pk).update(total=2)
        with pytest.raises(DatabaseError, match="pgtrigger"), transaction.atomic():
            CreditNoteLine.objects.filter(credit_note=note).update(amount=2)


class TestVoid:
    def test_draws_go_back_and_it_is_billed_anew(self, finance: User) -> None:
        invoice = issued(finance, deal=COMMIT)
        contract = invoice.contract
        assert balance_of(contract, "gift") == 0
        send(invoice.customer.key, 4, day(20))
        instead = void(invoice.pk, finance, "usage was missing")
        assert balance_of(contract, "gift") == 3
        assert stored(invoice).status == Status.VOID
        assert (instead.status, instead.replaces, instead.total.amount) == (Status.IN_REVIEW, invoice, Decimal(4))
        assert "Replaces INV-000001, which was voided." in stored(instead).attention
        again = issue(approve(instead.pk, finance).pk, finance)
        assert (again.number, balance_of(contract, "gift")) == ("INV-000002", Decimal(0))

    def test_what_is_paid_or_credited_is_not_voided(self, finance: User) -> None:
        invoice = issued(finance)
        record_payment(invoice.pk, money("1"), finance)
        with pytest.raises(RuleError, match="credit note for the rest"):
            void(invoice.pk, finance, "wrong")

    def test_a_scheduled_invoice(self, finance: User) -> None:
        commit = {
            "key": "y1",
            "access": [{"amount": "8", "starting_at": "2026-01-01", "ending_before": "2027-01-01"}],
            "invoices": [{"amount": "6", "at": "2026-01-01"}],
        }
        sell(deal={"commits": [commit]})
        close_periods(day(2))
        fee = Invoice.objects.get(kind="scheduled")
        issue(approve(fee.pk, finance).pk, finance)
        instead = void(fee.pk, finance, "wrong address")
        assert (instead.kind, instead.total.amount, instead.scheduled_at) == ("scheduled", Decimal(6), fee.scheduled_at)
        close_periods(day(3))
        assert Invoice.objects.filter(kind="scheduled").exclude(status=Status.VOID).count() == 1

    def test_a_reason_is_needed_and_the_permission(self, finance: User) -> None:
        invoice = issued(finance)
        with pytest.raises(RuleError, match="Say why"):
            void(invoice.pk, finance, "")
        with pytest.raises(PermissionDenied, match="void_invoice"):
            void(invoice.pk, user("Sales ops"), "wrong")


class TestReview:
    def test_a_line_by_hand_is_taxed_and_approved_by_another(self, finance: User, second: User) -> None:
        invoice = reviewed()
        add_line(invoice.pk, Written("Goodwill", Decimal("-1.255"), "slow answers"), finance)
        row = stored(invoice)
        assert row.total.amount == Decimal("3.74")  # 5.00 - 1.255, rounded half-up away from zero
        assert amounts(row)[-1] == (Decimal(1), Decimal("-1.26"))
        assert "A line was written by hand." in row.attention
        with pytest.raises(RuleError, match="You wrote a line"):
            approve(invoice.pk, finance)
        assert issue(approve(invoice.pk, second).pk, finance).total.amount == Decimal("3.74")
        with pytest.raises(DatabaseError, match="nothing can be added"), transaction.atomic():
            AddedLine.objects.all().delete()

    def test_a_line_taken_off_again(self, finance: User) -> None:
        invoice = reviewed()
        line = add_line(invoice.pk, Written("Training", Decimal(20), "agreed by phone", Decimal(2)), finance)
        assert stored(invoice).total.amount == 45
        remove_line(line.pk, finance, "not agreed")
        assert stored(invoice).total.amount == 5

    @pytest.mark.parametrize(
        ("written", "path"),
        [
            (Written("", Decimal(1), "r"), "name"),
            (Written("n", Decimal(1), " "), "reason"),
            (Written("n", Decimal("0.001"), "r"), "unit_amount"),
        ],
    )
    def test_lines_that_cannot_be(self, finance: User, written: Written, path: str) -> None:
        with pytest.raises(RuleError) as refused:
            add_line(reviewed().pk, written, finance)
        assert refused.value.problems[0].path == path

    def test_an_approved_invoice_takes_no_line(self, finance: User) -> None:
        invoice = approve(reviewed().pk, finance)
        with pytest.raises(ConflictError, match="is approved; only"):
            add_line(invoice.pk, Written("n", Decimal(1), "r"), finance)
        return_to_review(invoice.pk, finance)
        add_line(invoice.pk, Written("n", Decimal(1), "r"), finance)

    def test_rejected_until_released(self, finance: User) -> None:
        invoice = reviewed()
        with pytest.raises(RuleError, match="Say what is wrong"):
            reject(invoice.pk, finance, "")
        reject(invoice.pk, finance, "The rate is last year's.")
        with pytest.raises(RuleError, match="It was rejected: The rate is last year's"):
            approve(invoice.pk, finance)
        release(invoice.pk, finance, "mended")
        assert approve(invoice.pk, finance).status == Status.APPROVED
        steps = list(InvoiceStep.objects.filter(invoice=invoice).values_list("step", "actor", "reason"))
        assert steps == [
            ("rejected", finance.pk, "The rate is last year's."),
            ("released", finance.pk, "mended"),
            ("approved", finance.pk, ""),
        ]

    def test_who_changed_the_contract_does_not_approve(self, finance: User, second: User, settings: Any) -> None:
        invoice = reviewed()
        with pghistory.context(user=finance.pk):
            invoice.contract.net_days = 10
            invoice.contract.save()
        with pytest.raises(RuleError, match="You changed contract"):
            approve(invoice.pk, finance)
        approve(invoice.pk, second)
        return_to_review(invoice.pk, second)
        settings.FOUR_EYES = False
        approve(invoice.pk, finance)

    def test_flags_tell_a_big_change_and_a_contract_that_ends(self, finance: User) -> None:
        (contract,) = sell(used=(10,), ending_before=day(1, month=3))
        send(contract.customer.key, 16, day(10, month=2))
        close_periods(day(2, month=3))
        january, february = Invoice.objects.order_by("starting_at")
        ends = "The contract ends before 1 Mar 2026 and no other follows."
        assert january.attention == [ends]
        assert february.attention == ["60% more than the invoice before, 5.00 USD.", ends]


class TestAutoApproval:
    def test_what_needs_no_look_is_approved(self, finance: User) -> None:
        rule = AutoApproval.objects.create(currency="USD", largest_total=Decimal(5))
        approved, too_big = sell(2)
        send(too_big.customer.key, 1, day(11))
        close_periods(day(2, month=2))
        row = Invoice.objects.get(contract=approved)
        assert (row.status, row.approved_by) == (Status.APPROVED, None)
        assert [step.reason for step in row.steps.all()] == [f"By {rule}."]
        assert Invoice.objects.get(contract=too_big).status == Status.IN_REVIEW

    @pytest.mark.parametrize(("units", "status"), [(11, Status.APPROVED), (12, Status.IN_REVIEW)])
    def test_near_enough_to_the_last_one(self, roles: None, units: int, status: Status) -> None:
        """10 units, then 11 (10% more) or 12 (20%)."""
        (contract,) = sell()
        close_periods(day(2, month=2))
        AutoApproval.objects.create(currency="USD", largest_total=Decimal(100), largest_change_percent=Decimal(10))
        send(contract.customer.key, units, day(10, month=2))
        close_periods(day(2, month=3))
        assert Invoice.objects.order_by("starting_at").last().status == status  # type: ignore[union-attr]
        assert Invoice.objects.order_by("starting_at").first().status == Status.IN_REVIEW  # type: ignore[union-attr]

    def test_never_what_is_flagged_or_in_another_currency(self, roles: None) -> None:
        AutoApproval.objects.create(currency="EUR", largest_total=Decimal(100))
        AutoApproval.objects.create(currency="USD", largest_total=Decimal(100), active=False)
        sell()
        close_periods(day(2, month=2))
        assert Invoice.objects.get().status == Status.IN_REVIEW
