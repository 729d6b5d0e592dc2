"""The month's close as a checklist: what is left to do, with the way to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from contracts.models import BillingPeriod
from contracts.period_text import period_text
from invoicing.admin.queue import list_url
from invoicing.journal import books_zone
from invoicing.models import AccountingPeriod, CreditNote, Status
from invoicing.month_checks import end_of, open_work, periods_left

MOST_PERIODS = 10
MONTHS = 12


@dataclass(frozen=True, slots=True)
class Check:
    """`links`: some of them one by one, where there is no list of them."""

    label: str
    why: str
    number: int
    url: str = ""
    links: tuple[tuple[str, str], ...] = ()


def month_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    now = timezone.now()
    today = now.astimezone(books_zone()).date()
    months = _last_months(today)
    month = _month(request.GET.get("month", ""), months[1])
    checks = list(_checks(month, now))
    shown = {
        "title": f"Month's close: {month:%B %Y}",
        "month": month,
        "months": months if month in months else [month, *months],
        "over": end_of(month) <= now,
        "closed": AccountingPeriod.objects.select_related("closed_by").filter(month=month).first(),
        "checks": checks,
        "left": sum(1 for check in checks if check.number),
    }
    return render(request, "invoicing/month.html", {**context, **shown})


def _last_months(today: date) -> list[date]:
    months = [today.replace(day=1)]
    while len(months) < MONTHS:
        months.append((months[-1] - timedelta(days=1)).replace(day=1))
    return months


def _month(text: str, usual: date) -> date:
    try:
        month = date.fromisoformat(f"{text}-01")
    except ValueError:
        return usual
    # Beyond these a month's end in a time zone is not a day of the calendar any more.
    return month if 1970 <= month.year < 9990 else usual


def _checks(month: date, now: datetime) -> Iterator[Check]:
    work = open_work(month, now)
    last_day = (end_of(month) - timedelta(seconds=1)).astimezone(books_zone()).date()
    until = urlencode({"ending_before_to": last_day.isoformat()})
    some = tuple(map(_period_link, periods_left(month, now)[:MOST_PERIODS])) if work.due_periods else ()
    yield Check(
        "Billing periods not closed", "manage.py close_periods writes their invoices.", work.due_periods, "", some
    )
    yield Check(
        "Drafts waiting for late usage",
        "They go to review when their grace is over.",
        work.drafts,
        f"{list_url(Status.DRAFT)}&{until}",
    )
    yield Check(
        "Invoices to review", "Approve or reject them.", work.in_review, f"{list_url(Status.IN_REVIEW)}&{until}"
    )
    yield Check("Approved, not issued", "Issue them.", work.approved, f"{list_url(Status.APPROVED)}&{until}")
    yield Check(
        "Invoices with usage without a rate",
        "They cannot be approved: add the rate.",
        work.unrated,
        f"{list_url()}?{urlencode({'flagged': 'unrated'})}&{until}",
    )
    yield Check(
        "Unclaimed customer keys",
        "Usage nobody is billed for, of any month.",
        work.unclaimed_keys,
        reverse("admin:contracts_unclaimed"),
    )
    yield Check(
        "Rejected events",
        "Usage that was sent and not counted: correct and replay it.",
        work.rejected_events,
        reverse("admin:meters_rejectedevent_changelist"),
    )
    asked = urlencode({"status__exact": CreditNote.Status.REQUESTED})
    yield Check(
        "Credit notes asked for",
        "Issue or reject them.",
        work.credit_notes,
        f"{reverse('admin:invoicing_creditnote_changelist')}?{asked}",
    )


def _period_link(period: BillingPeriod) -> tuple[str, str]:
    contract = period.contract
    span = period_text(period.starting_at, period.ending_before, contract.zone)
    return f"{contract.customer}, {span}", reverse("admin:invoicing_period", args=[period.pk])
