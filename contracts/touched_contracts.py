"""The contracts that usage of customer keys may be billed by."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.db.models import Q

from contracts.models import Contract, CustomerKey, Standing


@dataclass(frozen=True, slots=True)
class Concerned:
    """Contracts in force or over that bill usage of keys, and the keys by contract (its id)."""

    contracts: tuple[Contract, ...]
    keys: Mapping[int, frozenset[str]]

    def keys_of(self, failed: Mapping[int, str]) -> dict[str, str]:
        """What is said of contracts (by id), by the keys it is said of."""
        return {key: error for contract, error in failed.items() for key in self.keys[contract]}


def contracts_of(keys: Collection[str], only: Q | None = None) -> Concerned:
    """Two queries; of those `only` names, if it is given. A key that is nobody's concerns no contract."""
    owned: dict[str, set[str]] = defaultdict(set)
    for customer, key in CustomerKey.objects.filter(key__in=keys).values_list("customer__key", "key"):
        owned[customer].add(key)
    if not owned:
        return Concerned((), {})
    billed = Q(customer__key__in=owned) | Q(deal__usage_customers__has_any_keys=list(owned))
    rows = Contract.objects.filter(billed, status=Standing.ACTIVE, shadow=False)
    rows = rows.filter(only) if only is not None else rows
    contracts = tuple(rows.select_related("customer", "rate_card").order_by("pk"))
    found = {}
    for each in contracts:
        names = {each.customer.key, *each.deal.get("usage_customers", ())}
        found[each.pk] = frozenset(key for name in names for key in owned.get(name, ()))
    return Concerned(contracts, found)
