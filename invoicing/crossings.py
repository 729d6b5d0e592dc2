"""Whether a limit is reached, which alerts that begins and which it ends. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from catalog.money import ZERO, divide, multiply

HUNDRED = Decimal(100)
FALLING = ("balance", "days_left")


@dataclass(frozen=True, slots=True)
class Measure:
    """A value that limits are compared with. `place` says of what: a period, a balance, an invoice. `words` tell it."""

    kind: str
    place: str
    value: Decimal
    words: str
    feature: str = ""


def is_reached(kind: str, value: Decimal, limit: Decimal) -> bool:
    """A balance and the days it has left fall to their limit; everything else rises to it."""
    return value <= limit if kind in FALLING else value >= limit


def percent(part: Decimal, whole: Decimal) -> Decimal:
    """Of nothing everything is used."""
    return multiply(divide(part, whole), HUNDRED) if whole > ZERO else HUNDRED


def changes(
    kind: str, limit: Decimal, measures: Iterable[Measure], standing: Mapping[str, int]
) -> tuple[list[Measure], list[int]]:
    """The measures that begin an alert, and the standing alerts (by place) that are over: the limit is no longer
    reached, or what it was about is gone.
    """
    reached = {each.place: each for each in measures if is_reached(kind, each.value, limit)}
    begun = [each for place, each in reached.items() if place not in standing]
    return begun, [alert for place, alert in standing.items() if place not in reached]
