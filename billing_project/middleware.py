"""Which requests leave their user and URL in the history, and what people see when a rule refuses a page."""

from collections.abc import Callable

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from pghistory.middleware import HistoryMiddleware as EveryRequest

from billing_project.errors import RuleError

INGESTION = ("/api/v1/events", "/v1/", "/v2/", "/ingest")


class HistoryMiddleware(EveryRequest):
    """Usage events have no history: their statements stay as they are, prepared and without a prefix."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        super().__init__(get_response)  # type: ignore[no-untyped-call]

    def __call__(self, request: HttpRequest) -> HttpResponse:
        handle = self.get_response if request.path.startswith(INGESTION) else super().__call__
        response: HttpResponse = handle(request)
        return response


class RefusalMiddleware:
    """A rule that refuses in the middle of an admin page is shown there, in its own words, not as an error."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, RuleError) or not request.path.startswith(reverse("admin:index")):
            return None
        context = {**admin.site.each_context(request), "title": "This cannot be shown now", "refusal": error.message}
        return render(request, "admin/refused.html", context, status=error.status)
