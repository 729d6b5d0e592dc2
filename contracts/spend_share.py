"""Percent-of-spend products: support at 10% of usage. Pure.

They are priced after the products they refer to, on what those come to after discounts and bounds and before credits
and commits; each charge counts at the rate in force when its slice starts.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from catalog.money import ZERO, add
from contracts.deal import Override
from contracts.lines import Payable, Pricing
from contracts.products import ProductTerms
from contracts.rating import Unrated, priced_line
from contracts.scopes import covers
from contracts.terms import Agreed, Rate, agreed_price, effective_rate
from meters.periods import Period


def spend_shares(
    products: Iterable[ProductTerms],
    rates: Mapping[str, Sequence[Rate]],
    overrides: tuple[Override, ...],
    spend: Sequence[Payable],
    currency: str,
) -> tuple[list[Payable], list[Unrated]]:
    """The charges of every percent-of-spend product on the charges it refers to."""
    charges: list[Payable] = []
    unrated: list[Unrated] = []
    for product in products:
        if product.kind == "percent_of_spend":
            of = [payable for payable in spend if _counts(product, payable)]
            found, lost = _shares(product, rates.get(product.key, ()), overrides, of, currency)
            charges += found
            unrated += lost
    return charges, unrated


def _counts(product: ProductTerms, payable: Payable) -> bool:
    """A product never refers to itself or to other shares of spend: that would be a circle."""
    line = payable.line
    return not line.unit and line.kind != "percent_of_spend" and covers(product.of, payable.product, line.group)


def _shares(
    product: ProductTerms,
    rates: Sequence[Rate],
    overrides: tuple[Override, ...],
    of: Iterable[Payable],
    currency: str,
) -> tuple[list[Payable], list[Unrated]]:
    charges: list[Payable] = []
    unrated: list[Unrated] = []
    running = None

    def terms(payable: Payable) -> tuple[Rate | None, Agreed | None]:
        at = payable.line.period.starting_at
        rate = effective_rate(rates, "", at)
        return rate, agreed_price(product, (), rate, at, overrides)

    ordered = sorted(of, key=lambda payable: payable.line.period)
    for (rate, agreed), run in groupby(ordered, key=terms):
        counted = list(run)
        spent = add(payable.net for payable in counted)
        period = Period(
            min(payable.line.period.starting_at for payable in counted),
            max(payable.line.period.ending_before for payable in counted),
        )
        if agreed is None:
            unrated.append(Unrated(product.key, (), period, spent))
            continue
        pricing = Pricing(product, (), rate, overrides, agreed, running, spent)
        line = priced_line(currency, "percent_of_spend", pricing, pricing.charged(), period, spent)
        charges.append(Payable(line, product, pricing))
        running = add([running or ZERO, spent])
    return charges, unrated
