"""What waits for people, as numbers to click: the admin's front page."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from contracts.unclaimed import number_of_unclaimed_keys
from invoicing.admin.queue import list_url
from invoicing.models import Invoice, Status
from meters.health import health
from meters.models import Event


@dataclass(frozen=True, slots=True)
class Tile:
    number: object
    label: str
    url: str


def front_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    may = request.user.has_perm
    tiles: list[Tile] = []
    if may("invoicing.view_invoice"):
        tiles += _invoices()
    if may("contracts.view_customer"):
        number = number_of_unclaimed_keys()
        tiles.append(Tile(number, "unclaimed customer keys", reverse("admin:contracts_unclaimed")))
    newest = (
        Event.objects.order_by("-time").values_list("time", flat=True).first() if may("meters.view_event") else None
    )
    return {
        **context,
        "title": "Overview",
        "tiles": tiles,
        "newest_event": newest,
        "sees_events": may("meters.view_event"),
        **(_ingestion() if may("meters.view_event") else {}),
    }


def _ingestion() -> dict[str, Any]:
    now = health(timezone.now())
    most = max(now.minutes)
    bars = [(place * 10, 60 * events // most if most else 0, events) for place, events in enumerate(now.minutes)]
    return {"health": now, "bars": [(left, 60 - height, height, events) for left, height, events in bars]}


def _invoices() -> list[Tile]:
    numbers = dict(Invoice.objects.values_list("status").annotate(Count("pk")).order_by())
    flagged = Invoice.objects.filter(status=Status.IN_REVIEW, attention__len__gt=0).count()
    return [
        Tile(numbers.get(Status.IN_REVIEW, 0), "invoices to review", list_url(Status.IN_REVIEW)),
        Tile(flagged, "of them need a look", f"{list_url(Status.IN_REVIEW)}&flagged=1"),
        Tile(numbers.get(Status.APPROVED, 0), "approved, to be issued", list_url(Status.APPROVED)),
    ]
