"""The history's context: there for what people edit, absent for usage events."""

import pghistory
import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pghistory.runtime import _tracker

from billing_project.middleware import HistoryMiddleware
from meters.models import EventArchive, Meter
from meters.partitions import month_of
from meters.rollup import roll_up
from tests.factories import CALL, day, sell, user


@pytest.mark.parametrize(
    ("path", "tracked"),
    [
        ("/admin/catalog/rate/add/", True),
        ("/api/v1/events", False),
        ("/api/v1/events/batch", False),
        ("/v1/ingest", False),
    ],
)
def test_only_ingestion_goes_without_history(path: str, tracked: bool) -> None:
    seen: list[dict[str, object] | None] = []

    def view(request: HttpRequest) -> HttpResponse:
        pghistory.context(api_key="0a1b2c3d")
        seen.append(_tracker.value.metadata if hasattr(_tracker, "value") else None)
        return HttpResponse()

    HistoryMiddleware(view)(RequestFactory().post(path))
    expected = {"user": None, "url": path, "api_key": "0a1b2c3d"} if tracked else None
    assert seen == [expected]


def test_a_refusal_in_the_middle_of_a_page_is_shown_on_it(client: Client, roles: None) -> None:
    """A live draft whose events lie in an archive: of a meter made after they left."""
    client.force_login(user("Finance"))
    (contract,) = sell(starting_at=day(1))
    now = timezone.now()
    gone = {"dropped_at": day(1), "exported_at": day(1), "by_type": {CALL: {"events": 1}}, "size": 1, "events": 1}
    EventArchive.objects.create(month=month_of(now), **gone)
    roll_up()
    Meter.objects.update(built_at=now)
    page = client.get(reverse("admin:invoicing_live_draft", args=[contract.pk]))
    assert page.status_code == 409
    shown = page.content.decode()
    assert f"manage.py restore_events {now:%Y-%m} first." in shown
    assert reverse("admin:logout") in shown  # a page of the admin, not a bare error
