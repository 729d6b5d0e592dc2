"""Entitlements: may a customer use a feature now, and how much of it is left. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    """The answer: `has_access` and if not the `reason`, the value of a setting, and for an allowance what was used and
    is left in `period`.

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
    kind: str = "boolean"
    soft: bool | None = None
    reason: str = ""


DISABLED, LIMIT_REACHED, NO_BALANCE, UNPAID = "disabled", "limit_reached", "no_balance", "unpaid"


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


def check(
    entitlement: Entitlement,
    used: Decimal = ZERO,
    period: Period | None = None,
    *,
    has_balance: bool = True,
    unpaid: bool = False,
) -> Grant:
    """Whether a feature may be used, given what was used of it in its period, whether something is left of the
    balances it requires, and whether the contract's payment gate is shut.
    """
    match entitlement:
        case Switch(feature=feature, enabled=enabled):
            grant = Grant(feature, enabled, reason="" if enabled else DISABLED)
        case Setting(feature=feature, value=value):
            grant = Grant(feature, has_access=True, value=value, kind="static")
        case Allowance():
            grant = _allowance(entitlement, used, period)
    if unpaid:
        return replace(grant, has_access=False, reason=UNPAID)
    if grant.has_access and entitlement.requires_balance and not has_balance:
        return replace(grant, has_access=False, reason=NO_BALANCE)
    return grant


def most_generous(grants: Iterable[Grant]) -> Grant:
    """Of the grants of one feature by several contracts: one with access, no limit before a limit, soft before hard,
    more left before less; of equal ones the first.
    """
    return max(grants, key=_generosity)


def _generosity(grant: Grant) -> tuple[object, ...]:
    return grant.has_access, grant.left is None, bool(grant.soft), grant.left or ZERO


def _allowance(allowance: Allowance, used: Decimal, period: Period | None) -> Grant:
    has_access = allowance.soft or used < allowance.limit
    return Grant(
        feature=allowance.feature,
        has_access=has_access,
        limit=allowance.limit,
        used=used,
        left=max(subtract(allowance.limit, used), ZERO),
        overage=max(subtract(used, allowance.limit), ZERO),
        period=period,
        kind="metered",
        soft=allowance.soft,
        reason="" if has_access else LIMIT_REACHED,
    )
