"""What a meter measured of late: by month for everybody, by customer key for this month. For people to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

from billing_project.decimals import plain
from meters.activity import busiest
from meters.aggregation import UsageRequest, quantities
from meters.models import Meter
from meters.periods import Period

MONTHS = 6
CUSTOMERS = 25


@dataclass(frozen=True, slots=True)
class Bar:
    """A quantity with a name; `share` is its part of the largest one, in percent."""

    name: str
    quantity: Decimal
    events: int
    share: int

    @property
    def shown(self) -> str:
        whole, point, places = plain(self.quantity).partition(".")
        return f"{int(whole):,}{point}{places}"


@dataclass(frozen=True, slots=True)
class MeterUsage:
    months: list[Bar]
    customers: list[Bar]


def usage_of(meter: Meter, now: datetime) -> MeterUsage:
    """The last months (UTC) together, and the customer keys with most events this month."""
    months = _months(now)
    keys = busiest(meter, months[-1], CUSTOMERS)
    whole = [UsageRequest(place, meter, None, month) for place, month in enumerate(months)]
    each = [UsageRequest(MONTHS + place, meter, (key,), months[-1]) for place, key in enumerate(keys)]
    found = {row.key: (row.quantity, row.events) for row in quantities([*whole, *each])}
    nothing = (Decimal(0), 0)
    return MeterUsage(
        months=_bars(
            [(f"{month.starting_at:%B %Y}", *found.get(place, nothing)) for place, month in enumerate(months)]
        ),
        customers=_bars([(key, *found[MONTHS + place]) for place, key in enumerate(keys) if MONTHS + place in found]),
    )


def _months(now: datetime) -> list[Period]:
    number = now.astimezone(UTC).year * 12 + now.astimezone(UTC).month - 1
    starts = [_first_of(each) for each in range(number - MONTHS + 1, number + 2)]
    return [Period(start, end) for start, end in pairwise(starts)]


def _first_of(number: int) -> datetime:
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def _bars(rows: Sequence[tuple[str, Decimal, int]]) -> list[Bar]:
    largest = max((quantity for _, quantity, _ in rows), default=Decimal(0))
    return [
        Bar(name, quantity, events, int(100 * quantity / largest) if quantity > 0 else 0)
        for name, quantity, events in rows
    ]
