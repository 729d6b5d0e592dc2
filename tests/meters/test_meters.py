"""Meters, month partitions, coverings, and who sends events."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.db.utils import ProgrammingError
from hypothesis import given
from hypothesis import strategies as st

from meters import partitions
from meters.activity import busiest, events_by_subject, latest_events
from meters.aggregation import UsageRequest, quantities
from meters.covering import cover, merge
from meters.ingest import ingest_events
from meters.models import Event, HourBucket, Meter
from meters.periods import Period
from tests.meters.making import JANUARY, at, event, make_meter, rolled, settled, usage

instants = st.integers(0, 10**6).map(
    lambda seconds: datetime(2026, 2, 20, 22, 17, tzinfo=UTC) + timedelta(seconds=seconds)
)


@given(instants, instants)
def test_a_covering_joins_to_the_period(one: datetime, other: datetime) -> None:
    period = Period(min(one, other), max(one, other) + timedelta(microseconds=1))
    covering = cover(period)
    assert merge([*covering.days, *covering.hours, *covering.edges]) == [(period.starting_at, period.ending_before)]
    whole = sum((end - start for start, end in (*covering.days, *covering.hours, *covering.edges)), timedelta())
    assert whole == period.ending_before - period.starting_at, "and no part is covered twice"
    assert all(start.hour == end.hour == start.minute == end.minute == 0 for start, end in covering.days)
    assert all(start.minute == end.minute == end.second == 0 for start, end in covering.hours)
    assert all(end - start < timedelta(hours=2) for start, end in covering.edges)


@pytest.mark.django_db
class TestMeter:
    def test_its_meaning_never_changes(self) -> None:
        meter = make_meter(group_by=["model"])
        for name, value in {
            "key": "other",
            "event_types": ["image"],
            "aggregation": "max",
            "value_property": "x",
            "value_expression": "tokens * 2",
            "filters": [{"property": "a", "exists": True}],
            "group_by": [],
        }.items():
            changed = Meter.objects.get(pk=meter.pk)
            setattr(changed, name, value)
            with pytest.raises(ValidationError) as caught:
                changed.full_clean()
            assert set(caught.value.error_dict) == {name}

    def test_the_database_says_so_too(self) -> None:
        meter = make_meter()
        Meter.objects.filter(pk=meter.pk).update(name="Another name")
        with pytest.raises(ProgrammingError, match="Cannot update"):
            Meter.objects.filter(pk=meter.pk).update(value_property="other")

    def test_it_is_not_deleted(self) -> None:
        make_meter()
        with pytest.raises(ProgrammingError, match="Cannot delete"):
            Meter.objects.all().delete()

    def test_what_there_is_to_choose_from_is_said(self) -> None:
        with pytest.raises(ValidationError, match=r"median is not available: choose count, sum"):
            make_meter("median")

    def test_a_count_takes_no_property(self) -> None:
        with pytest.raises(ValidationError) as caught:
            make_meter("count", "tokens")
        assert set(caught.value.error_dict) == {"value_property"}

    def test_an_unknown_group_key_cannot_be_asked_for(self) -> None:
        with pytest.raises(ValueError, match="region"):
            usage(make_meter(), group_by=["region"])


@pytest.mark.django_db
class TestAggregations:
    """As published: numbers may be text, null is ignored, nothing to aggregate is nothing."""

    @pytest.mark.parametrize(
        ("aggregation", "expected"),
        [
            ("sum", "123.4567890123456789"),
            ("min", "0.4567890123456789"),
            ("max", "123"),
            ("latest", "0.4567890123456789"),
        ],
    )
    def test_a_value(self, aggregation: str, expected: str) -> None:
        ingest_events([event("a", tokens=123), event("b", tokens="0.4567890123456789", time="2026-01-05T10:00:01")])
        ingest_events([event("c", tokens=None, time="2026-01-05T10:00:02")])
        assert usage(make_meter(aggregation)) == {(): (Decimal(expected), 2)}

    def test_a_count_counts_events_without_a_value(self) -> None:
        ingest_events([event("a", tokens=123), event("b"), event("c", tokens=None)])
        assert usage(make_meter("count", "")) == {(): (Decimal(3), 3)}

    def test_an_average(self) -> None:
        ingest_events([event("a", tokens=1), event("b", tokens=0), event("c", tokens=1)])
        assert usage(make_meter("average")) == {(): (Decimal("0." + "6" * 39 + "7"), 3)}

    def test_nothing(self) -> None:
        assert usage(make_meter("min")) == {}
        assert quantities([]) == []

    def test_huge_and_tiny_together(self) -> None:
        ingest_events([event("a", tokens=Decimal("1e100")), event("b", tokens="1e-100")])
        assert usage(make_meter()) == {(): (Decimal("1" + "0" * 100 + "." + "0" * 99 + "1"), 2)}

    def test_aliases_are_one_customer_and_groups_collapse(self) -> None:
        sent = [
            event("a", tokens=1, model="x", region="eu"),
            event("b", tokens=2, model="x", region="us", customer="alias"),
        ]
        ingest_events([*sent, event("c", tokens=4, model="x", customer="stranger")])
        meter = make_meter(group_by=["model", "region"])
        assert usage(meter, ("acme", "alias"), group_by=["model"]) == {("x",): (Decimal(3), 2)}
        assert usage(meter, ("acme", "alias"), group_by=["region", "model"]) == {
            ("eu", "x"): (Decimal(1), 1),
            ("us", "x"): (Decimal(2), 1),
        }

    def test_many_requests_in_one_statement(self, django_assert_num_queries: object) -> None:
        ingest_events([event(f"{place}", tokens=place, customer=f"c{place}") for place in range(20)])
        meters = [make_meter(), make_meter("max"), make_meter("latest")]
        asked = [
            UsageRequest(place * 3 + kind, meter, (f"c{place}",), JANUARY)
            for place in range(20)
            for kind, meter in enumerate(meters)
        ]
        with django_assert_num_queries(3):  # type: ignore[operator]
            found = quantities(asked)  # the cursor, whether there is a tail, then everything
        assert [(each.key, each.quantity) for each in found] == [(key, Decimal(key // 3)) for key in range(60)]

    def test_everybody(self) -> None:
        ingest_events([event("a", tokens=1), event("b", tokens=2, customer="other")])
        (found,) = quantities([UsageRequest(0, make_meter(), None, JANUARY)])
        assert (found.quantity, found.events) == (Decimal(3), 2)

    def test_a_name_that_looks_like_sql_or_a_placeholder(self) -> None:
        name = 'it\'s 100%s "%(p0)s" {x}; --'
        given: dict[str, Any] = {name: 7, "f": name}
        ingest_events([event("a", type=name, **given)])
        meter = make_meter(
            value_property=name,
            event_types=[name],
            filters=[{"property": "f", "in": [name]}],
            group_by=[name],
            key="odd",
        )
        assert usage(meter) == {("7",): (Decimal(7), 1)}


@pytest.mark.django_db
class TestPartitions:
    def test_months_are_made_when_they_are_needed(self) -> None:
        ingest_events(
            [
                event("a", time="2031-12-31T23:59:59.999999"),
                event("b", time="2032-01-01"),
                event("c", time="1999-05-05"),
            ]
        )
        with connection.cursor() as cursor:
            cursor.execute("SELECT tableoid::regclass::text FROM meters_event ORDER BY time")
            found = [name for (name,) in cursor.fetchall()]
        assert found == ["meters_event_before_2015", "meters_event_2031_12", "meters_event_2032_01"]

    def test_ahead_of_time(self) -> None:
        partitions.ensure_ahead(at("2035-12-30"))
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('meters_event_2036_01') IS NOT NULL")
            assert cursor.fetchone() == (True,)


class TestActivity:
    def test_who_sends_events(self, committed: None) -> None:
        ingest_events([event("a"), event("b", time="2026-01-09"), event("c", customer="nobody", type="image")])
        make_meter("count", "")
        rolled()
        ingest_events([event("d", time="2026-01-07"), event("d", time="2026-01-08"), event("e", customer="nobody")])
        for _ in range(2):
            found = [(each.key, each.events, each.first_day, each.last_day) for each in events_by_subject()]
            assert found == [
                ("acme", 3, at("2026-01-05"), at("2026-01-09")),
                ("nobody", 2, at("2026-01-05"), at("2026-01-05")),
            ]
            assert [each.key for each in events_by_subject(leaving_out=["acme"])] == ["nobody"]
            assert busiest(Meter.objects.get(), JANUARY) == ["acme", "nobody"]
            newest = latest_events(["acme"], 2)
            assert newest[0].time == at("2026-01-09")
            rolled()
        assert latest_events(["stranger"]) == []

    def test_the_command(self, committed: None, capsys: pytest.CaptureFixture[str]) -> None:
        ingest_events([event(str(place)) for place in range(3)])
        make_meter("count", "")
        settled()
        call_command("roll_up", "--once")
        assert "3 events counted" in capsys.readouterr().out
        assert HourBucket.objects.get().events == 3
        assert Event.objects.count() == 3
