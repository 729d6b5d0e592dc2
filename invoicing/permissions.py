"""Who may take a step, and the row it is taken on."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied

from billing_project.errors import ConflictError
from invoicing.models import Invoice, InvoiceStep, Status

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def require(actor: "User", permission: str) -> None:
    """Raises PermissionDenied."""
    if not actor.has_perm(permission):
        raise PermissionDenied(f"{actor} may not do this: the permission {permission} is missing.")


def locked(invoice: int, statuses: Collection[Status]) -> Invoice:
    """The invoice with its terms, its row locked. Raises ConflictError when it is in none of these states.

    The state is looked at under the lock, so of two people taking a step one succeeds and the other is told.
    """
    row = (
        Invoice.objects.select_related("customer", "contract__customer", "contract__rate_card")
        .select_related("period")
        .select_for_update(of=("self",))
        .get(pk=invoice)
    )
    if row.period:
        row.period.contract = row.contract
    if row.status not in statuses:
        wanted = " or ".join(status.label.lower() for status in statuses)
        stands = row.get_status_display().lower()
        raise ConflictError(f"{row} is {stands}; only an invoice that is {wanted} can take this step.")
    return row


def remember(invoice: Invoice, step: str, actor: "User | None", reason: str = "") -> None:
    """Write down who took a step, and why."""
    InvoiceStep.objects.create(invoice=invoice, step=step, actor=actor, reason=reason)
