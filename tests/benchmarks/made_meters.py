"""The meters of the benchmarks."""

from collections.abc import Sequence

from meters.models import Aggregation, Meter
from tests.benchmarks.stream import TYPES, event_type

KINDS = [
    (Aggregation.SUM, "input_tokens"),
    (Aggregation.SUM, "output_tokens"),
    (Aggregation.COUNT, ""),
    (Aggregation.MAX, "output_tokens"),
    (Aggregation.LATEST, "input_tokens"),
]


def make_meters(*, of_all_types: bool = False, group_by: Sequence[str] = ("model", "region")) -> list[Meter]:
    """Five meters; each counts one of the five event types, or every one counts them all."""
    return [
        Meter.objects.create(
            key=f"{'all' if of_all_types else 'one'}-{number}",
            name=f"{aggregation} {number}",
            event_types=[event_type(each) for each in range(TYPES)] if of_all_types else [event_type(number)],
            aggregation=aggregation,
            value_property=path,
            group_by=list(group_by),
        )
        for number, (aggregation, path) in enumerate(KINDS)
    ]
