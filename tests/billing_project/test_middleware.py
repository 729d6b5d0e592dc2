"""The history's context: there for what people edit, absent for usage events."""

import pghistory
import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pghistory.runtime import _tracker

from billing_project.middleware import HistoryMiddleware


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
