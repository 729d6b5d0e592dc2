"""Deal guardrails: how far a deal may go before a second person must agree. Pure.

Each way of giving something away has one function; all are told together.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from billing_project.decimals import plain
from catalog.money import ONE, ZERO, add, multiply, subtract
from catalog.prices import as_fraction
from contracts.balances import CREDIT, POSTPAID, balances_of
from contracts.deal import Deal, Multiplier, Overwrite, TieredMultiplier
from contracts.durations import Duration
from contracts.proration import Calendar

HUNDRED = Decimal(100)
# What a recurring credit gives away in a contract without an end is counted for so long.
COUNTED = Duration(months=12)


@dataclass(frozen=True, slots=True)
class Guardrails:
    """The most a deal may give by itself; None means no limit. Amounts in the contract's currency."""

    max_discount_percent: Decimal | None = None
    max_discount_amount: Decimal | None = None
    max_reduction_percent: Decimal | None = None
    max_free_amount: Decimal | None = None
    max_term_months: int | None = None
    max_net_days: int | None = None
    overwrites_need_approval: bool = False


NO_LIMITS = Guardrails()


@dataclass(frozen=True, slots=True)
class Proposal:
    """The terms that are looked at. `unit_values`: what one of each pricing unit costs."""

    deal: Deal
    calendar: Calendar
    currency: str
    net_days: int
    unit_values: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Excess:
    """A term beyond a guardrail: where, and a sentence."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def excesses(proposal: Proposal, limits: Guardrails) -> list[Excess]:
    """Everything in a deal that goes beyond the guardrails."""
    deal = proposal.deal
    return [
        *_discounts(deal, limits),
        *_reductions(deal, limits),
        *_free(proposal, limits),
        *_term(proposal, limits),
        *_net_days(proposal, limits),
    ]


def new_excesses(before: Iterable[Excess], after: Iterable[Excess]) -> list[Excess]:
    """What goes beyond after a change and did not before: only that needs to be agreed to."""
    known = Counter(excess.message for excess in before)
    found = []
    for excess in after:
        if known[excess.message]:
            known[excess.message] -= 1
        else:
            found.append(excess)
    return found


def _discounts(deal: Deal, limits: Guardrails) -> Iterator[Excess]:
    limit = limits.max_discount_percent
    if limit is not None:
        starts: set[datetime | None] = {each.starting_at for each in deal.discounts if each.percent is not None}
        percents = [_compounded(deal, start) for start in starts]
        if percents and max(percents) > limit:
            yield Excess("discounts", f"{plain(max(percents))}% off, above {plain(limit)}%")
    for index, discount in enumerate(deal.discounts):
        most = limits.max_discount_amount
        if most is not None and discount.amount is not None and discount.amount > most:
            text = f"{plain(discount.amount)} off an invoice, above {plain(most)}"
            yield Excess(f"discounts[{index}].amount", text)


def _compounded(deal: Deal, start: datetime | None) -> Decimal:
    """The percentage off when a discount starts: those in force then, one after the other."""
    left = ONE
    for each in deal.discounts:
        holds = each.starting_at is None if start is None else each.holds_at(start)
        if each.percent is not None and holds:
            left = multiply(left, subtract(ONE, as_fraction(each.percent)))
    return multiply(subtract(ONE, left), HUNDRED)


def _reductions(deal: Deal, limits: Guardrails) -> Iterator[Excess]:
    for index, override in enumerate(deal.overrides):
        path = f"overrides[{index}]"
        if isinstance(override, Overwrite):
            if limits.overwrites_need_approval:
                named = ", ".join((*override.scope.products, *override.scope.tags))
                yield Excess(path, f"a price of its own for {named}")
            continue
        off = multiply(subtract(ONE, _lowest(override)), HUNDRED)
        limit = limits.max_reduction_percent
        if limit is not None and off > limit:
            yield Excess(path, f"rates lowered by {plain(off)}%, above {plain(limit)}%")


def _lowest(override: Multiplier | TieredMultiplier) -> Decimal:
    if isinstance(override, Multiplier):
        return override.multiplier
    return min(tier.multiplier for tier in override.tiers)


def _free(proposal: Proposal, limits: Guardrails) -> Iterator[Excess]:
    limit = limits.max_free_amount
    if limit is None:
        return
    given = free_amount(proposal)
    if given > limit:
        yield Excess("credits", f"{plain(given)} {proposal.currency} given away, above {plain(limit)}")


def free_amount(proposal: Proposal) -> Decimal:
    """What a deal gives away over its term: credits, and commits beyond what is paid for them."""
    calendar = proposal.calendar
    until = calendar.ending_before or COUNTED.after(calendar.starting_at, calendar.zone)
    bounded = replace(calendar, ending_before=until)
    given = ZERO
    for balance in balances_of(proposal.deal, bounded, proposal.currency, until):
        if balance.kind == POSTPAID or balance.amount is None:
            continue
        free = ONE if balance.kind == CREDIT else max(subtract(ONE, balance.cost_basis), ZERO)
        value = proposal.unit_values.get(balance.unit, ONE) if balance.unit else ONE
        given = add([given, multiply(multiply(balance.amount, free), value)])
    return given


def _term(proposal: Proposal, limits: Guardrails) -> Iterator[Excess]:
    limit, calendar = limits.max_term_months, proposal.calendar
    if limit is None or calendar.ending_before is None:
        return
    if calendar.ending_before > Duration(months=limit).after(calendar.starting_at, calendar.zone):
        yield Excess("ending_before", f"lasts longer than {limit} months")


def _net_days(proposal: Proposal, limits: Guardrails) -> Iterator[Excess]:
    limit = limits.max_net_days
    if limit is not None and proposal.net_days > limit:
        yield Excess("net_days", f"{proposal.net_days} days to pay, above {limit}")


def unit_value(rates: Iterable[Decimal]) -> Decimal:
    """What one of a pricing unit is worth at most, of its dated rates."""
    return max(rates, default=ONE)
