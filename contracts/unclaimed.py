"""Usage nobody is billed for yet: customer keys in events that no customer has."""

from django.db.models import Exists, OuterRef

from contracts.models import CustomerKey
from meters.activity import SubjectEvents, events_by_subject
from meters.models import Subject


def unclaimed_usage(limit: int = 1000) -> list[SubjectEvents]:
    """The keys with most events first."""
    claimed = list(CustomerKey.objects.values_list("key", flat=True))
    return events_by_subject(leaving_out=claimed, limit=limit)


def number_of_unclaimed_keys() -> int:
    claimed = CustomerKey.objects.filter(key=OuterRef("key"))
    return Subject.objects.filter(~Exists(claimed)).count()
