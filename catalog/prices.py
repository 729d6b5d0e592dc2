"""Price models as people and files write them: the billing file's PRICE.

Pure. `{"model": "per_unit", "unit_amount": "0.002"}` is a `PerUnit`; `catalog.price_format` reads and writes them,
`catalog.pricing` works out what they charge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, ClassVar

import msgspec

from billing_project.decimals import plain
from catalog.documents import Document
from catalog.money import EXACT, ONE, ZERO, multiply


class Tier(Document, frozen=True):
    """A band of quantity up to and including `up_to` (none: no bound); `size` makes it count started packages of that
    many.
    """

    above_zero: ClassVar[frozenset[str]] = frozenset({"size"})
    up_to: Decimal | None = None
    unit_amount: Decimal = ZERO
    flat_amount: Decimal = ZERO
    size: Decimal | None = None


class PercentTier(Document, frozen=True):
    """A band of an amount up to and including `up_to`, charged at a percentage and a flat amount."""

    up_to: Decimal | None = None
    percent: Decimal = ZERO
    flat_amount: Decimal = ZERO


class Bounded(Document, frozen=True, kw_only=True, tag_field="model"):
    """What every model may have: the least and the most a line costs in a billing period (`contracts.bounds`)."""

    minimum: Decimal | None = None
    maximum: Decimal | None = None

    def check(self) -> None:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"maximum: must not be below the minimum ({plain(self.minimum)})")
        check_tiers(getattr(self, "tiers", None))


class PerUnit(Bounded, frozen=True, tag="per_unit"):
    """Every unit at one price, after the free units."""

    unit_amount: Decimal
    free_units: Decimal = ZERO


class Package(Bounded, frozen=True, tag="package"):
    """Started packages of `size` units at `amount` each, after the free units."""

    above_zero: ClassVar[frozenset[str]] = frozenset({"size"})
    size: Decimal
    amount: Decimal
    free_units: Decimal = ZERO


class Graduated(Bounded, frozen=True, tag="graduated"):
    """Each unit at the price of its own tier."""

    tiers: tuple[Tier, ...]


class Volume(Bounded, frozen=True, tag="volume"):
    """All units at the price of the tier the total falls in."""

    tiers: tuple[Tier, ...]


class Flat(Bounded, frozen=True, tag="flat"):
    """One amount per billing period, whatever the quantity."""

    amount: Decimal


class Percentage(Bounded, frozen=True, tag="percentage"):
    """A percentage of the metered amount and a fixed amount per event. The first `free_events` events and the first
    `free_amount` of their value are free, whichever ends first; what an event costs keeps within its own bounds.
    """

    whole: ClassVar[frozenset[str]] = frozenset({"free_events"})
    percent: Decimal
    fixed_amount: Decimal = ZERO
    free_events: Decimal = ZERO
    free_amount: Decimal = ZERO
    minimum_per_event: Decimal | None = None
    maximum_per_event: Decimal | None = None

    def check(self) -> None:
        Bounded.check(self)
        least, most = self.minimum_per_event, self.maximum_per_event
        if least is not None and most is not None and least > most:
            raise ValueError(f"maximum_per_event: must not be below the minimum ({plain(least)})")


class GraduatedPercentage(Bounded, frozen=True, tag="graduated_percentage"):
    """Each part of the metered amount at the percentage of its own tier."""

    tiers: tuple[PercentTier, ...]


class Dynamic(Bounded, frozen=True, tag="dynamic"):
    """The metered amount, times a factor, is the charge: the price comes with the event."""

    multiplier: Decimal = ONE


WrittenPrice = PerUnit | Package | Graduated | Volume | Flat | Percentage | GraduatedPercentage | Dynamic


class MultiplierTier(Document, frozen=True):
    """A band of quantity of the billing period and the factor its units cost (a tiered override)."""

    up_to: Decimal | None = None
    multiplier: Decimal = ONE


@dataclass(frozen=True, slots=True)
class Tiered:
    """Another price, times a multiplier that depends on the quantity reached."""

    price: WrittenPrice
    shares: tuple[MultiplierTier, ...]

    @property
    def minimum(self) -> Decimal | None:
        return self.price.minimum

    @property
    def maximum(self) -> Decimal | None:
        return self.price.maximum


Price = WrittenPrice | Tiered


def check_tiers(tiers: Sequence[Any] | None, name: str = "tiers") -> None:
    """Bounds rise and only the last one is open. Raises ValueError naming the tier."""
    if tiers is None:
        return
    if not tiers:
        raise ValueError(f"{name}: needs a list with at least one tier")
    for index, (lower, upper) in enumerate(pairwise(tiers)):
        if lower.up_to is None:
            raise ValueError(f"{name}[{index}].up_to: is open, so no tier may follow")
        if upper.up_to is not None and upper.up_to <= lower.up_to:
            raise ValueError(f"{name}[{index + 1}].up_to: must be above the tier before it ({plain(lower.up_to)})")
    if tiers[-1].up_to is not None:
        raise ValueError(
            f"{name}[{len(tiers) - 1}].up_to: must be left open in the last tier, or usage above it has no price"
        )


def as_fraction(percent: Decimal) -> Decimal:
    return EXACT.scaleb(percent, -2)


def looks_at_each_event(price: Price) -> bool:
    """Whether a price needs the value of every event, not just their sum and number."""
    inner = price.price if isinstance(price, Tiered) else price
    if not isinstance(inner, Percentage):
        return False
    bounded = inner.minimum_per_event is not None or inner.maximum_per_event is not None
    return bounded or bool(inner.free_events or inner.free_amount)


def part_per_event(price: WrittenPrice) -> str:
    """The name of a part of a price that looks at events, which only usage has; empty if there is none."""
    names = ("fixed_amount", "free_events", "free_amount", "minimum_per_event", "maximum_per_event")
    return next((name for name in names if isinstance(price, Percentage) and getattr(price, name)), "")


def charges_without_value(price: Price) -> bool:
    """Whether an event costs something even if its value is zero."""
    inner = price.price if isinstance(price, Tiered) else price
    return isinstance(inner, Percentage) and bool(inner.fixed_amount or inner.minimum_per_event)


# What a multiplier multiplies. Bounds of a line (`minimum`, `maximum`) and free allowances are not prices and stay.
AMOUNTS = frozenset(
    {"unit_amount", "flat_amount", "amount", "percent", "fixed_amount", "minimum_per_event", "maximum_per_event"}
)


def scaled(price: WrittenPrice, multiplier: Decimal) -> WrittenPrice:
    """The same price with every amount in it times a multiplier: what it charges is times the multiplier too."""
    if multiplier == ONE:
        return price
    if isinstance(price, Dynamic):
        return msgspec.structs.replace(price, multiplier=multiply(price.multiplier, multiplier))
    scaled_price: WrittenPrice = _scaled(price, multiplier)
    return scaled_price


def _scaled(part: Any, multiplier: Decimal) -> Any:
    changes: dict[str, Any] = {}
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if name == "tiers":
            changes[name] = tuple(_scaled(tier, multiplier) for tier in value)
        elif name in AMOUNTS and value is not None:
            changes[name] = multiply(value, multiplier)
    return msgspec.structs.replace(part, **changes)
