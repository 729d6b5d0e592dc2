"""From review to a frozen invoice: who may, in which order, and what the database itself refuses."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from djmoney.money import Money

from billing_project.errors import ConflictError, RuleError
from catalog.models import Rate
from invoicing.close import close_periods
from invoicing.lifecycle import approve, issue, return_to_review
from invoicing.models import Invoice, InvoiceLine, Status
from invoicing.numbering import next_number
from tests.factories import PER_UNIT, ContractFactory, RateFactory, amounts, day, reviewed, sell, send, user

ROLES = ["Sales ops", "Auditor", "Service"]


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


def issued(finance: User, **terms: Any) -> Invoice:
    return issue(approve(reviewed(**terms).pk, finance).pk, finance)


def stored(invoice: Invoice) -> Invoice:
    return Invoice.objects.get(pk=invoice.pk)


@pytest.mark.django_db
class TestSteps:
    def test_an_invoice_is_approved_and_issued(self, finance: User, settings: Any) -> None:
        settings.SELLER = {"name": "Us"}
        invoice = reviewed(net_days=14)
        invoice.customer.address = "1 High Street"
        invoice.customer.save()
        assert approve(invoice.pk, finance).status == Status.APPROVED
        assert stored(invoice).approved_by == finance
        issue(invoice.pk, finance)
        done = stored(invoice)
        assert (done.status, done.issued_by, done.number) == (Status.ISSUED, finance, "INV-000001")
        assert done.issued_at
        assert done.due_at
        assert (done.due_at - done.issued_at).days == 14
        assert done.bill_to["address"] == "1 High Street"
        assert done.seller == {"name": "Us"}
        assert done.total == Money(5, "USD")

    @pytest.mark.parametrize("role", ROLES)
    def test_only_finance_may(self, finance: User, role: str) -> None:
        other = user(role, "other")
        invoice = reviewed()
        with pytest.raises(PermissionDenied, match=r"permission invoicing\.approve_invoice"):
            approve(invoice.pk, other)
        approve(invoice.pk, finance)
        with pytest.raises(PermissionDenied, match=r"permission invoicing\.approve_invoice"):
            return_to_review(invoice.pk, other)
        with pytest.raises(PermissionDenied, match=r"permission invoicing\.issue_invoice"):
            issue(invoice.pk, other)
        assert stored(invoice).status == Status.APPROVED

    def test_no_step_is_skipped_or_taken_twice(self, finance: User) -> None:
        (contract,) = sell()
        close_periods(day(1, month=2))
        draft = Invoice.objects.get(contract=contract)
        with pytest.raises(ConflictError, match="only an invoice that is in review can take this step"):
            approve(draft.pk, finance)
        close_periods(day(2, month=2))
        with pytest.raises(ConflictError, match="only an invoice that is approved"):
            issue(draft.pk, finance)
        with pytest.raises(ConflictError, match="only an invoice that is approved"):
            return_to_review(draft.pk, finance)
        approve(draft.pk, finance)
        with pytest.raises(ConflictError, match="is approved; only"):
            approve(draft.pk, finance)
        issue(draft.pk, finance)
        for step in (approve, issue, return_to_review):
            with pytest.raises(ConflictError, match="INV-000001 is issued"):
                step(draft.pk, finance)

    def test_an_approval_can_be_taken_back(self, finance: User) -> None:
        invoice = reviewed()
        approve(invoice.pk, finance)
        return_to_review(invoice.pk, finance)
        row = stored(invoice)
        assert (row.status, row.approved_by, row.approved_at) == (Status.IN_REVIEW, None, None)

    def test_what_finance_approves_is_what_finance_saw(self, finance: User) -> None:
        """Usage that arrives between review and approval is shown first."""
        invoice = reviewed()
        send(invoice.customer.key, 4, day(31))
        with pytest.raises(ConflictError, match=r"its total was \$5\.00 and is now \$7\.00"):
            approve(invoice.pk, finance)
        assert stored(invoice).status == Status.IN_REVIEW
        assert amounts(stored(invoice)) == [(Decimal(14), Decimal(7))]
        assert approve(invoice.pk, finance).total.amount == 7

    def test_a_rate_that_changed_is_shown_first_too(self, finance: User) -> None:
        invoice = reviewed()
        Rate.objects.update(price={**PER_UNIT, "unit_amount": "0.60"})
        with pytest.raises(ConflictError):
            approve(invoice.pk, finance)
        assert stored(invoice).total.amount == 6

    def test_an_approved_invoice_no_longer_follows_usage(self, finance: User) -> None:
        invoice = reviewed()
        approve(invoice.pk, finance)
        send(invoice.customer.key, 4, day(31))
        close_periods(day(3, month=2))
        assert stored(invoice).total.amount == 5
        issue(invoice.pk, finance)
        close_periods(day(4, month=2))
        assert amounts(stored(invoice)) == [(Decimal(10), Decimal(5))]

    def test_usage_without_a_rate_blocks_approval(self, finance: User) -> None:
        rate = RateFactory.create(starting_at=day(15))
        contract = ContractFactory.create(rate_card=rate.rate_card)
        send(contract.customer.key, 3, day(2))
        close_periods(day(2, month=2))
        invoice = Invoice.objects.get()
        with pytest.raises(RuleError, match="has no rate: add one") as refused:
            approve(invoice.pk, finance)
        assert refused.value.problems[0].code == "unrated"
        Rate.objects.update(starting_at=day(1))
        with pytest.raises(ConflictError):
            approve(invoice.pk, finance)
        assert approve(invoice.pk, finance).unrated == []

    def test_the_document_keeps_what_it_showed(self, finance: User) -> None:
        invoice = issued(finance)
        invoice.customer.name = "New Name"
        invoice.customer.save()
        assert stored(invoice).bill_to["name"] != "New Name"

    def test_every_step_is_in_the_history(self, finance: User) -> None:
        invoice = issued(finance)
        rows = invoice.pgh_event_model.objects.filter(pgh_obj_id=invoice.pk).order_by("pk")  # type: ignore[attr-defined]
        assert [row.status for row in rows][-3:] == [Status.IN_REVIEW, Status.APPROVED, Status.ISSUED]


def line_of(invoice: Invoice) -> InvoiceLine:
    return invoice.lines.get()


CHANGES: dict[str, Callable[[Invoice], object]] = {
    "save": lambda invoice: Invoice(**{**values(invoice), "net_days": 90}).save(force_update=True),
    "update": lambda invoice: Invoice.objects.filter(pk=invoice.pk).update(total=Money(1, "USD")),
    "update by expression": lambda invoice: Invoice.objects.update(net_days=F("net_days") + 1),
    "bulk_update": lambda invoice: Invoice.objects.bulk_update([changed(invoice)], ["number"]),
    "raw": lambda invoice: sql("UPDATE invoicing_invoice SET number = 'X' WHERE id = %s", invoice),
    "raw currency": lambda invoice: sql("UPDATE invoicing_invoice SET currency = 'EUR' WHERE id = %s", invoice),
    "raw to draft": lambda invoice: sql("UPDATE invoicing_invoice SET status = 'draft' WHERE id = %s", invoice),
    "raw to approved": lambda invoice: sql("UPDATE invoicing_invoice SET status = 'approved' WHERE id = %s", invoice),
    "delete": lambda invoice: Invoice.objects.filter(pk=invoice.pk)._raw_delete("default"),
    "raw delete": lambda invoice: sql("DELETE FROM invoicing_invoice WHERE id = %s", invoice),
    "line save": lambda invoice: save_line(line_of(invoice)),
    "line update": lambda invoice: invoice.lines.update(amount=1),
    "line delete": lambda invoice: invoice.lines.all().delete(),
    "line raw": lambda invoice: sql("UPDATE invoicing_invoiceline SET quantity = 0 WHERE invoice_id = %s", invoice),
    "line raw delete": lambda invoice: sql("DELETE FROM invoicing_invoiceline WHERE invoice_id = %s", invoice),
    "line added": lambda invoice: copy_line(line_of(invoice), invoice),
    "line bulk_create": lambda invoice: InvoiceLine.objects.bulk_create([copy_of(line_of(invoice), invoice)]),
}


def values(invoice: Invoice) -> dict[str, Any]:
    return {field.attname: getattr(invoice, field.attname) for field in Invoice._meta.concrete_fields}


def changed(invoice: Invoice) -> Invoice:
    row = stored(invoice)
    row.number = "X"
    return row


def save_line(line: InvoiceLine) -> None:
    line.amount = Decimal(1)
    line.save()


def copy_of(line: InvoiceLine, invoice: Invoice) -> InvoiceLine:
    line.pk, line.invoice, line.position = None, invoice, 99
    line._state.adding = True
    return line


def copy_line(line: InvoiceLine, invoice: Invoice) -> None:
    copy_of(line, invoice).save()


def sql(statement: str, invoice: Invoice) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [invoice.pk])


@pytest.mark.django_db
@pytest.mark.parametrize("change", CHANGES)
def test_the_database_refuses_to_change_an_issued_invoice(finance: User, change: str) -> None:
    invoice = issued(finance)
    before, line = values(stored(invoice)), InvoiceLine.objects.filter(invoice=invoice).values().get()
    with pytest.raises(DatabaseError, match="pgtrigger"), transaction.atomic():
        CHANGES[change](invoice)
    assert values(stored(invoice)) == before
    assert InvoiceLine.objects.filter(invoice=invoice).values().get() == line


@pytest.mark.django_db
def test_a_line_of_a_draft_cannot_be_moved_onto_an_issued_invoice(finance: User) -> None:
    invoice, draft = issued(finance), reviewed()
    for target, line in ((invoice, line_of(draft)), (draft, line_of(invoice))):
        with pytest.raises(DatabaseError, match="its lines cannot change"), transaction.atomic():
            InvoiceLine.objects.filter(pk=line.pk).update(invoice=target, position=50)


@pytest.mark.django_db
@pytest.mark.books_unchecked
def test_an_issued_invoice_may_still_be_paid(finance: User) -> None:
    invoice = issued(finance)
    Invoice.objects.filter(pk=invoice.pk).update(status=Status.PAID)
    assert stored(invoice).status == Status.PAID
    with pytest.raises(DatabaseError), transaction.atomic():
        Invoice.objects.filter(pk=invoice.pk).update(status=Status.VOID)


def together(work: Callable[[int], object], times: int) -> list[object]:
    def one(number: int) -> object:
        try:
            return work(number)
        except RuleError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def test_of_two_people_who_press_the_same_button_one_wins(real_commits: None) -> None:
    finance = user("Finance")
    invoice = reviewed()
    for step in (approve, issue):
        done = together(lambda _, step=step: step(invoice.pk, finance), 4)  # type: ignore[misc]
        assert sorted(type(each).__name__ for each in done) == ["ConflictError"] * 3 + ["Invoice"]
    assert stored(invoice).number == "INV-000001"


def test_numbers_have_no_gap_whoever_issues_and_whatever_fails(real_commits: None) -> None:
    finance = user("Finance")
    invoices = [approve(reviewed().pk, finance) for _ in range(8)]

    class TroubleError(Exception):
        pass

    def one(number: int) -> None:
        try:
            with transaction.atomic():
                issue(invoices[number].pk, finance)
                if number % 2:
                    raise TroubleError
        except TroubleError:
            pass

    together(one, 8)
    assert sorted(filter(None, Invoice.objects.values_list("number", flat=True))) == [
        f"INV-{number:06}" for number in range(1, 5)
    ]
    with transaction.atomic():
        assert next_number("INV-") == "INV-000005"
        assert next_number("CN-") == "CN-000001"
        transaction.set_rollback(True)
