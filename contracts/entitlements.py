"""Entitlements: may a customer use a feature now, and how much of it is left. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from catalog.money import ZERO, subtract
from contracts.deal import Allowance, Entitlement, Setting, Switch
from contracts.proration import Calendar, spans
from meters.periods import Period

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORT = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer: `has_access`, the value of a setting, and for an allowance what was used and is left in `period`.

    `overage` is what was used past a soft limit.
    """

    feature: str
    has_access: bool
    value: str | int | bool | None = None
    limit: Decimal | None = None
    used: Decimal | None = None
    left: Decimal | None = None
    overage: Decimal | None = None
    period: Period | None = None


def reset_period(allowance: Allowance, calendar: Calendar, at: datetime) -> Period:
    """The period of an allowance that holds an instant: minutes and hours by the clock, days and longer by the
    contract's calendar, `never` from its start.
    """
    if allowance.reset == "never":
        return Period(calendar.starting_at, calendar.ending_before or datetime.max.replace(tzinfo=UTC))
    if allowance.reset in SHORT:
        length = SHORT[allowance.reset]
        start = at - (at - EPOCH) % length
        return Period(start, start + length)
    return spans(allowance.reset, calendar, None, None, at)[-1].held


def check(entitlement: Entitlement, used: Decimal = ZERO, period: Period | None = None) -> Grant:
    """Whether a feature may be used, given what was used of it in its period."""
    match entitlement:
        case Switch(feature=feature, enabled=enabled):
            return Grant(feature, enabled)
        case Setting(feature=feature, value=value):
            return Grant(feature, has_access=True, value=value)
        case Allowance():
            return _allowance(entitlement, used, period)


def _allowance(allowance: Allowance, used: Decimal, period: Period | None) -> Grant:
    left = max(subtract(allowance.limit, used), ZERO)
    return Grant(
        feature=allowance.feature,
        has_access=allowance.soft or used < allowance.limit,
        limit=allowance.limit,
        used=used,
        left=left,
        overage=max(subtract(used, allowance.limit), ZERO),
        period=period,
    )
