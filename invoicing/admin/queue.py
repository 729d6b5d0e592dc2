"""The order in which invoices are reviewed: those that need a look first, then the largest amounts; rejected
ones wait at the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Count, QuerySet
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from catalog.money import round_amount
from catalog.price_text import amount_text
from invoicing.admin.sparkline import HEIGHT, WIDTH, points
from invoicing.flags import change_percent, totals_before
from invoicing.models import Invoice, Status
from invoicing.trend import last_totals

ORDER = ("hold_reason", "-attention__len", "-total", "pk")
TABS = (Status.IN_REVIEW, Status.APPROVED, Status.DRAFT, Status.ISSUED, Status.PAID)


@dataclass(frozen=True, slots=True)
class Tab:
    label: str
    number: int | None
    url: str
    active: bool


def queue() -> QuerySet[Invoice]:
    return Invoice.objects.filter(status=Status.IN_REVIEW).order_by(*ORDER)


def neighbours(invoice: Invoice) -> tuple[int | None, int | None]:
    """The invoices before and after this one in the queue; after one that is not in it comes the first."""
    keys = list(queue().values_list("pk", flat=True))
    if invoice.pk not in keys:
        return None, next(iter(keys), None)
    at = keys.index(invoice.pk)
    return (keys[at - 1] if at else None), next(iter(keys[at + 1 :]), None)


def list_url(status: str = "") -> str:
    url = reverse("admin:invoicing_invoice_changelist")
    return f"{url}?{urlencode({'status__exact': status})}" if status else url


def tabs(shown: Mapping[str, str]) -> list[Tab]:
    """Links to the lists people work through, with how many invoices are in each."""
    status = shown.get("status__exact", "")
    numbers = dict(Invoice.objects.values_list("status").annotate(Count("pk")).order_by())
    return [
        *(Tab(each.label, numbers.get(each, 0), list_url(each), status == each) for each in TABS),
        Tab("All", None, list_url(), not status),
    ]


def compare(invoices: Sequence[Invoice]) -> None:
    """Write beside each invoice of a page the total before it and its last totals: two queries for all of them."""
    before, totals = totals_before(invoices), last_totals(invoices)
    for invoice in invoices:
        invoice.total_before = before.get(invoice.pk)  # type: ignore[attr-defined]
        invoice.totals = totals.get(invoice.pk, [])  # type: ignore[attr-defined]


def shown_change(total: Decimal, before: Decimal | None) -> str:
    """In whole percent, marked where it is more than what needs a look."""
    change = None if before is None else change_percent(total, before)
    if change is None:
        return "–"
    text = f"{round_amount(change, 'JPY'):+,f}%"
    if change.copy_abs() <= settings.REVIEW_CHANGE_PERCENT:
        return text
    return format_html('<span class="ch-late">{}</span>', text)


def shown_trend(totals: Sequence[Decimal], currency: str) -> str:
    if len(totals) <= 1:
        return "–"
    places = points(totals)
    line = " ".join(f"{across},{down}" for across, down in places)
    said = ", ".join(amount_text(total, currency) for total in totals)
    last: SafeString = format_html(
        '<svg class="ch-trend" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img">'
        "<title>{2}</title>"
        '<polyline points="{3}" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"/>'
        '<circle cx="{4}" cy="{5}" r="2" fill="var(--color-primary-600)"/></svg>',
        WIDTH,
        HEIGHT,
        said,
        line,
        *places[-1],
    )
    return last
