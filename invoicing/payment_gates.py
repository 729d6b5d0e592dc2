"""Payment gates of spend thresholds: who owes for usage already billed gets no more of it on credit.

While a threshold invoice of such a contract is unpaid no further one is issued. Once its charge was refused, or it fell
due, or it was written off, the gate is shut: the contract grants nothing until it is paid or voided.
"""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from contracts.models import Contract
from contracts.thresholds import is_gated
from invoicing.models import ChargeAttempt, Invoice, Status
from invoicing.payments import PAYABLE


def unpaid(contracts: Iterable[Contract]) -> QuerySet[Invoice]:
    """The threshold invoices that hold back the next one, of the contracts that have a gate."""
    gated = [each.pk for each in contracts if is_gated(each.deal)]
    if not gated:
        return Invoice.objects.none()
    return Invoice.objects.filter(contract__in=gated, kind=Invoice.Kind.THRESHOLD, status__in=PAYABLE).order_by("pk")


def held_back(contracts: Iterable[Contract]) -> set[int]:
    """The contracts, by key, that get no threshold invoice before an earlier one is paid."""
    return set(unpaid(contracts).values_list("contract", flat=True))


def shut(contracts: Iterable[Contract], at: datetime) -> dict[int, Invoice]:
    """The contracts whose gate is shut at an instant, by key, with the first invoice that shuts it."""
    refused = ChargeAttempt.objects.filter(invoice=OuterRef("pk"), outcome=ChargeAttempt.Outcome.REFUSED)
    rows = unpaid(contracts).filter(Q(Exists(refused)) | Q(status=Status.UNCOLLECTIBLE) | Q(due_at__lte=at))
    found: dict[int, Invoice] = {}
    for invoice in rows:
        found.setdefault(invoice.contract_id, invoice)
    return found
