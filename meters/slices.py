"""How each aggregation behaves when a billing period is cut into slices. Pure.

Counts and sums of slices add up, so a slice has its own aggregate. A maximum does not: there the slice is the
increment of the running aggregate, asked for from the start of the period. Averages are known only for the whole
period, at its last slice.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from meters.periods import Period

ADDITIVE = frozenset({"count", "sum"})
RUNNING = frozenset({"max", "min", "latest", "unique_count"})
WHOLE = frozenset({"average", "time_weighted"})


def measured_periods(aggregation: str, slices: Sequence[Period]) -> list[tuple[Period, Period]]:
    """For each slice that has a quantity of its own: the slice, and the period over which to aggregate for it."""
    start = slices[0].starting_at
    if aggregation in ADDITIVE:
        return [(part, part) for part in slices]
    if aggregation in RUNNING:
        return [(part, Period(start, part.ending_before)) for part in slices]
    return [(slices[-1], Period(start, slices[-1].ending_before))]


def accrued_part(aggregation: str, measured: Period, until: datetime) -> Period | None:
    """The part of a measured period before an instant; None where nothing has accrued by then: before the period, and
    for what only the whole period tells.
    """
    return None if aggregation in WHOLE else measured.overlap(None, until)


def increments(aggregation: str, measured: Sequence[tuple[Decimal, int]]) -> list[tuple[Decimal, int]]:
    """The quantity and number of events of each slice, from what was measured for it, in order of time."""
    if aggregation not in RUNNING:
        return list(measured)
    before = [(Decimal(0), 0), *measured[:-1]]
    return [(now[0] - then[0], now[1] - then[1]) for now, then in zip(measured, before, strict=True)]
