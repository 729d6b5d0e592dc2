"""Usage nobody is billed for yet: customer keys in events that no customer has, or one whose contracts only wait."""

from django.db.models import Exists, OuterRef, QuerySet

from contracts.models import Contract, CustomerKey, Standing
from meters.activity import SubjectEvents, events_by_subject
from meters.models import Subject


def unclaimed_usage(limit: int = 1000) -> list[SubjectEvents]:
    """The keys with most events first."""
    claimed = list(claimed_keys().values_list("key", flat=True))
    return events_by_subject(leaving_out=claimed, limit=limit)


def number_of_unclaimed_keys() -> int:
    claimed = claimed_keys().filter(key=OuterRef("key"))
    return Subject.objects.filter(~Exists(claimed)).count()


def claimed_keys() -> QuerySet[CustomerKey]:
    """The keys of customers, but of those who have contracts and none that is agreed."""
    signed = Contract.objects.filter(customer=OuterRef("customer"))
    return CustomerKey.objects.filter(~Exists(signed) | Exists(signed.filter(status=Standing.ACTIVE)))
