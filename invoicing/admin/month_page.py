"""The month's close as a checklist: what is left to do, with the way to it, and the button that closes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from billing_project.errors import RuleError
from contracts.models import BillingPeriod
from contracts.period_text import period_text
from invoicing.admin.queue import list_url
from invoicing.journal import books_zone
from invoicing.models import AccountingPeriod, CreditNote, LateUsage, Status
from invoicing.month_checks import OpenWork, earlier_months, end_of, open_work, periods_left, still_open
from invoicing.month_closing import close_checked_month

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


def month_page(request: HttpRequest, context: dict[str, Any], refused: str = "") -> HttpResponse:
    """`refused`: why the month was not closed just now."""
    now = timezone.now()
    today = now.astimezone(books_zone()).date()
    months = _last_months(today)
    month = _month(request.GET.get("month", ""), months[1])
    work = open_work(month, now)
    checks = list(_checks(work, month, now))
    closed = AccountingPeriod.objects.select_related("closed_by").filter(month=month).first()
    over = end_of(month) <= now
    shown = {
        "title": f"Month's close: {month:%B %Y}",
        "month": month,
        "months": months if month in months else [month, *months],
        "over": over,
        "closed": closed,
        "later": _closed_with(month) if closed is None else None,
        "checks": checks,
        "left": sum(1 for check in checks if check.number),
        "in_the_way": still_open(work),
        "may_close": over and closed is None and request.user.has_perm("invoicing.close_month"),
        "refused": refused,
        "reason": request.POST.get("reason", ""),
    }
    return render(request, "invoicing/month.html", {**context, **shown}, status=409 if refused else 200)


def close_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Posted: close the month; a refusal stands beside the button."""
    month = _month(request.GET.get("month", ""), date.min)
    if month == date.min:
        return redirect("admin:invoicing_month")
    try:
        close_checked_month(month, cast("User", request.user), request.POST.get("reason", ""))
    except RuleError as refusal:
        return month_page(request, context, refusal.message)
    messages.success(request, f"The books of {month:%B %Y} are closed.")
    return redirect(month_url(month))


def month_url(month: date) -> str:
    return f"{reverse('admin:invoicing_month')}?{urlencode({'month': f'{month:%Y-%m}'})}"


def _closed_with(month: date) -> AccountingPeriod | None:
    """A later month that is closed: nothing can be posted into this one either."""
    return AccountingPeriod.objects.filter(month__gt=month).order_by("month").first()


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


def _checks(work: OpenWork, month: date, now: datetime) -> Iterator[Check]:
    last_day = (end_of(month) - timedelta(seconds=1)).astimezone(books_zone()).date()
    until = urlencode({"ending_before_to": last_day.isoformat()})
    before = earlier_months(month)[:MOST_PERIODS] if work.earlier_months else []
    yield Check(
        "Earlier months",
        "Months are closed one after the other.",
        work.earlier_months,
        "",
        tuple((f"{each:%B %Y}", month_url(each)) for each in before),
    )
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
    asked = urlencode({"status__exact": CreditNote.Status.REQUESTED})
    yield Check(
        "Credit notes asked for",
        "Issue or reject them.",
        work.credit_notes,
        f"{reverse('admin:invoicing_creditnote_changelist')}?{asked}",
    )
    pending = urlencode({"decision__exact": LateUsage.Decision.PENDING})
    yield Check(
        "Late usage to decide about",
        "Bill it, credit it or write it off.",
        work.late_usage,
        f"{reverse('admin:invoicing_lateusage_changelist')}?{pending}",
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
    yield Check(
        "Problems with Stripe",
        "Invoices Stripe does not have as we do, of any month.",
        work.stripe_problems,
        f"{reverse('admin:invoicing_stripepush_changelist')}?problem=problems",
    )


def _period_link(period: BillingPeriod) -> tuple[str, str]:
    contract = period.contract
    span = period_text(period.starting_at, period.ending_before, contract.zone)
    return f"{contract.customer}, {span}", reverse("admin:invoicing_period", args=[period.pk])
