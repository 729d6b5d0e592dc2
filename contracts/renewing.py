"""The terms of a contract, moved by the calendar to where its successor starts. Pure."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import fields, replace

from contracts.deal import Deal, Subscription
from contracts.durations import Duration, between
from contracts.subscriptions import quantity_at


def renewed(deal: Deal, starting_at: datetime, ending_before: datetime, zone: ZoneInfo) -> Deal:
    """The deal of the successor of a contract that lasted from `starting_at` to `ending_before`.

    Windows, schedules and dated terms move by its length. One-time charges and credits were for the beginning and do
    not come again; seats go on with the quantity held at the end, later changes stay where they are.
    """
    length = between(starting_at, ending_before, zone)
    moved: Deal = _moved(
        replace(deal, charges=tuple(each for each in deal.charges if each.every is not None), credits=()), length, zone
    )
    subscriptions = [_going_on(each, ending_before) for each in deal.subscriptions]
    return replace(moved, subscriptions=tuple(each for each in subscriptions if each is not None))


def _moved(term: Any, length: Duration, zone: ZoneInfo) -> Any:
    """The same term with every instant moved."""
    if isinstance(term, datetime):
        return length.after(term, zone)
    if isinstance(term, Struct):
        return replace(term, **{each.name: _moved(getattr(term, each.name), length, zone) for each in fields(term)})
    if isinstance(term, tuple):
        return tuple(_moved(each, length, zone) for each in term)
    return term


def _going_on(subscription: Subscription, at: datetime) -> Subscription | None:
    """A subscription as it goes on; None for one that is over by then."""
    if subscription.ending_before is not None and subscription.ending_before <= at:
        return None
    quantity = quantity_at(subscription, at)
    later = tuple(change for change in subscription.changes if change.at > at)
    started = subscription.starting_at is None or subscription.starting_at <= at
    start = None if started else subscription.starting_at
    seats = subscription.seats if len(subscription.seats) <= quantity else ()
    return replace(subscription, quantity=quantity, changes=later, starting_at=start, seats=seats)
