"""Which rate applies to a product, to a set of group values, at an instant. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from catalog.prices import Price
from catalog.pricing import Conversion
from meters.periods import Period, cut


@dataclass(frozen=True, slots=True)
class ProductTerms:
    """A product as a contract sells it: where its quantity comes from and how lines are made of it."""

    key: str
    name: str
    meter: str
    aggregation: str
    pricing_keys: tuple[str, ...] = ()
    presentation_keys: tuple[str, ...] = ()
    conversion: Conversion = field(default_factory=Conversion)

    @property
    def group_by(self) -> tuple[str, ...]:
        return self.pricing_keys + self.presentation_keys


@dataclass(frozen=True, slots=True)
class Rate:
    """A price for a product and its pricing group values (`where`, as `group_key` writes them), while it lasts.

    `source` says where it was agreed, for people: `rate card list-2026`; `reference` finds the row: `rate:812`.
    """

    product: str
    where: str
    starting_at: datetime | None
    ending_before: datetime | None
    price: Price
    source: str
    reference: str

    def holds_at(self, instant: datetime) -> bool:
        return (self.starting_at is None or self.starting_at <= instant) and (
            self.ending_before is None or instant < self.ending_before
        )


def rate_slices(rates: Iterable[Rate], period: Period) -> list[Period]:
    """The period cut at every instant at which a rate of one product starts or ends."""
    return cut(period, (instant for rate in rates for instant in (rate.starting_at, rate.ending_before)))


def effective_rate(rates: Iterable[Rate], where: str, at: datetime) -> Rate | None:
    """The one rate for pricing group values (as `group_key` writes them) at an instant; None where nobody agreed a
    price.
    """
    return next((rate for rate in rates if rate.where == where and rate.holds_at(at)), None)
