"""Closing billing periods: each gets exactly one invoice, however often, from however many processes.

A chunk of due periods is claimed with `FOR UPDATE SKIP LOCKED` and written in one transaction together with its
invoices: a run that is killed leaves whole chunks behind, and two runs at once take different ones.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from contracts.models import BillingPeriod, Contract
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from contracts.billing_periods import write_periods
from invoicing.drafts import apply_statement, draft_invoice, statements, write_lines
from invoicing.models import Invoice, InvoiceLine, Status

CHUNK = 500


@dataclass(slots=True)
class CloseSummary:
    """What a run of the close did: periods closed, drafts moved to review, and totals of the new invoices by
    currency.
    """

    closed: int = 0
    reviewed: int = 0
    totals: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


Progress = Callable[[int], None]


def grace() -> timedelta:
    """How long after its period a draft waits for late events before it goes to review."""
    return timedelta(hours=settings.INVOICE_GRACE_HOURS)


def due_periods(as_of: datetime, contract: str | None = None) -> QuerySet[BillingPeriod]:
    """Written periods that have ended by `as_of` and have no invoice yet."""
    due = BillingPeriod.objects.filter(closed_at__isnull=True, ending_before__lte=as_of)
    return due.filter(contract__key=contract) if contract else due


def write_due_periods(as_of: datetime, contract: str | None = None) -> int:
    """Write the billing periods up to `as_of`; returns how many are due now."""
    write_periods(as_of, Contract.objects.filter(key=contract) if contract else None)
    return due_periods(as_of, contract).count()


def close_periods(as_of: datetime, contract: str | None = None, progress: Progress = lambda _: None) -> CloseSummary:
    """Close every due period and move drafts past their grace to review. Safe to repeat, to kill, to run twice at
    once.
    """
    summary = CloseSummary()
    write_due_periods(as_of, contract)
    while closed := _close_chunk(as_of, contract, summary):
        progress(closed)
    while _review_chunk(as_of, contract, summary):
        pass
    return summary


def _close_chunk(as_of: datetime, contract: str | None, summary: CloseSummary) -> int:
    with transaction.atomic():
        claimed = list(
            due_periods(as_of, contract)
            .select_related("contract__customer", "contract__rate_card")
            .order_by("pk")
            .select_for_update(skip_locked=True, of=("self",))[:CHUNK]
        )
        if not claimed:
            return 0
        drafts = [
            (draft_invoice(period, statement), statement)
            for period, statement in zip(claimed, statements(claimed), strict=True)
        ]
        Invoice.objects.bulk_create([invoice for invoice, _ in drafts])
        write_lines(drafts)
        BillingPeriod.objects.filter(pk__in=[period.pk for period in claimed]).update(closed_at=timezone.now())
    summary.closed += len(drafts)
    for _, statement in drafts:
        summary.totals[statement.currency] += statement.total
    return len(drafts)


def _review_chunk(as_of: datetime, contract: str | None, summary: CloseSummary) -> int:
    """Rebuild drafts whose grace is over with all usage known now, and put them in the review queue."""
    ready = Invoice.objects.filter(status=Status.DRAFT, ending_before__lte=as_of - grace())
    ready = ready.filter(contract__key=contract) if contract else ready
    with transaction.atomic():
        drafts = list(
            ready.select_related("period__contract__customer", "period__contract__rate_card")
            .order_by("pk")
            .select_for_update(skip_locked=True, of=("self",))[:CHUNK]
        )
        rebuild(drafts)
        Invoice.objects.filter(pk__in=[draft.pk for draft in drafts]).update(status=Status.IN_REVIEW)
    summary.reviewed += len(drafts)
    return len(drafts)


def rebuild(invoices: list[Invoice]) -> None:
    """Write the lines and totals of open invoices anew from terms and usage as they stand. The rows must be locked."""
    rebuilt = list(zip(invoices, statements([invoice.period for invoice in invoices]), strict=True))
    InvoiceLine.objects.filter(invoice__in=invoices).delete()
    for invoice, statement in rebuilt:
        apply_statement(invoice, statement)
    Invoice.objects.bulk_update(invoices, ["subtotal", "total", "unrated", "attention"], batch_size=CHUNK)
    write_lines(rebuilt)
