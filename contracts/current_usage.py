"""What a customer used this month, on every meter: a look at the meters, not a bill."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from contracts.models import Customer
from meters.aggregation import UsageRequest, quantities
from meters.models import Meter
from meters.periods import CALENDAR_ANCHOR, Period, boundaries, local_midnight


@dataclass(frozen=True, slots=True)
class MeterUsage:
    meter: Meter
    quantity: Decimal
    events: int


@dataclass(frozen=True, slots=True)
class MonthUsage:
    period: Period
    meters: Sequence[MeterUsage]


def usage_this_month(customer: Customer, now: datetime) -> MonthUsage:
    """Quantities of all meters with usage, over the calendar month in the customer's time zone."""
    zone = ZoneInfo(customer.timezone)
    start = local_midnight(now.astimezone(zone).date().replace(day=1), zone)
    month = Period(start, next(boundaries("month", CALENDAR_ANCHOR, zone, start)))
    meters = list(Meter.objects.open())
    keys = tuple(customer.keys.values_list("key", flat=True))
    requests = [UsageRequest(index, meter, keys, month, ()) for index, meter in enumerate(meters)]
    return MonthUsage(month, [MeterUsage(meters[row.key], row.quantity, row.events) for row in quantities(requests)])
