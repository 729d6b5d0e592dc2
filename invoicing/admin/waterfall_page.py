"""Deferred and unbilled revenue by month, as a page with a chart and as CSV."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from billing_project.api_csv import csv_lines, csv_text
from billing_project.decimals import plain
from invoicing.accounting import movements, next_month, waterfall
from invoicing.admin.waterfall_chart import WIDTH, draw
from invoicing.exports.columns import csv_rows
from invoicing.journal import books_zone
from invoicing.models import AccountingPeriod
from invoicing.revenue_by_day import COLUMNS, revenue_by_day
from invoicing.waterfall import Waterfall, cohorts, waterfalls

MONTHS = 12
AMOUNTS = (
    *("deferred_start", "billed", "credited", "recognised", "expired", "deferred_end"),
    *("unbilled_start", "earned", "accrued", "invoiced", "unbilled_end", "revenue"),
)
COHORTS = ("currency", "invoiced_in", "earned_in", "revenue")


def waterfall_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponseBase:
    this_month = timezone.now().astimezone(books_zone()).date().replace(day=1)
    known = waterfalls(movements(), this_month)
    months = sorted({moved.month for each in known for moved in each.months} | {this_month})
    last = _month(request.GET.get("to", ""), months, this_month)
    usual = months[max(0, months.index(last) - MONTHS + 1)]
    first = min(_month(request.GET.get("from", ""), months, usual), last)
    shown = [each.between(first, last) for each in known]
    if request.GET.get("format") == "csv":
        return _file(f"deferred-revenue-{first:%Y-%m}-{last:%Y-%m}.csv", csv_text(*_table(shown)))
    if request.GET.get("format") == "csv-by-day":
        return _by_day(first, last)
    by_invoice = cohorts(waterfall(), first, last)
    if request.GET.get("format") == "csv-by-invoice":
        rows = (
            (each.currency, f"{invoiced:%Y-%m}", f"{earned:%Y-%m}", plain(amount))
            for each in by_invoice
            for invoiced, amounts in each.rows
            for earned, amount in zip(each.earned, amounts, strict=True)
            if amount
        )
        return _file(f"revenue-by-invoice-{first:%Y-%m}-{last:%Y-%m}.csv", csv_text(COHORTS, rows))
    return render(
        request,
        "invoicing/waterfall.html",
        {
            **context,
            "title": "Deferred revenue",
            "months": months,
            "first": first,
            "last": last,
            "this_month": this_month,
            "width": WIDTH,
            "parts": [(each, draw(each)) for each in shown if each.months],
            "cohorts": by_invoice,
            "closed": set(AccountingPeriod.objects.values_list("month", flat=True)),
        },
    )


def _month(text: str, months: list[date], usual: date) -> date:
    """One of the months of the books, else the nearest the page has."""
    try:
        month = date.fromisoformat(f"{text}-01")
    except ValueError:
        return usual
    return min(max(month, months[0]), months[-1])


def _table(shown: list[Waterfall]) -> tuple[tuple[str, ...], Iterator[list[str]]]:
    rows = (
        [each.currency, f"{moved.month:%Y-%m}", *(plain(getattr(moved, name)) for name in AMOUNTS)]
        for each in shown
        for moved in each.months
    )
    return ("currency", "month", *AMOUNTS), rows


def _by_day(first: date, last: date) -> StreamingHttpResponse:
    rows = csv_rows(revenue_by_day(first, next_month(last)))
    answer = StreamingHttpResponse(csv_lines(COLUMNS, rows), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="revenue-by-day-{first:%Y-%m}-{last:%Y-%m}.csv"'
    return answer


def _file(name: str, text: str) -> HttpResponse:
    answer = HttpResponse(text, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
