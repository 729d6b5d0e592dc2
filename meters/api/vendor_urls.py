"""Where other systems' clients send, from the root of the address they are pointed at."""

from django.db import transaction
from django.urls import path

from meters.api import vendors

VIEWS = {
    "v1/ingest": vendors.MetronomeView,
    "ingest": vendors.OrbView,
    "v1/billing/meter_events": vendors.StripeV1View,
    "v2/billing/meter_events": vendors.StripeV2View,
    "v2/billing/meter_event_session": vendors.StripeSessionView,
    "v2/billing/meter_event_stream": vendors.StripeStreamView,
}
# Not in a transaction, whatever ATOMIC_REQUESTS says: the answer must come after the commit.
urlpatterns = [path(route, transaction.non_atomic_requests(view.as_view())) for route, view in VIEWS.items()]
