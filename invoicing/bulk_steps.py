"""Taking a step for many invoices, some at a time, so that a page can show how far it is and go on after a kill."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.utils import timezone

from billing_project.errors import RuleError
from billing_project.locks import holding
from invoicing import lifecycle
from invoicing.models import BulkStep, Invoice, InvoiceStep

if TYPE_CHECKING:
    from django.contrib.auth.models import User

# The step as it is written down in the history of an invoice, and what takes it.
VERBS: dict[str, tuple[str, Callable[[int, "User", str], Invoice]]] = {
    "approve": ("approved", lifecycle.approve),
    "issue": ("issued", lifecycle.issue),
}
SPAN = timedelta(seconds=2)


def begin(step: str, invoices: Sequence[int], actor: "User", reason: str = "") -> BulkStep:
    """Write down what is to be done; nothing is taken yet."""
    if step not in VERBS:
        raise RuleError(f"Take one of {', '.join(VERBS)}.", path="step")
    return BulkStep.objects.create(step=step, actor=actor, reason=reason, invoices=list(invoices))


def go_on(bulk: int, actor: "User", span: timedelta | None = None) -> BulkStep:
    """Take the step for more of the invoices, for a short time, each in a transaction of its own.

    While somebody else goes on with it nothing is done. An invoice whose step was taken before a kill could write that
    down is not refused: its own history says who took it and when. Raises PermissionDenied for anybody but the one who
    began it: four eyes look at who takes a step.
    """
    with holding("bulk step", bulk) as held:
        row = BulkStep.objects.select_related("actor").get(pk=bulk)
        if row.actor_id != actor.pk:
            raise PermissionDenied(f"{row.actor} began this; only they go on with it.")
        until = timezone.now() + (SPAN if span is None else span)
        while held and row.left:
            _take_next(row, actor)
            if timezone.now() >= until:
                break
        if held and not row.left and row.finished_at is None:
            row.finished_at = timezone.now()
            row.save(update_fields=["finished_at"])
    return row


def _take_next(row: BulkStep, actor: "User") -> None:
    past, verb = VERBS[row.step]
    invoice = row.invoices[row.position]
    try:
        verb(invoice, actor, row.reason)
        row.taken += 1
    except RuleError as refusal:
        if _taken_before(row, invoice, past):
            row.taken += 1
        else:
            row.refusals.append([invoice, refusal.message])
    except Invoice.DoesNotExist:
        row.refusals.append([invoice, "It is gone: its period was billed anew."])
    row.position += 1
    row.save(update_fields=["position", "taken", "refusals"])


def _taken_before(row: BulkStep, invoice: int, past: str) -> bool:
    return InvoiceStep.objects.filter(
        invoice=invoice, step=past, actor=row.actor_id, at__gte=row.begun_at, reason=row.reason
    ).exists()
