"""Usage by customer, meter, group and window of time: what the API, the explorer and the customer's page show."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from billing_project.errors import RuleError
from contracts.models import CustomerKey
from meters.aggregation import UsageRequest, quantities
from meters.models import Meter
from meters.periods import CALENDAR_ANCHOR, Period, boundaries

WINDOWS = ("hour", "day", "week", "month")
MAX_WINDOWS = 2_000  # a month of hours for two customers, or five years of days
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a meter measured for a customer in a window, for one set of group values (None where events have none)."""

    customer: str
    meter: str
    period: Period
    group: dict[str, str | None]
    quantity: Decimal
    events: int


def windows(period: Period, window: str, zone: ZoneInfo) -> list[Period]:
    """The period cut at every hour, local midnight, Monday or first of the month; the first and last may be short.

    Raises RuleError when there would be more than MAX_WINDOWS of them.
    """
    if not window:
        return [period]
    edges = [period.starting_at]
    for instant in _edges(period, window, zone):
        if len(edges) > MAX_WINDOWS:
            raise RuleError(
                f"More than {MAX_WINDOWS:,} windows: choose a longer window or a shorter time.",
                code="too_many_windows",
                path="window",
            )
        edges.append(instant)
    return [Period(start, end) for start, end in pairwise([*edges, period.ending_before])]


def _edges(period: Period, window: str, zone: ZoneInfo) -> Iterator[datetime]:
    instants = (
        _hours(period.starting_at)
        if window == "hour"
        else boundaries(window, CALENDAR_ANCHOR, zone, after=period.starting_at)
    )
    for instant in instants:
        if instant >= period.ending_before:
            return
        yield instant


def _hours(after: datetime) -> Iterator[datetime]:
    # UTC hours: the ones buckets are kept in, and the same as local ones but for zones with odd minutes.
    instant = after.replace(minute=0, second=0, microsecond=0)
    while True:
        instant += HOUR
        yield instant


def usage_rows(
    customers: Iterable[str] | None,
    meters: Iterable[Meter],
    parts: Sequence[Period],
    group_by: tuple[str, ...] = (),
) -> list[UsageRow]:
    """The usage of customers (by key or alias; a key nobody has is read as events name it), read in one snapshot.

    None stands for everybody together, whoever they are; `customer` of these rows is empty.
    Only windows and groups with events have a row. Raises RuleError for a group key that a meter does not keep.
    """
    asked = [
        (customer, keys, meter, part)
        for customer, keys in customer_keys(customers)
        for meter in meters
        for part in parts
        if _keeps(meter, group_by)
    ]
    requests = [
        UsageRequest(key=place, meter=meter, customer_keys=keys, period=part, group_by=group_by)
        for place, (_, keys, meter, part) in enumerate(asked)
    ]
    rows = []
    for found in quantities(requests):
        customer, _, meter, part = asked[found.key]
        group = dict(zip(group_by, found.group, strict=True))
        rows.append(UsageRow(customer, meter.key, part, group, found.quantity, found.events))
    return rows


def _keeps(meter: Meter, group_by: tuple[str, ...]) -> bool:
    for key in group_by:
        if key not in meter.group_by:
            kept = ", ".join(meter.group_by) or "none"
            raise RuleError(
                f"{key} is not a group key of meter {meter.key} (it has: {kept}).",
                code="unknown_group",
                path="group_by",
            )
    return True


def customer_keys(customers: Iterable[str] | None) -> list[tuple[str, tuple[str, ...] | None]]:
    """For every customer named: its main key, and all the keys under which events name it."""
    if customers is None:
        return [("", None)]
    named = list(dict.fromkeys(customers))
    owners = dict(CustomerKey.objects.filter(key__in=named).values_list("key", "customer__key"))
    known: dict[str, list[str]] = {}
    for owner, key in CustomerKey.objects.filter(customer__key__in=owners.values()).values_list("customer__key", "key"):
        known.setdefault(owner, []).append(key)
    mains = dict.fromkeys(owners.get(name, name) for name in named)
    return [(main, tuple(sorted(known.get(main, [main])))) for main in mains]
