"""Subscription fees: the seats of a step at the rate of its period, for its share of the period's seconds. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from msgspec.structs import replace

from catalog.money import ONE, multiply
from contracts.deal import Deal, Subscription
from contracts.lines import Payable, Pricing, rounded
from contracts.products import ProductTerms
from contracts.proration import Calendar, share
from contracts.rating import Unrated, priced_line
from contracts.shared_terms import SharedCommit
from contracts.subscriptions import Step, billed_at, steps
from contracts.terms import Rate, agreed_price, effective_rate, priced_by
from meters.periods import Period


@dataclass(frozen=True, slots=True)
class Fees:
    """What recurring and scheduled fees depend on; `shared` are the commits of customers that this contract bills."""

    deal: Deal
    calendar: Calendar
    currency: str
    products: Mapping[str, ProductTerms]
    rates: Mapping[str, Sequence[Rate]]
    shared: tuple[SharedCommit, ...] = ()


def arrears_fees(fees: Fees, period: Period) -> tuple[list[Payable], list[Unrated]]:
    """Subscription fees billed in arrears with a usage statement: those of periods that end within its own."""
    due = _due(fees, period.ending_before)
    meant = [
        (subscription, step)
        for at, subscription, step in due
        if subscription.billed == "arrears" and period.starting_at < at <= period.ending_before
    ]
    return _priced_steps(fees, meant)


def advance_fees(fees: Fees, after: datetime | None, until: datetime) -> Iterator[tuple[datetime, Payable | Unrated]]:
    """Subscription fees billed in advance at instants in `(after, until]` (after None: from the beginning)."""
    for at, subscription, step in _due(fees, until):
        if subscription.billed == "advance" and (after is None or at > after) and at <= until:
            charges, unrated = _priced_steps(fees, [(subscription, step)])
            for payable in charges:
                yield at, payable
            for row in unrated:
                yield at, row


def _due(fees: Fees, until: datetime) -> Iterator[tuple[datetime, Subscription, Step]]:
    for subscription in fees.deal.subscriptions:
        for step in steps(subscription, fees.calendar, until):
            yield billed_at(subscription, step), subscription, step


def _priced_steps(fees: Fees, meant: Iterable[tuple[Subscription, Step]]) -> tuple[list[Payable], list[Unrated]]:
    charges: list[Payable] = []
    unrated: list[Unrated] = []
    for subscription, step in meant:
        payable = _fee(fees, subscription, step)
        if payable is None:
            unrated.append(Unrated(subscription.product, (), step.period, step.quantity))
        else:
            charges.append(payable)
    return charges, unrated


def _fee(fees: Fees, subscription: Subscription, step: Step) -> Payable | None:
    product = fees.products[subscription.product]
    # One rate per period of the subscription: a price that changes in the middle counts from the next one on.
    at = step.span.held.starting_at
    rate = effective_rate(fees.rates.get(product.key, ()), priced_by(product, ()), at)
    agreed = agreed_price(product, (), rate, at, fees.deal.overrides)
    if agreed is None:
        return None
    prior = None if step.first else step.prior
    pricing = Pricing(product, (), rate, fees.deal.overrides, agreed, prior, step.quantity)
    charged = pricing.charged()
    part = share(step.period, step.span.whole) if subscription.prorated else ONE
    exact = multiply(charged.amount, part)
    line = priced_line(fees.currency, "subscription", pricing, charged, step.period, step.quantity)
    line = replace(
        line,
        amount=rounded(exact, fees.currency, agreed.unit),
        amount_exact=exact,
        share=_unless_whole(part),
        subscription=subscription.key,
    )
    return Payable(line, product, pricing)


def _unless_whole(part: Decimal) -> Decimal | None:
    return None if part == ONE else part
