"""The usage explorer: what a meter measured, as chart, table, CSV, and down to the events. Its address says it all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing_project.api_csv import csv_text
from billing_project.decimals import plain
from billing_project.errors import RuleError
from billing_project.forms import SuggestingInput
from catalog.price_text import exact_text
from contracts.admin.charts import draw, name_of
from contracts.models import Customer, timezone_name
from contracts.usage_report import WINDOWS, UsageRow, customer_keys, usage_rows, windows
from meters.events_behind import MeasuredEvent, events_behind
from meters.models import Meter
from meters.periods import Period, local_midnight
from meters.usage_statement import UsageRequest

ALL_GROUPS = "*"
SUGGESTED = 500
MOST_ROWS = 1_000
MOST_EVENTS = 100
FIRST_YEAR, LAST_YEAR = 1970, 9990


class ExplorerForm(forms.Form):
    customer = forms.CharField(
        required=False,
        widget=SuggestingInput(lambda: Customer.objects.values_list("key", flat=True)[:SUGGESTED]),
    )
    meter = forms.ModelChoiceField(Meter.objects.all(), to_field_name="key", widget=UnfoldAdminSelectWidget)
    group_by = forms.CharField(label="Split by", required=False, widget=UnfoldAdminSelectWidget)
    start = forms.DateField(label="From", widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}))
    end = forms.DateField(label="To and including", widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}))
    window = forms.ChoiceField(
        choices=[(each, each.title()) for each in WINDOWS], widget=UnfoldAdminSelectWidget, label="By"
    )
    tz = forms.CharField(label="Time zone", widget=UnfoldAdminTextInputWidget, validators=[timezone_name])

    def __init__(self, given: dict[str, str]) -> None:
        super().__init__(given)
        meter = Meter.objects.filter(key=given["meter"]).first()
        keys = meter.group_by if meter else []
        choices = [("", "–"), *((key, key) for key in keys), *([(ALL_GROUPS, "all of these")] if len(keys) > 1 else [])]
        self.fields["group_by"].widget.choices = choices

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        start, end = given.get("start"), given.get("end")
        if start and end and end < start:
            self.add_error("end", "Not before the first day.")
        return given


@dataclass(frozen=True, slots=True)
class Asked:
    customers: list[str] | None
    meter: Meter
    group_by: tuple[str, ...]
    period: Period
    window: str
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class ShownRow:
    row: UsageRow
    when: str
    group: str
    quantity: str
    url: str
    chosen: bool


def explorer_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    form = ExplorerForm(_given(request))
    shown: dict[str, Any] = {}
    if form.is_valid():
        try:
            shown = _explored(request, _asked(form.cleaned_data))
        except RuleError as refusal:
            form.add_error(None, refusal.message)
    if "csv" in shown and request.GET.get("format") == "csv":
        answer = HttpResponse(shown["csv"], content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="usage.csv"'
        return answer
    return render(request, "contracts/explorer.html", {**context, **shown, "form": form})


def _given(request: HttpRequest) -> dict[str, str]:
    """What the address says, and for the rest this month of the first meter, by day, in the customer's time zone."""
    asked = {name: text for name in request.GET if (text := request.GET.get(name, "").replace("\0", ""))}
    customer = Customer.objects.filter(keys__key=asked.get("customer", "")).first()
    zone = customer.timezone if customer else "UTC"
    today = timezone.localdate(timezone=ZoneInfo(zone))
    first = Meter.objects.open().values_list("key", flat=True).first() or ""
    usual = {
        "meter": first,
        "window": "day",
        "tz": zone,
        "start": today.replace(day=1).isoformat(),
        "end": today.isoformat(),
    }
    return {**usual, **asked}


