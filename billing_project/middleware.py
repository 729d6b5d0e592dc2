"""Which requests leave their user and URL in the history."""

from django.http import HttpRequest, HttpResponse
from pghistory.middleware import HistoryMiddleware as EveryRequest

INGESTION = "/api/v1/events"


class HistoryMiddleware(EveryRequest):  # type: ignore[misc]
    """Usage events have no history: their statements stay as they are, prepared and without a prefix."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        handle = self.get_response if request.path.startswith(INGESTION) else super().__call__
        response: HttpResponse = handle(request)
        return response
