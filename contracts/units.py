"""Custom pricing units: charged in the unit, converted to the contract's currency on one visible line. Pure."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from catalog.money import ZERO, add, multiply, negate
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
    slices: Sequence[Period],
    currency: str,
) -> tuple[list[Payable], list[Unrated]]:
    """One charge per unit for what lines in that unit come to, less what balances in that unit paid; more than one only
    where the unit's rate changes within the period, or a balance that may pay it starts or ends: `slices` is the period
    cut there.
    """
    totals: dict[tuple[str, UnitRate | None, Period], list[Decimal]] = defaultdict(list)
    amounts = [(payable.line, payable.net) for payable in charges] + [(line, line.amount) for line in draws]
    starts = [part.starting_at for part in slices]
    for line, amount in amounts:
        if line.unit:
            at = line.period.starting_at
            held = (rate for rate in units.get(line.unit, ()) if rate.holds_at(at))
            part = slices[max(bisect_right(starts, at) - 1, 0)]
            totals[line.unit, next(held, None), part].append(amount)
    converted: list[Payable] = []
    unrated: list[Unrated] = []
    for (unit, rate, part), parts in sorted(totals.items(), key=lambda one: (one[0][2], one[0][0])):
        total = add(parts)
        if not total:
            continue
        if rate is None:
            unrated.append(Unrated(unit, (), part, total))
        else:
            held_in = part.overlap(rate.starting_at, rate.ending_before) or part
            converted.append(_conversion(unit, rate, total, held_in, currency))
    return converted, unrated


def conversion_product(unit: str) -> ProductTerms:
    """What a conversion is a line of, for the scopes of balances that may pay it."""
    return ProductTerms(unit, unit, kind="conversion")


def _conversion(unit: str, rate: UnitRate, total: Decimal, period: Period, currency: str) -> Payable:
    product = conversion_product(unit)
    agreed = Agreed(PerUnit(rate.rate), "", f"pricing unit {unit}", f"unit:{unit}")
    # Below zero (a quantity that fell after a balance in the unit had paid for it) it is credited, like any line.
    prior = negate(total) if total < 0 else None
    pricing = Pricing(product, (), None, (), agreed, prior, total)
    line = priced_line(currency, "conversion", pricing, pricing.charged(), period, total)
    return Payable(line, product, pricing)