def _asked(given: dict[str, Any]) -> Asked:
    zone, meter = ZoneInfo(given["tz"]), given["meter"]
    chosen = given["group_by"]
    keys = tuple(meter.group_by) if chosen == ALL_GROUPS else (chosen,)
    return Asked(
        customers=[given["customer"]] if given["customer"] else None,
        meter=meter,
        # The key of another meter, left over from a choice before.
        group_by=tuple(key for key in keys if key in meter.group_by),
        period=_period(given["start"], given["end"], zone),
        window=given["window"],
        zone=zone,
    )


def _period(first: date, last: date, zone: ZoneInfo) -> Period:
    if first.year < FIRST_YEAR or last.year > LAST_YEAR:
        raise RuleError(f"Usage lies between {FIRST_YEAR} and {LAST_YEAR}.", code="bad_period", path="start")
    return Period(local_midnight(first, zone), local_midnight(last + timedelta(days=1), zone))


def _explored(request: HttpRequest, asked: Asked) -> dict[str, Any]:
    parts = windows(asked.period, asked.window, asked.zone)
    rows = usage_rows(asked.customers, [asked.meter], parts, asked.group_by)
    texts = {part: _when(part, asked) for part in parts}
    opened = request.GET.get("at", "")
    shown = [_shown(request, row, texts[row.period], opened) for row in rows]
    chosen = next((each for each in shown if each.chosen), None)
    return {
        "chart": draw(rows, parts, asked.meter.aggregation, texts),
        "rows": shown[:MOST_ROWS],
        "more": len(shown) > MOST_ROWS,
        "asked": asked,
        "first": texts[parts[0]],
        "last": texts[parts[-1]],
        "csv": _csv(asked, rows),
        "csv_url": f"?{_query(request, format='csv')}",
        "chosen": chosen,
        "events": _behind(asked, chosen.row) if chosen else [],
        "most_events": MOST_EVENTS,
    }


def _shown(request: HttpRequest, row: UsageRow, when: str, opened: str) -> ShownRow:
    place = f"{row.period.starting_at.isoformat()} {name_of(row)}"
    return ShownRow(
        row=row,
        when=when,
        group=name_of(row),
        quantity=exact_text(row.quantity),
        url=f"?{_query(request, at=place)}#events",
        chosen=place == opened,
    )


def _behind(asked: Asked, row: UsageRow) -> Sequence[tuple[str, MeasuredEvent, str]]:
    [(_, keys)] = customer_keys(asked.customers)
    request = UsageRequest(0, asked.meter, keys, row.period, asked.group_by)
    found = events_behind(request, tuple(row.group.values()), MOST_EVENTS)
    return [(f"{each.time.astimezone(asked.zone):%Y-%m-%d %H:%M:%S}", each, exact_text(each.value)) for each in found]


def _query(request: HttpRequest, **more: str) -> str:
    kept = {name: value for name, value in request.GET.items() if name not in {"at", "format"}}
    return urlencode({**kept, **more})


def _when(part: Period, asked: Asked) -> str:
    start = part.starting_at.astimezone(asked.zone)
    if asked.window == "hour":
        return f"{start:%Y-%m-%d %H:%M}"
    last = _last_day(part.ending_before.astimezone(asked.zone))
    if asked.window == "month" and start.day == 1 and (last + timedelta(days=1)).day == 1:
        return f"{start:%B %Y}"
    return f"{start:%Y-%m-%d}" + (f" – {last:%m-%d}" if last != start.date() else "")


def _last_day(end: datetime) -> date:
    return (end - timedelta(microseconds=1)).date()


def _csv(asked: Asked, rows: Sequence[UsageRow]) -> str:
    header = ["customer", "meter", "starting_at", "ending_before", *asked.group_by, "quantity", "events"]
    return csv_text(
        header,
        (
            [
                row.customer,
                row.meter,
                row.period.starting_at.astimezone(asked.zone).isoformat(),
                row.period.ending_before.astimezone(asked.zone).isoformat(),
                *row.group.values(),
                plain(row.quantity),
                row.events,
            ]
            for row in rows
        ),
    )
