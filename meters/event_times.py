"""When events of customers happened."""

from collections.abc import Collection
from datetime import datetime

from meters.models import Event
from meters.periods import Period


def event_times(customer_keys: Collection[str], event_types: Collection[str], period: Period) -> list[datetime]:
    """The different instants within a period at which customers had events of some types, in order."""
    events = Event.objects.filter(
        subject__key__in=customer_keys,
        event_type__name__in=event_types,
        time__gte=period.starting_at,
        time__lt=period.ending_before,
    )
    return list(events.order_by("time").values_list("time", flat=True).distinct())
