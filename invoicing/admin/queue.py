"""The order in which invoices are reviewed: those that need a look first, then the largest amounts; rejected
ones wait at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Count, QuerySet
from django.urls import reverse

from invoicing.models import Invoice, Status

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
