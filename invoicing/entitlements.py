"""The synchronous gate: what a customer may use now, from live usage and balances."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing_project.errors import RuleError
from catalog.group_values import parse_group
from catalog.money import ZERO
from contracts.deal import Allowance, Entitlement
from contracts.entitlements import Grant, check, most_generous, reset_period
from contracts.models import Contract, CustomerKey
from invoicing.live import in_force, live
from invoicing.payment_gates import shut
from meters.aggregation import UsageRequest, quantities
from meters.models import Meter
from meters.periods import Period


@dataclass(frozen=True, slots=True)
class Promise:
    """An entitlement in a contract in force."""

    contract: Contract
    entitlement: Entitlement


def grants(contracts: Sequence[Contract], at: datetime, feature: str | None = None) -> dict[str, Grant]:
    """What the contracts of one customer grant at an instant, by feature (of one alone, if it is named).

    Where several grant the same feature, the most generous of them counts, of equal ones the one that started last.
    """
    latest_first = sorted(in_force(contracts, at), key=lambda each: each.starting_at, reverse=True)
    promises = [
        Promise(contract, entitlement)
        for contract in latest_first
        for entitlement in contract.parsed_deal.entitlements
        if feature is None or entitlement.feature == feature
    ]
    used = _used(promises, at)
    left = _left(promises, at)
    unpaid = shut({each.contract.pk: each.contract for each in promises}.values(), at)
    by_feature: dict[str, list[Grant]] = defaultdict(list)
    for place, promise in enumerate(promises):
        entitlement = promise.entitlement
        quantity, period = used.get(place, (ZERO, None))
        has_balance = not entitlement.requires_balance or left[place]
        owes = promise.contract.pk in unpaid
        grant = check(entitlement, quantity, period, has_balance=has_balance, unpaid=owes)
        by_feature[entitlement.feature].append(grant)
    return {name: most_generous(found) for name, found in by_feature.items()}


def _used(promises: Sequence[Promise], at: datetime) -> dict[int, tuple[Decimal, Period]]:
    """By the place of a metered promise: what was used in its reset period, and that period. Two statements for all."""
    metered = [(place, each.contract, each.entitlement) for place, each in enumerate(promises)]
    allowances = [(place, contract, each) for place, contract, each in metered if isinstance(each, Allowance)]
    if not allowances:
        return {}
    keys = _keys_of(allowances[0][1])
    meters = {row.key: row for row in Meter.objects.filter(key__in={each.meter for _, _, each in allowances})}
    found: dict[int, tuple[Decimal, Period]] = {}
    requests = []
    for place, contract, each in allowances:
        meter = meters.get(each.meter)
        if meter is None:
            raise RuleError(f"The feature {each.feature} is limited by the meter {each.meter}, which does not exist.")
        period = reset_period(each, contract.calendar, at)
        found[place] = (ZERO, period)
        requests.append(UsageRequest(place, meter, keys, period, (), _where(each, contract, meter)))
    for row in quantities(requests):
        found[row.key] = (row.quantity, found[row.key][1])
    return found


def _where(allowance: Allowance, contract: Contract, meter: Meter) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The part of usage that counts: that of the allowance, within the part the contract takes."""
    taken: Mapping[str, tuple[str, ...]] = {
        key: values for key, values in contract.parsed_deal.usage_filter.items() if key in meter.group_by
    }
    named = {key: (value,) for key, value in parse_group(allowance.where).items()}
    both = {key: tuple(each for each in values if each in taken.get(key, values)) for key, values in named.items()}
    return tuple(sorted({**taken, **both}.items()))


def _keys_of(contract: Contract) -> tuple[str, ...]:
    keys = CustomerKey.objects.filter(customer=contract.customer_id).values_list("key", flat=True)
    return tuple(sorted(keys))


def _left(promises: Sequence[Promise], at: datetime) -> dict[int, bool]:
    """By the place of a promise that requires a balance: whether something is left of it."""
    needing = [(place, each) for place, each in enumerate(promises) if each.entitlement.requires_balance]
    contracts = {each.contract.pk: each.contract for _, each in needing}
    if not contracts:
        return {}
    now = {each.contract.pk: each for each in live(list(contracts.values()), at)}
    found = {}
    for place, each in needing:
        left = now[each.contract.pk].left(each.entitlement.balances)
        found[place] = any(amount > 0 for amount in left.values())
    return found
