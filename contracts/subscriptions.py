"""Subscriptions: how many seats are held when, and what they cost. Pure.

A quantity changes at dates. An increase counts from its date on, a decrease from the next period on unless the
subscription says at once. Everything is exact by seconds of the period.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from catalog.money import ZERO, subtract
from contracts.deal import Subscription
from contracts.proration import Calendar, Span, spans
from meters.periods import Period, cut


@dataclass(frozen=True, slots=True)
class Step:
    """Seats that are charged from an instant to the end of their period: `quantity` more than `prior` before."""

    span: Span
    period: Period
    prior: Decimal
    quantity: Decimal

    @property
    def first(self) -> bool:
        return self.period.starting_at == self.span.held.starting_at


def quantity_at(subscription: Subscription, instant: datetime) -> Decimal:
    """The quantity asked for at an instant."""
    quantity = subscription.quantity
    for change in subscription.changes:
        if change.at <= instant:
            quantity = change.quantity
    return quantity


def steps(subscription: Subscription, calendar: Calendar, until: datetime) -> list[Step]:
    """What is charged in each period that starts at or before `until`: the seats at its start, then each change."""
    found: list[Step] = []
    for span in spans(subscription.every, calendar, subscription.starting_at, subscription.ending_before, until):
        found += _steps_of(subscription, span)
    return found


def _steps_of(subscription: Subscription, span: Span) -> list[Step]:
    held = span.held
    charged = quantity_at(subscription, held.starting_at)
    found = [Step(span, held, ZERO, charged)]
    for part in cut(held, [change.at for change in subscription.changes])[1:]:
        wanted = quantity_at(subscription, part.starting_at)
        if wanted > charged or (wanted < charged and subscription.decreases == "at_once"):
            found.append(Step(span, Period(part.starting_at, held.ending_before), charged, subtract(wanted, charged)))
            charged = wanted
    return [step for step in found if step.quantity]


def billed_at(subscription: Subscription, step: Step) -> datetime:
    """When a step is billed: arrears at the end of the period; advance at its start, an increase at once or with the
    next invoice, the credit for a decrease with the next one.
    """
    if subscription.billed == "arrears":
        return step.span.held.ending_before
    if step.first or (step.quantity > 0 and subscription.increases == "at_once"):
        return step.period.starting_at
    return step.span.held.ending_before
