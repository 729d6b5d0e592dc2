"""Which requests leave their user and URL in the history."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from pghistory.middleware import HistoryMiddleware as EveryRequest

INGESTION = ("/api/v1/events", "/v1/", "/v2/", "/ingest")


class HistoryMiddleware(EveryRequest):
    """Usage events have no history: their statements stay as they are, prepared and without a prefix."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        super().__init__(get_response)  # type: ignore[no-untyped-call]

    def __call__(self, request: HttpRequest) -> HttpResponse:
        handle = self.get_response if request.path.startswith(INGESTION) else super().__call__
        response: HttpResponse = handle(request)
        return response
