"""What is left to do before a month of the books is closed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import Q, QuerySet

from contracts.models import BillingPeriod
from contracts.unclaimed import number_of_unclaimed_keys
from invoicing.close import due_periods
from invoicing.journal import books_zone, first_open_day
from invoicing.models import OPEN, CreditNote, Invoice, JournalEntry, LateUsage, Status, StripePush
from meters.models import RejectedEvent
from meters.periods import local_midnight

# A period of a contract west of the books' time zone ends up to half a day after their month.
BEHIND = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class OpenWork:
    """How many of each are still open; nothing to do where it is zero. The last three belong to no month."""

    earlier_months: int
    due_periods: int
    drafts: int
    in_review: int
    approved: int
    unrated: int
    credit_notes: int
    late_usage: int
    unclaimed_keys: int
    rejected_events: int
    stripe_problems: int


# What a month should not be closed with: one of them, several.
IN_THE_WAY: Mapping[str, tuple[str, str]] = {
    "earlier_months": ("earlier month not closed", "earlier months not closed"),
    "due_periods": ("billing period not closed", "billing periods not closed"),
    "drafts": ("draft", "drafts"),
    "in_review": ("invoice to review", "invoices to review"),
    "approved": ("approved invoice to issue", "approved invoices to issue"),
    "credit_notes": ("credit note asked for", "credit notes asked for"),
    "late_usage": ("late usage to decide about", "late usages to decide about"),
}


def still_open(work: OpenWork) -> list[str]:
    """`3 drafts`, `1 credit note asked for`: what a month should not be closed with."""
    numbers = {name: int(getattr(work, name)) for name in IN_THE_WAY}
    return [f"{number:,} {IN_THE_WAY[name][number > 1]}" for name, number in numbers.items() if number]


def end_of(month: date) -> datetime:
    """The instant after a month of the books, given by any of its days."""
    following = (month.replace(day=1) + timedelta(days=32)).replace(day=1)
    return local_midnight(following, books_zone())


def periods_left(month: date, now: datetime) -> QuerySet[BillingPeriod]:
    """Billing periods up to the end of a month that have ended and are not closed."""
    return due_periods(min(end_of(month) + BEHIND, now)).select_related("contract__customer").order_by("ending_before")


def earlier_months(month: date) -> list[date]:
    """The months before one that hold entries and are not closed, oldest first."""
    entries = JournalEntry.objects.filter(day__lt=month.replace(day=1))
    open_day = first_open_day()
    if open_day is not None:
        entries = entries.filter(day__gte=open_day)
    return list(entries.dates("day", "month"))


def open_work(month: date, now: datetime) -> OpenWork:
    until = end_of(month)
    invoices = Invoice.objects.filter(status__in=OPEN, ending_before__lte=until + BEHIND)
    of_status = {status: invoices.filter(status=status).count() for status in OPEN}
    return OpenWork(
        earlier_months=len(earlier_months(month)),
        due_periods=periods_left(month, now).count(),
        drafts=of_status[Status.DRAFT],
        in_review=of_status[Status.IN_REVIEW],
        approved=of_status[Status.APPROVED],
        unrated=invoices.exclude(unrated=[]).count(),
        credit_notes=CreditNote.objects.filter(status=CreditNote.Status.REQUESTED, requested_at__lt=until).count(),
        late_usage=LateUsage.objects.filter(decision=LateUsage.Decision.PENDING, starting_at__lt=until).count(),
        unclaimed_keys=number_of_unclaimed_keys(),
        rejected_events=RejectedEvent.objects.filter(replayed_at=None, first_at__lt=until).count(),
        stripe_problems=StripePush.objects.filter(Q(blocked=True) | ~Q(warning="")).count(),
    )
