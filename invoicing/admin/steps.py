"""The buttons of an invoice: each posts, and calls one verb of its lifecycle."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest

from billing_project.errors import RuleError
from catalog.price_text import amount_text
from invoicing import lifecycle
from invoicing.admin.charges import may_be_charged
from invoicing.charging import charge_now
from invoicing.models import Invoice, Status

MOST_REFUSALS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Step:
    """`confirm` is asked before a step that cannot be taken back."""

    name: str
    label: str
    past: str
    verb: Callable[[int, User, str], Invoice]
    open: Callable[[Invoice], bool]
    permission: str
    confirm: str = ""
    key: str = ""


APPROVE = Step(
    "approve",
    "Approve",
    "approved",
    lifecycle.approve,
    lambda invoice: invoice.status == Status.IN_REVIEW and not invoice.hold_reason,
    "invoicing.approve_invoice",
    key="a",
)
RELEASE = Step(
    "release",
    "Release",
    "back in the review queue",
    lifecycle.release,
    lambda invoice: invoice.status == Status.IN_REVIEW and bool(invoice.hold_reason),
    "invoicing.approve_invoice",
)
RETURN = Step(
    "return_to_review",
    "Return to review",
    "returned to review",
    lifecycle.return_to_review,
    lambda invoice: invoice.status == Status.APPROVED,
    "invoicing.approve_invoice",
)
ISSUE = Step(
    "issue",
    "Issue",
    "issued",
    lifecycle.issue,
    lambda invoice: invoice.status == Status.APPROVED,
    "invoicing.issue_invoice",
    confirm="Issue this invoice? It takes the next number and cannot change any more.",
)
CHARGE = Step(
    "charge",
    "Charge now",
    "charged with the next run",
    lambda invoice, user, note: charge_now(invoice, user).invoice,
    may_be_charged,
    "invoicing.retry_stripe",
    confirm="Charge the customer's payment method now? It is asked with the next run, within a minute.",
)
STEPS = (APPROVE, RELEASE, RETURN, ISSUE, CHARGE)


def open_steps(invoice: Invoice, user: User) -> list[Step]:
    return [step for step in STEPS if step.open(invoice) and user.has_perm(step.permission)]


def take(request: HttpRequest, user: User, step: Step, invoice: int) -> bool:
    """Take one step and tell how it went; a note that was typed is kept with it."""
    try:
        done = step.verb(invoice, user, request.POST.get("note", "").strip())
    except RuleError as refusal:
        messages.error(request, refusal.message)
        return False
    total = amount_text(done.total.amount, str(done.total.currency))
    messages.success(request, f"{done.number or done.customer}: {total} is {step.past}.")
    return True


def take_all(request: HttpRequest, user: User, step: Step, invoices: Iterable[Invoice]) -> None:
    """Take a step for each invoice in a transaction of its own, and sum up."""
    taken, refusals = 0, []
    for invoice in invoices:
        try:
            step.verb(invoice.pk, user, "")
            taken += 1
        except RuleError as refusal:
            refusals.append(f"{invoice.customer}: {refusal.message}")
    if taken:
        messages.success(request, f"{taken:,} {'invoice is' if taken == 1 else 'invoices are'} {step.past}.")
    for refusal_text in refusals[:MOST_REFUSALS_SHOWN]:
        messages.error(request, refusal_text)
    if len(refusals) > MOST_REFUSALS_SHOWN:
        messages.error(request, f"... and {len(refusals) - MOST_REFUSALS_SHOWN:,} more were refused.")
