"""Percent-of-spend products: support at 10% of usage. Pure.

They are priced after the products they refer to, on what those come to after discounts and bounds and before credits
and commits, in the contract's currency; usage is cut where their rates change.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby

from catalog.money import ZERO, add, divide
from catalog.pricing import charges_without_usage
from contracts.deal import Override
from contracts.lines import Payable, Pricing
from contracts.products import ProductTerms
from contracts.rating import Unrated, priced_line
from contracts.scopes import covers
from contracts.terms import Agreed, Rate, agreed_price, effective_rate, while_paid
from contracts.units import UnitRate, in_currency, rate_at
from meters.periods import Period


@dataclass(frozen=True, slots=True)
class Spend:
    """What shares are of: the charges of a billing period, and what pricing units cost in the currency."""

    period: Period
    charges: Sequence[Payable]
    units: Mapping[str, Sequence[UnitRate]]

    def amount(self, payable: Payable) -> Decimal:
        """What a charge comes to in the currency; nothing while its pricing unit has no rate."""
        line = payable.line
        return in_currency(payable.net, line.unit, line.period.starting_at, self.units)

    def amount_in(self, payable: Payable, unit: str) -> Decimal:
        """What a charge comes to in a pricing unit (empty: the currency); nothing while that unit has no rate."""
        line = payable.line
        if line.unit == unit or not unit:
            return payable.net if line.unit == unit else self.amount(payable)
        rate = rate_at(unit, line.period.starting_at, self.units)
        return divide(self.amount(payable), rate) if rate else ZERO

    def converted(self, payable: Payable) -> Decimal:
        """What the charges behind a conversion came to, whatever it costs past a commit."""
        line = payable.line
        return in_currency(line.quantity, line.product, line.period.starting_at, self.units)


def spend_shares(
    products: Iterable[ProductTerms],
    rates: Mapping[str, Sequence[Rate]],
    overrides: tuple[Override, ...],
    spend: Spend,
    currency: str,
) -> tuple[list[Payable], list[Unrated]]:
    """The charges of every percent-of-spend product on the charges it refers to."""
    charges: list[Payable] = []
    unrated: list[Unrated] = []
    for product in products:
        if product.kind == "percent_of_spend":
            terms = _Terms(product, rates.get(product.key, ()), overrides)
            found, lost = _shares(terms, spend, currency)
            charges += found or _fee_without_spend(terms, spend.period, currency)
            unrated += lost
    return charges, unrated


@dataclass(frozen=True, slots=True)
class _Terms:
    product: ProductTerms
    rates: Sequence[Rate]
    overrides: tuple[Override, ...]

    def at(self, instant: datetime) -> tuple[Rate | None, Agreed | None, tuple[int, ...]]:
        rate = effective_rate(self.rates, "", instant)
        paid = while_paid(self.product, (), instant, self.overrides)
        return rate, agreed_price(self.product, (), rate, instant, self.overrides), paid


def _counts(product: ProductTerms, payable: Payable) -> bool:
    """A product never refers to itself or to other shares of spend: that would be a circle."""
    line = payable.line
    return line.kind != "percent_of_spend" and covers(product.of, payable.product, line.group)


def _shares(terms: _Terms, spend: Spend, currency: str) -> tuple[list[Payable], list[Unrated]]:
    product = terms.product
    charges: list[Payable] = []
    unrated: list[Unrated] = []
    running = None
    of = (payable for payable in spend.charges if _counts(product, payable))
    ordered = sorted(of, key=lambda payable: payable.line.period)
    for (rate, agreed, _), run in groupby(ordered, key=lambda payable: terms.at(payable.line.period.starting_at)):
        counted = list(run)
        # A tenth of 10.00 in credits of 0.10 is a tenth of 100 credits.
        spent = add(spend.amount_in(payable, agreed.unit if agreed else "") for payable in counted)
        period = Period(
            min(payable.line.period.starting_at for payable in counted),
            max(payable.line.period.ending_before for payable in counted),
        )
        if agreed is None:
            unrated.append(Unrated(product.key, (), period, spent))
            continue
        pricing = Pricing(product, (), rate, terms.overrides, agreed, running, spent)
        line = priced_line(currency, "percent_of_spend", pricing, pricing.charged(), period, spent)
        charges.append(Payable(line, product, pricing))
        running = add([running or ZERO, spent])
    return charges, unrated


def _fee_without_spend(terms: _Terms, period: Period, currency: str) -> list[Payable]:
    """A minimum or a flat fee in the first tier is due once a period even if nothing was spent."""
    starts = [each.starting_at for each in terms.rates if each.starting_at and each.starting_at in period]
    for instant in [period.starting_at, *sorted(starts)]:
        rate, agreed, _ = terms.at(instant)
        if agreed is not None and charges_without_usage(agreed.price):
            pricing = Pricing(terms.product, (), rate, terms.overrides, agreed, None, ZERO)
            line = priced_line(currency, "percent_of_spend", pricing, pricing.charged(), period, ZERO)
            return [Payable(line, terms.product, pricing)]
    return []
