"""Saying whose usage it is that nobody is billed for yet."""

from collections.abc import Collection
from dataclasses import dataclass

from django.db import transaction

from billing_project.errors import ConflictError, RuleError
from contracts.models import Customer, CustomerKey
from contracts.unclaimed import unclaimed_usage


@dataclass(frozen=True, slots=True)
class Claimed:
    keys: tuple[str, ...]
    events: int


def assign(keys: Collection[str], customer: Customer) -> Claimed:
    """Make the keys aliases of a customer: all their usage, past and to come, is the customer's from this moment on.

    Usage names its customer by key and is read anew for every statement, so nothing has to be counted again. Raises
    RuleError without keys, ConflictError when one of them belongs to somebody by now.
    """
    wanted = sorted(set(keys))
    if not wanted:
        raise RuleError("Choose the keys to assign.", code="required", path="keys")
    events = sum(row.events for row in unclaimed_usage() if row.key in wanted)
    with transaction.atomic():
        made = CustomerKey.objects.bulk_create(
            [CustomerKey(customer=customer, key=key) for key in wanted], ignore_conflicts=True
        )
        owned = CustomerKey.objects.filter(key__in=wanted).exclude(customer=customer).select_related("customer")
        if taken := owned.first():
            raise ConflictError(f"{taken.key} belongs to {taken.customer} by now.", code="claimed", path="keys")
    return Claimed(tuple(each.key for each in made), events)
