"""What is left to do before a month of the books is closed."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import QuerySet

from contracts.models import BillingPeriod
from contracts.unclaimed import number_of_unclaimed_keys
from invoicing.close import due_periods
from invoicing.journal import books_zone
from invoicing.models import OPEN, CreditNote, Invoice, Status
from meters.models import RejectedEvent
from meters.periods import local_midnight

# A period of a contract west of the books' time zone ends up to half a day after their month.
BEHIND = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class OpenWork:
    """How many of each are still open; nothing to do where it is zero."""

    due_periods: int
    drafts: int
    in_review: int
    approved: int
    unrated: int
    unclaimed_keys: int
    rejected_events: int
    credit_notes: int


def end_of(month: date) -> datetime:
    """The instant after a month of the books, given by any of its days."""
    following = (month.replace(day=1) + timedelta(days=32)).replace(day=1)
    return local_midnight(following, books_zone())


def periods_left(month: date, now: datetime) -> QuerySet[BillingPeriod]:
    """Billing periods up to the end of a month that have ended and are not closed."""
    return due_periods(min(end_of(month) + BEHIND, now)).select_related("contract__customer").order_by("ending_before")


def open_work(month: date, now: datetime) -> OpenWork:
    until = end_of(month)
    invoices = Invoice.objects.filter(status__in=OPEN, ending_before__lte=until + BEHIND)
    of_status = {status: invoices.filter(status=status).count() for status in OPEN}
    return OpenWork(
        due_periods=periods_left(month, now).count(),
        drafts=of_status[Status.DRAFT],
        in_review=of_status[Status.IN_REVIEW],
        approved=of_status[Status.APPROVED],
        unrated=invoices.exclude(unrated=[]).count(),
        unclaimed_keys=number_of_unclaimed_keys(),
        rejected_events=RejectedEvent.objects.filter(replayed_at=None, first_at__lt=until).count(),
        credit_notes=CreditNote.objects.filter(status=CreditNote.Status.REQUESTED, requested_at__lt=until).count(),
    )
