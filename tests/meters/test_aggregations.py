"""Unique counts and time-weighted levels: over hours, days, edges, customer keys, groups and slices."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from meters.aggregation import UsageRequest, quantities
from meters.ingest import ingest_events
from meters.models import DayValue, HourValue, Meter
from meters.periods import Period
from meters.recount import find_drift
from meters.slices import increments, measured_periods
from tests.meters.making import JANUARY, at, event, make_meter, rolled, usage


def ways(meter: Meter) -> Iterator[str]:
    """The same question before the roller, with a built meter, and with half of it in the tail."""
    yield "from events"
    rolled()
    meter.refresh_from_db()
    yield "from buckets"
    assert find_drift() == []


def sliced(meter: Meter, cuts: list[datetime], period: Period = JANUARY) -> list[Decimal]:
    edges = [period.starting_at, *cuts, period.ending_before]
    slices = [Period(start, end) for start, end in pairwise(edges)]
    measured = measured_periods(meter.aggregation, slices)
    requests = [UsageRequest(place, meter, ("acme",), over) for place, (_, over) in enumerate(measured)]
    found = {row.key: (row.quantity, row.events) for row in quantities(requests)}
    rows = [found.get(place, (Decimal(0), 0)) for place in range(len(requests))]
    return [quantity for quantity, _ in increments(meter.aggregation, rows)]


class TestUniqueCount:
    def test_a_value_counts_once_in_hours_days_and_edges(self, committed: None) -> None:
        meter = make_meter("unique_count", "user")
        ingest_events(
            [
                event("edge", user="a", time="2026-01-03T23:31:00"),
                event("hour", user="a", time="2026-01-04T01:00:00"),
                event("day", user="a", time="2026-01-08T10:00:00"),
                event("again", user="b", time="2026-01-08T11:00:00"),
                event("outside", user="c", time="2026-01-03T23:29:59"),
            ]
        )
        period = Period(at("2026-01-03T23:30:00"), at("2026-01-20T05:30:00"))
        for way in ways(meter):
            assert usage(meter, period=period) == {(): (Decimal(2), 4)}, way
        ingest_events([event("tail", user="b", time="2026-01-09"), event("new", user="d", time="2026-01-09")])
        assert usage(meter, period=period) == {(): (Decimal(3), 6)}

    def test_customer_keys_and_groups_collapse(self, committed: None) -> None:
        meter = make_meter("unique_count", "user", group_by=["model", "region"])
        ingest_events(
            [
                event("a", user="u", model="x", region="eu"),
                event("b", user="u", model="x", region="us", customer="acme-eu"),
                event("c", user="v", model="y", region="us", customer="acme-eu"),
            ]
        )
        for way in ways(meter):
            both = ("acme", "acme-eu")
            assert usage(meter, both, group_by=()) == {(): (Decimal(2), 3)}, way
            assert usage(meter, both, group_by=["model"]) == {("x",): (Decimal(1), 2), ("y",): (Decimal(1), 1)}
            assert usage(meter, group_by=["region"]) == {("eu",): (Decimal(1), 1)}
            only = UsageRequest(1, meter, both, JANUARY, where=(("region", ("us",)),))
            assert [row.quantity for row in quantities([only])] == [Decimal(2)]

    def test_texts_are_told_apart_not_numbers(self, committed: None) -> None:
        meter = make_meter("unique_count", "user")
        sent = [1, "1", "1.0", Decimal("1.0"), True, "true", "", None]
        ingest_events([event(str(place), user=each) for place, each in enumerate(sent)])
        for way in ways(meter):
            assert usage(meter) == {(): (Decimal(4), 7)}, way

    def test_slices_are_increments(self, committed: None) -> None:
        meter = make_meter("unique_count", "user")
        days = {"02": "a", "10": "a", "11": "b", "20": "c", "25": "a"}
        ingest_events([event(day, user=user, time=f"2026-01-{day}") for day, user in days.items()])
        cuts = [at("2026-01-05T07:30:00"), at("2026-01-15")]
        for way in ways(meter):
            assert sliced(meter, cuts) == [1, 1, 1], way

    def test_values_are_kept_once_per_hour_and_day(self, committed: None) -> None:
        meter = make_meter("unique_count", "user")
        ingest_events([event("a", user="u"), event("b", user="u")])
        rolled()
        ingest_events([event("c", user="u"), event("d", user="u", time="2026-01-05T12:00:00")])
        rolled()
        assert (HourValue.objects.count(), DayValue.objects.count()) == (2, 1)
        assert usage(meter) == {(): (Decimal(1), 4)}
        DayValue.objects.all().delete()
        assert [drift.size for drift in find_drift()] == ["day"]


class TestTimeWeighted:
    def test_a_level_carries_over(self, committed: None) -> None:
        meter = make_meter("time_weighted", "seats")
        ingest_events(
            [
                event("long ago", seats=10, time="2019-06-01T12:34:56.789"),
                event("december", seats=-4, time="2025-12-31T23:59:59.999999"),
                event("half", seats=2, time="2026-01-16T12:00:00"),
            ]
        )
        for way in ways(meter):
            assert usage(meter) == {(): (Decimal(7), 1)}, way
            february = Period(at("2026-02-01"), at("2026-03-01"))
            assert usage(meter, period=february) == {(): (Decimal(8), 0)}, "nothing happened and the level holds"
        ingest_events([event("late", seats=1, time="2020-01-01")])
        assert usage(meter) == {(): (Decimal(8), 1)}

    def test_a_level_of_zero_is_no_usage(self, committed: None) -> None:
        meter = make_meter("time_weighted", "seats", group_by=["team"])
        ingest_events(
            [
                event("in", seats=3, team="a", time="2025-12-01"),
                event("out", seats=-3, team="a", time="2025-12-02"),
                event("other", seats=3, team="b", time="2025-12-02"),
            ]
        )
        for way in ways(meter):
            assert usage(meter) == {("b",): (Decimal(3), 0)}, way
            assert usage(meter, group_by=()) == {(): (Decimal(3), 0)}

    def test_quotients_without_end_are_rounded(self, committed: None) -> None:
        meter = make_meter("time_weighted", "seats")
        ingest_events([event("a", seats=1, time="2026-01-01T00:00:01")])
        for way in ways(meter):
            period = Period(at("2026-01-01"), at("2026-01-01T00:00:03"))
            assert usage(meter, period=period) == {(): (Decimal("0." + "6" * 39 + "7"), 1)}, way

    def test_it_is_known_at_the_last_slice(self, committed: None) -> None:
        meter = make_meter("time_weighted", "seats")
        ingest_events([event("a", seats=31, time="2026-01-31")])
        for way in ways(meter):
            assert sliced(meter, [at("2026-01-10"), at("2026-01-20")]) == [1], way

    @pytest.mark.parametrize("seconds", [1, 3599, 86400 * 3 + 7])
    def test_ragged_periods(self, committed: None, seconds: int) -> None:
        meter = make_meter("time_weighted", "seats")
        start = at("2026-01-05T10:20:30.5")
        ingest_events([event("a", seats=2, time="2026-01-05T10:20:30.5"), event("b", seats=1, time="2026-01-01")])
        for way in ways(meter):
            period = Period(start, start + timedelta(seconds=seconds))
            assert usage(meter, period=period) == {(): (Decimal(3), 1)}, way
