"""Proration and calendar cases of other systems: days are spans of seconds that end at the midnight after."""

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from catalog.money import divide, multiply, round_amount
from contracts.proration import Calendar, share, spans
from meters.periods import Period, boundaries, local_midnight
from tests.cases import cases
from tests.contracts.worked import D, bill, day, unit

ZONE = ZoneInfo("UTC")


def prorate(amount: Decimal, part: Period, whole: Period, currency: str) -> Decimal:
    """A fee for part of a period, as the lines of subscriptions have it: its share by seconds, then rounded."""
    return round_amount(multiply(amount, share(part, whole)), currency)


def midnight(text: str) -> datetime:
    return local_midnight(date.fromisoformat(text), ZONE)


def after(text: str) -> datetime:
    return midnight(text) + timedelta(days=1)


@pytest.mark.parametrize("case", cases("proration", "time_ratio"))
def test_by_seconds(case: dict[str, Any]) -> None:
    given = case["input"]
    part = Period(datetime.fromisoformat(given["service_from"]), datetime.fromisoformat(given["service_to"]))
    whole = Period(datetime.fromisoformat(given["full_from"]), datetime.fromisoformat(given["full_to"]))
    if not case["params"]["enabled"]:
        part = whole
    assert prorate(D(given["amount"]), part, whole, case["params"]["currency"]) == D(case["expected"]["amount"])


@pytest.mark.parametrize("case", cases("proration", "subscription_fee_days"))
def test_a_fee_for_some_days(case: dict[str, Any]) -> None:
    given = case["input"]
    starting_at, ending_before = midnight(given["charged_from"]), after(given["charged_to"])
    every = {"monthly": "month", "weekly": "week", "yearly": "year"}[given["interval"]]
    calendar = Calendar(ZONE, starting_at, ending_before, every)
    amount = sum(
        (D(given["amount_minor"]) * each.share for each in spans(every, calendar, None, None, starting_at)), D(0)
    )
    assert round_amount(amount, "JPY") == D(case["expected"]["amount_minor"])
    precise = D(case["expected"]["amount_minor_precise"])
    assert amount.quantize(precise) == precise


@pytest.mark.parametrize("case", cases("proration", "plan_change"))
def test_a_change_within_a_month(case: dict[str, Any]) -> None:
    given, expected = case["input"], case["expected"]
    whole = Period(midnight(given["period_from"]), after(given["period_to"]))
    rest = Period(midnight(given["change_on"]), whole.ending_before)
    old = D(given["old_quantity"]) * D(given["old_unit_amount"])
    new = D(given["new_quantity"]) * D(given["new_unit_amount"])
    credit, charged = -prorate(old, rest, whole, "USD"), prorate(new, rest, whole, "USD")
    assert (credit, charged, credit + charged) == tuple(D(expected[name]) for name in ("credit", "charge", "net"))


@pytest.mark.parametrize("case", cases("proration", "plan_change_seconds"))
def test_a_change_by_seconds(case: dict[str, Any]) -> None:
    given, expected = case["input"], case["expected"]
    start, change = midnight(given["cycle_start"]), midnight(given["change_at"])
    anchored = Calendar(ZONE, start, None, given["old_interval"], start.date())
    cycle = spans(None, anchored, None, None, start)[0].whole
    rest = Period(change, cycle.ending_before)
    assert prorate(D(given["old_amount"]), rest, cycle, "JPY") == D(expected["credit"])
    # Another interval starts anew: its first period is whole.
    renewed = Period(change, spans("year", anchored, change, None, change)[0].whole.ending_before)
    if given["new_interval"] == given["old_interval"]:
        renewed = rest
    whole = cycle if given["new_interval"] == given["old_interval"] else renewed
    assert prorate(D(given["new_amount"]), renewed, whole, "JPY") == D(expected["charge"])


@pytest.mark.parametrize("case", cases("proration", "plan_change_days_exclusive"))
def test_a_change_of_seats(case: dict[str, Any]) -> None:
    given = case["input"]
    whole = Period(midnight(given["period_from"]), midnight(given["period_to"]))
    rest = Period(midnight(given["change_on"]), whole.ending_before)
    pair = given["matched"][0]
    lines = [-prorate(D(pair["old"]), rest, whole, "JPY"), prorate(D(pair["new"]), rest, whole, "JPY")]
    assert lines == [D(each) for each in case["expected"]["lines"]]
    assert sum(lines) == D(case["expected"]["net"])


@pytest.mark.parametrize("case", cases("proration", "plan_with_included_units"))
def test_included_units_are_free_units(case: dict[str, Any]) -> None:
    given, params = case["input"], case["params"]
    price = unit(params["unit_price"], free_units=given["included_units"])
    statement = bill({"units": price}, None, ("units", day(2), given["consumed_units"]))
    assert statement.total == D(case["expected"]["usage_total"])
    if "plan_total" in case["expected"]:
        whole = Period(midnight(given["charged_from"]), after(given["charged_to"]))
        assert prorate(D(params["plan_amount"]), whole, whole, "USD") == D(case["expected"]["plan_total"])


@pytest.mark.parametrize("case", cases("proration", "monthly_cycles_in_advance"))
def test_cycles_billed_in_advance(case: dict[str, Any]) -> None:
    given = case["input"]
    start, target = midnight(given["start"]), midnight(given["target"])
    end = midnight(given["end"]) if given["end"] else None
    calendar = Calendar(ZONE, start, end, "month", date(2011, 1, case["params"]["bill_day"]))
    billed = sum((each.share for each in spans(None, calendar, None, None, target)), D(0))
    assert billed.quantize(D("1e-9"), ROUND_HALF_UP) == D(case["expected"]["cycles"])


@pytest.mark.parametrize("case", cases("proration", "month_boundaries"))
def test_the_31st_is_clamped_and_restored(case: dict[str, Any]) -> None:
    given = case["input"]
    anchor = date.fromisoformat(case["params"]["anchor"] or given["from"])
    start, end = midnight(given["from"]), midnight(given["to"])
    first = spans(None, Calendar(ZONE, start, None, "month", anchor), None, None, start)[0].whole.starting_at
    starts = [first, *takewhile(lambda edge: edge < end, boundaries("month", anchor, ZONE, first))]
    assert [each.date().isoformat() for each in starts] == case["expected"]["starts"]


@pytest.mark.parametrize("case", cases("proration", "next_month"))
def test_the_next_month(case: dict[str, Any]) -> None:
    anchor = date(2026, 1, case["params"]["anchor_day"])
    following = next(boundaries("month", anchor, ZONE, midnight(case["input"]["from"])))
    assert following.date().isoformat() == case["expected"]["to"]


def test_shares_of_a_period_add_up_to_one() -> None:
    whole = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    third = Period(whole.starting_at, datetime(2026, 1, 11, 8, tzinfo=UTC))
    rest = Period(third.ending_before, whole.ending_before)
    assert third.seconds * 3 == whole.seconds
    assert round_amount(share(third, whole) + share(rest, whole), "USD") == divide(Decimal(1), Decimal(1))
