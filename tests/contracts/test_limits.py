"""Thresholds and entitlements: when one is reached, what may still be used."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from contracts.deal import Allowance, Setting, Switch
from contracts.deal_format import parse_deal
from contracts.entitlements import check, reset_period
from contracts.proration import Calendar
from contracts.thresholds import recharge, spend, spend_reached
from invoicing.statement import build_threshold
from invoicing.totals import Earlier
from tests.contracts.worked import ZONE, D, bill, day, inputs, unit


def test_spend_is_what_usage_would_cost_now() -> None:
    deal = parse_deal({"spend_threshold": {}}, ZONE)
    terms = {"credits": [{"key": "c", "access": [{"amount": "30"}]}], "discounts": [{"percent": "10"}]}
    spent = spend(bill({"calls": unit("1")}, terms, ("calls", day(2), "140")).lines)
    assert spent == D("96.00")
    assert not spend_reached(deal.spend_threshold, spent)
    assert spend_reached(deal.spend_threshold, D(100))
    assert not spend_reached(None, D(10**6))


def test_a_threshold_invoice_and_the_period_end_add_up_to_the_period() -> None:
    prices = {"calls": {"model": "graduated", "tiers": [{"up_to": "10", "unit_amount": "9"}, {"unit_amount": "2"}]}}
    deal = {"minimums": [{"amount": "200"}], "credits": [{"key": "c", "access": [{"amount": "5"}]}]}
    soon = [("calls", day(2), "30")]
    accrued = build_threshold(inputs(prices, deal, *soon))
    assert (accrued.kind, accrued.total) == ("threshold", D("125.00"))
    whole = bill(prices, deal, *soon, ("calls", day(20), "5"))
    rest = bill(prices, deal, *soon, ("calls", day(20), "5"), earlier=(Earlier("INV-1", accrued.total),))
    assert accrued.total + rest.total == whole.total == D("195.00")


def test_a_balance_is_filled_up_when_it_falls_to_the_threshold() -> None:
    terms = parse_deal({"balance_threshold": {"amount": "5", "recharge_to": "20"}}, ZONE).balance_threshold
    assert recharge(terms, D("5.01"), "USD") is None
    due = recharge(terms, D(5), "USD")
    assert due is not None
    assert (due.amount, due.charge) == (D(15), D("15.00"))
    assert recharge(None, D(0), "USD") is None


@pytest.mark.parametrize(
    ("soft", "used", "has_access", "left", "overage"),
    [(False, "0", True, "10", "0"), (False, "10", False, "0", "0"), (True, "12", True, "0", "2")],
)
def test_an_allowance(soft: bool, used: str, has_access: bool, left: str, overage: str) -> None:
    grant = check(Allowance(feature="calls", meter="calls", limit=D(10), soft=soft), D(used))
    assert (grant.has_access, grant.left, grant.overage) == (has_access, D(left), D(overage))


def test_switches_and_settings() -> None:
    assert check(Switch(feature="sso")).has_access
    assert not check(Switch(feature="sso", enabled=False)).has_access
    assert check(Setting(feature="plan", value="pro")).value == "pro"


@pytest.mark.parametrize(
    ("reset", "start", "end"),
    [
        ("minute", "2026-03-17T10:30:00", "2026-03-17T10:31:00"),
        ("hour", "2026-03-17T10:00:00", "2026-03-17T11:00:00"),
        ("day", "2026-03-17T00:00:00", "2026-03-18T00:00:00"),
        ("week", "2026-03-16T00:00:00", "2026-03-23T00:00:00"),
        ("month", "2026-03-01T00:00:00", "2026-04-01T00:00:00"),
        ("year", "2026-01-15T00:00:00", "2027-01-15T00:00:00"),
        ("never", "2026-01-15T00:00:00", "9999-12-31T23:59:59.999999"),
    ],
)
def test_reset_periods(reset: str, start: str, end: str) -> None:
    allowance = Allowance(feature="calls", meter="calls", limit=D(10), reset=reset)  # type: ignore[arg-type]
    period = reset_period(allowance, Calendar(ZONE, day(15)), datetime(2026, 3, 17, 10, 30, 5, tzinfo=UTC))
    assert (period.starting_at.isoformat()[:-6], period.ending_before.isoformat()[:-6]) == (start, end)


NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("reset", "at", "start", "end", "hours"),
    [
        # 8 March 2026: 02:00 to 03:00 does not exist there.
        ("hour", "2026-03-08T06:59:59", "2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00", 1),
        ("hour", "2026-03-08T07:00:00", "2026-03-08T03:00:00-04:00", "2026-03-08T04:00:00-04:00", 1),
        ("day", "2026-03-08T04:59:59", "2026-03-07T00:00:00-05:00", "2026-03-08T00:00:00-05:00", 24),
        ("day", "2026-03-08T05:00:00", "2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00", 23),
        ("day", "2026-03-09T03:59:59", "2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00", 23),
        ("day", "2026-03-09T04:00:00", "2026-03-09T00:00:00-04:00", "2026-03-10T00:00:00-04:00", 24),
        ("month", "2026-04-01T03:59:59", "2026-03-01T00:00:00-05:00", "2026-04-01T00:00:00-04:00", 31 * 24 - 1),
        # 1 November 2026: 01:00 to 02:00 comes twice, as two hours.
        ("hour", "2026-11-01T05:30:00", "2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", 1),
        ("hour", "2026-11-01T06:30:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00", 1),
        ("day", "2026-11-01T03:59:59", "2026-10-31T00:00:00-04:00", "2026-11-01T00:00:00-04:00", 24),
        ("day", "2026-11-01T04:00:00", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00", 25),
        ("day", "2026-11-02T04:59:59", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00", 25),
        ("month", "2026-11-01T03:59:59", "2026-10-01T00:00:00-04:00", "2026-11-01T00:00:00-04:00", 31 * 24),
        ("month", "2026-11-01T04:00:00", "2026-11-01T00:00:00-04:00", "2026-12-01T00:00:00-05:00", 30 * 24 + 1),
    ],
)
def test_reset_periods_where_clocks_change(reset: str, at: str, start: str, end: str, hours: int) -> None:
    allowance = Allowance(feature="calls", meter="calls", limit=D(10), reset=reset)  # type: ignore[arg-type]
    calendar = Calendar(NEW_YORK, datetime(2025, 6, 10, 15, 20, tzinfo=UTC))
    instant = datetime.fromisoformat(at).replace(tzinfo=UTC)
    period = reset_period(allowance, calendar, instant)
    assert instant in period
    assert [each.astimezone(NEW_YORK).isoformat() for each in (period.starting_at, period.ending_before)] == [
        start,
        end,
    ]
    assert period.seconds == hours * 3600
