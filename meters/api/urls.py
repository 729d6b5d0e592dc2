from django.db import transaction
from django.urls import path

from meters.api.vendors import LagoBatchView
from meters.api.views import EventsView

urlpatterns = [
    # Each batch is a transaction of its own, whatever ATOMIC_REQUESTS says: the answer must come after the commit.
    path("events", transaction.non_atomic_requests(EventsView.as_view()), name="events"),
    path("events/batch", transaction.non_atomic_requests(LagoBatchView.as_view()), name="events-batch"),
]
