"""Custom pricing units: charged in the unit, converted to the contract's currency on one visible line. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from catalog.money import ZERO, add, multiply
from catalog.prices import PerUnit
from contracts.lines import Line, Payable, Pricing
from contracts.products import ProductTerms
from contracts.rating import Unrated, priced_line
from contracts.terms import Agreed
from meters.periods import Period


@dataclass(frozen=True, slots=True)
class UnitRate:
    """What one pricing unit costs in the card's currency, while it lasts."""

    rate: Decimal
    starting_at: datetime | None = None
    ending_before: datetime | None = None

    def holds_at(self, instant: datetime) -> bool:
        return (self.starting_at is None or self.starting_at <= instant) and (
            self.ending_before is None or instant < self.ending_before
        )


def in_currency(amount: Decimal, unit: str, at: datetime, units: Mapping[str, Sequence[UnitRate]]) -> Decimal:
    """What an amount in a pricing unit comes to in the currency at an instant; nothing while the unit has no rate."""
    return amount if not unit else multiply(amount, rate_at(unit, at, units))


def rate_at(unit: str, at: datetime, units: Mapping[str, Sequence[UnitRate]]) -> Decimal:
    return next((each.rate for each in units.get(unit, ()) if each.holds_at(at)), ZERO)


def conversions(
    charges: Iterable[Payable],
    draws: Iterable[Line],
    units: Mapping[str, Sequence[UnitRate]],
    period: Period,
    currency: str,
) -> tuple[list[Payable], list[Unrated]]:
    """One charge per unit (and rate, where it changes within the period) for what lines in that unit come to, less what
    balances in that unit paid.
    """
    totals: dict[tuple[str, UnitRate | None], list[Decimal]] = defaultdict(list)
    amounts = [(payable.line, payable.net) for payable in charges] + [(line, line.amount) for line in draws]
    for line, amount in amounts:
        if line.unit:
            held = (rate for rate in units.get(line.unit, ()) if rate.holds_at(line.period.starting_at))
            totals[line.unit, next(held, None)].append(amount)
    converted: list[Payable] = []
    unrated: list[Unrated] = []
    for (unit, rate), parts in totals.items():
        total = add(parts)
        if not total:
            continue
        if rate is None:
            unrated.append(Unrated(unit, (), period, total))
        else:
            held_in = period.overlap(rate.starting_at, rate.ending_before) or period
            converted.append(_conversion(unit, rate, total, held_in, currency))
    return converted, unrated


def _conversion(unit: str, rate: UnitRate, total: Decimal, period: Period, currency: str) -> Payable:
    product = ProductTerms(unit, unit, kind="conversion")
    agreed = Agreed(PerUnit(rate.rate), "", f"pricing unit {unit}", f"unit:{unit}")
    pricing = Pricing(product, (), None, (), agreed, None, total)
    line = priced_line(currency, "conversion", pricing, pricing.charged(), period, total)
    return Payable(line, product, pricing)
