"""Steps of an invoice that ask for something first: a page with a form, which calls one verb."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from billing_project.errors import RuleError
from catalog.price_text import amount_text
from invoicing import credit_notes, lifecycle, lines_by_hand, payments, voiding
from invoicing.admin import step_forms as forms
from invoicing.admin.queue import neighbours
from invoicing.models import AddedLine, CreditNote, Invoice, Payment, Status

Taken = tuple[str, int]  # a sentence, and the invoice to show next


@dataclass(frozen=True, slots=True)
class Ask:
    """`of`: the step is about one of these, which belongs to the invoice."""

    name: str
    label: str
    permission: str
    open: Callable[[Invoice], bool]
    form: type[forms.StepForm]
    take: Callable[[Any, User], Taken]
    of: type[Model] | None = None
    key: str = ""


def _reject(form: forms.RejectForm, actor: User) -> Taken:
    done = lifecycle.reject(form.invoice.pk, actor, form.cleaned_data["reason"])
    return f"{done.customer}: rejected.", done.pk


def _add_line(form: forms.LineForm, actor: User) -> Taken:
    written = lines_by_hand.Written(**form.cleaned_data)
    line = lines_by_hand.add_line(form.invoice.pk, written, actor)
    return f"{line.name}: {amount_text(line.amount, form.currency)} is added.", form.invoice.pk


def _remove_line(form: forms.RemoveLineForm, actor: User) -> Taken:
    lines_by_hand.remove_line(form.part.pk, actor, form.cleaned_data["reason"])
    return f"{form.part.name} is taken off.", form.invoice.pk


def _record_payment(form: forms.PaymentForm, actor: User) -> Taken:
    given = form.cleaned_data
    received = payments.Received(
        given["amount"],
        form.received_at(),
        f"hand:{given['key']}",
        Payment.Method(given["method"]),
        given["reference"],
    )
    done = payments.record_payment(form.invoice.pk, received, actor)
    return f"{form.invoice}: {amount_text(done.amount, form.currency)} is recorded.", form.invoice.pk


def _reverse_payment(form: forms.ReversePaymentForm, actor: User) -> Taken:
    payments.reverse_payment(form.part.pk, actor, form.cleaned_data["reason"])
    return f"{form.invoice}: {amount_text(form.part.amount, form.currency)} is taken back.", form.invoice.pk


def _write_off(form: forms.WriteOffForm, actor: User) -> Taken:
    payments.write_off(form.invoice.pk, actor, form.cleaned_data["reason"])
    return f"{form.invoice} is uncollectible.", form.invoice.pk


def _void(form: forms.VoidForm, actor: User) -> Taken:
    instead = voiding.void(form.invoice.pk, actor, form.cleaned_data["reason"])
    if instead.pk == form.invoice.pk:
        return f"{form.invoice} is void.", instead.pk
    return f"{form.invoice} is void. This invoice takes its place.", instead.pk


def _request_note(form: forms.CreditForm, actor: User) -> Taken:
    note = credit_notes.request_credit_note(form.invoice.pk, form.amounts(), form.cleaned_data["reason"], actor)
    total = amount_text(note.total, form.currency)
    return f"A credit note over {total} is asked for; somebody else issues it.", form.invoice.pk


def _issue_note(form: forms.IssueNoteForm, actor: User) -> Taken:
    note = credit_notes.issue_credit_note(form.part.pk, actor)
    return f"{note.number}: {amount_text(note.total, form.currency)} is credited.", form.invoice.pk


def _reject_note(form: forms.RejectNoteForm, actor: User) -> Taken:
    credit_notes.reject_credit_note(form.part.pk, actor, form.cleaned_data["reason"])
    return "The credit note is rejected.", form.invoice.pk


def _in_review(invoice: Invoice) -> bool:
    return invoice.status == Status.IN_REVIEW and not invoice.hold_reason


def _takes_lines(invoice: Invoice) -> bool:
    return invoice.status in lines_by_hand.STILL_OPEN and invoice.kind != Invoice.Kind.THRESHOLD


def _has_open_amount(invoice: Invoice) -> bool:
    return invoice.status in payments.PAYABLE and invoice.open_amount > 0


def _voidable(invoice: Invoice) -> bool:
    return invoice.status in payments.PAYABLE and not invoice.paid_amount and not invoice.credited_amount


def _creditable(invoice: Invoice) -> bool:
    return invoice.status in credit_notes.CREDITABLE and credit_notes.left_of_invoice(invoice) > 0


ASKS = (
    Ask("reject", "Reject", "invoicing.approve_invoice", _in_review, forms.RejectForm, _reject, key="r"),
    Ask("add_line", "Add a line", "invoicing.add_line", _takes_lines, forms.LineForm, _add_line),
    Ask(
        "record_payment",
        "Record a payment",
        "invoicing.record_payment",
        _has_open_amount,
        forms.PaymentForm,
        _record_payment,
    ),
    Ask("credit", "Ask for a credit note", "invoicing.credit_invoice", _creditable, forms.CreditForm, _request_note),
    Ask(
        "write_off",
        "Write off",
        "invoicing.void_invoice",
        lambda invoice: invoice.status == Status.ISSUED,
        forms.WriteOffForm,
        _write_off,
    ),
    Ask("void", "Void", "invoicing.void_invoice", _voidable, forms.VoidForm, _void),
)
REMOVE_LINE = Ask(
    "remove_line",
    "Take off",
    "invoicing.add_line",
    lambda invoice: invoice.status in lines_by_hand.STILL_OPEN,
    forms.RemoveLineForm,
    _remove_line,
    of=AddedLine,
)
REVERSE = Ask(
    "reverse_payment",
    "Take back",
    "invoicing.record_payment",
    lambda invoice: invoice.status in payments.LIVING,
    forms.ReversePaymentForm,
    _reverse_payment,
    of=Payment,
)
ISSUE_NOTE = Ask(
    "issue_note",
    "Issue the credit note",
    "invoicing.credit_invoice",
    lambda invoice: invoice.status in credit_notes.CREDITABLE,
    forms.IssueNoteForm,
    _issue_note,
    of=CreditNote,
)
REJECT_NOTE = Ask(
    "reject_note",
    "Reject the credit note",
    "invoicing.credit_invoice",
    lambda invoice: invoice.status in credit_notes.CREDITABLE,
    forms.RejectNoteForm,
    _reject_note,
    of=CreditNote,
)
OF_PARTS = (REMOVE_LINE, REVERSE, ISSUE_NOTE, REJECT_NOTE)


def open_asks(invoice: Invoice, user: User) -> list[Ask]:
    return [ask for ask in ASKS if may(ask, invoice, user)]


def may(ask: Ask, invoice: Invoice, user: User) -> bool:
    return user.has_perm(ask.permission) and ask.open(invoice)


def ask_page(request: HttpRequest, context: dict[str, Any], ask: Ask, invoice: int, part: int | None) -> HttpResponse:
    """The form of a step; posted, it takes the step. What a rule refuses stands at its field."""
    user = cast("User", request.user)
    if not user.has_perm(ask.permission):
        raise PermissionDenied
    found = get_object_or_404(Invoice.objects.select_related("customer", "contract"), pk=invoice)
    about = get_object_or_404(ask.of, pk=part, invoice=found) if ask.of else None
    _, after = neighbours(found)
    form = ask.form(request.POST if request.method == "POST" else None, found, about)
    if request.method == "POST" and form.is_valid():
        taken = _take(request, ask, form, user)
        if taken is not None:
            goes_on = "next" in request.POST and after
            return redirect("admin:invoicing_invoice_change", after if goes_on else taken)
    form.begin()
    shown = {
        "ask": ask,
        "form": form,
        "invoice": found,
        "title": f"{ask.label}: {found}",
        "back": reverse("admin:invoicing_invoice_change", args=[found.pk]),
        "after": after if ask.name == "reject" else None,
    }
    return render(request, "invoicing/step.html", {**context, **shown})


def _take(request: HttpRequest, ask: Ask, form: forms.StepForm, user: User) -> int | None:
    try:
        sentence, invoice = ask.take(form, user)
    except RuleError as refusal:
        form.refused(refusal)
        return None
    messages.success(request, sentence)
    return invoice
