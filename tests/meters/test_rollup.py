"""The roller: late events, identities, writers and rollers side by side, a killed pass, a restored copy."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import TypeVar

import psycopg
import pytest
from django.db import connection, connections, transaction

from meters import rollup
from meters.identities import forget_old_keys
from meters.ingest import IngestResult, ingest_events
from meters.models import Conflict, DayBucket, Event, EventKey, HourBucket, Meter, RollupCursor
from meters.recount import find_drift
from meters.rollup import roll_up
from tests.meters.making import at, event, make_meter, rolled, settled, usage

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> Callable[[], T]:
    def run() -> T:
        try:
            return work()
        finally:
            connections.close_all()

    return run


def everything_counted() -> None:
    while rolled().more:
        pass
    assert find_drift() == []


def test_events_move_from_the_tail_into_buckets(committed: None) -> None:
    meter = make_meter(group_by=["model"])
    rolled()
    ingest_events([event("a", tokens=3, model="x"), event("b", tokens="4.5", model="x"), event("c", tokens=1)])
    before = usage(meter)
    assert before == {("x",): (Decimal("7.5"), 2), (None,): (Decimal(1), 1)}
    assert not HourBucket.objects.exists()
    result = rolled()
    assert (result.events, result.more, len(result.touched)) == (3, False, 1)
    assert usage(meter) == before
    assert HourBucket.objects.count() == 2
    assert DayBucket.objects.filter(meter_id=0).get().events == 3
    assert rolled().events == 0


def test_a_late_event_lands_in_its_bucket(committed: None) -> None:
    meter = make_meter()
    ingest_events([event("a", tokens=3)])
    everything_counted()
    ingest_events([event("late", tokens=4, time="2026-01-05T10:59:59.999999")])
    result = rolled()
    assert {day for _, day in result.touched} == {at("2026-01-05")}
    assert usage(meter) == {(): (Decimal(7), 2)}
    assert HourBucket.objects.filter(meter_id=meter.pk).get().events == 2


def test_a_meter_made_later_counts_history(committed: None) -> None:
    ingest_events([event("a", tokens=3), event("old", tokens=5, time="2011-06-01", customer="acme")])
    rolled()
    meter = make_meter()
    assert usage(meter) == {(): (Decimal(3), 1)}
    everything_counted()
    meter.refresh_from_db()
    assert meter.built_at is not None
    assert usage(meter) == {(): (Decimal(3), 1)}


def test_values_no_numeric_column_holds_do_not_stop_the_roller(committed: None) -> None:
    meter = make_meter(group_by=["model"])
    poison = ["1e400000", "1e-400000", "9" * 101, "NaN", "", "1e", "0x1F", {"a": 1}, [1], True, None]
    ingest_events([event(f"p{place}", tokens=each, model="m" * 10_000) for place, each in enumerate(poison)])
    ingest_events([event("good", tokens="1e2", model="m" * 10_000)])
    everything_counted()
    assert usage(meter) == {("m" * 10_000,): (Decimal(100), 1)}


def test_passes_are_cut_between_transactions(committed: None) -> None:
    meter = make_meter("count", "")
    for batch in range(5):
        ingest_events([event(f"{batch}-{place}") for place in range(10)])
    results = [rolled(batch=15) for _ in range(4)]
    assert [(each.events, each.more) for each in results] == [(10, True), (10, True), (10, True), (10, True)]
    results = [rolled(batch=15), rolled(batch=15)]
    assert [(each.events, each.more) for each in results] == [(10, False), (0, False)]
    assert usage(meter) == {(): (Decimal(50), 50)}


def test_a_transaction_larger_than_a_pass_is_taken_whole(committed: None) -> None:
    ingest_events([event(str(place)) for place in range(50)])
    ingest_events([event("last")])
    assert [rolled(batch=5).events, rolled(batch=5).events] == [50, 1]


class TestIdentity:
    def test_the_same_event_twice(self, committed: None) -> None:
        meter = make_meter()
        assert ingest_events([event("a", tokens=3)]) == IngestResult(1, 0)
        rolled()
        assert ingest_events([event("a", tokens=3), event("b", tokens=1), event("a", tokens=3)]) == IngestResult(1, 2)
        assert usage(meter) == {(): (Decimal(4), 2)}

    def test_another_body_under_the_same_time_is_a_conflict_at_once(self, committed: None) -> None:
        meter = make_meter()
        ingest_events([event("a", tokens=3)])
        sent = [
            event("b", tokens=1),
            event("a", tokens=4),
            event("a", tokens=3),
            event("a", tokens=3, customer="other"),
        ]
        assert ingest_events(sent) == IngestResult(accepted=1, duplicates=1, conflicts=(1, 3))
        assert usage(meter, ("acme", "other")) == {(): (Decimal(4), 2)}
        assert ingest_events(sent) == IngestResult(accepted=0, duplicates=2, conflicts=(1, 3))
        listed = Conflict.objects.order_by("customer")
        assert [(each.kind, each.event_id, each.customer, each.properties) for each in listed] == [
            ("body", "a", "acme", {"tokens": 4}),
            ("body", "a", "other", {"tokens": 3}),
        ]

    def test_within_one_batch_the_first_one_is_kept(self, committed: None) -> None:
        meter = make_meter()
        assert ingest_events([event("a", tokens=1), event("a", tokens=2)]) == IngestResult(1, 0, conflicts=(1,))
        assert usage(meter) == {(): (Decimal(1), 1)}

    def test_equal_numbers_written_differently_are_the_same_body(self, committed: None) -> None:
        ingest_events([event("a", tokens=Decimal("1.0"))])
        assert ingest_events([event("a", tokens=Decimal("1.00"))]) == IngestResult(0, 1)

    def test_another_time_never_counts(self, committed: None) -> None:
        meter = make_meter()
        ingest_events([event("a", tokens=3)])
        ingest_events([event("a", tokens=3, time="2026-01-06")])
        assert usage(meter) == {(): (Decimal(3), 1)}, "both are in the tail"
        ingest_events([event("a", tokens=3, time="2026-01-04", customer="other")])
        assert usage(meter, ("acme", "other")) == {(): (Decimal(3), 1)}
        everything_counted()
        assert usage(meter, ("acme", "other")) == {(): (Decimal(3), 1)}
        assert Event.objects.count() == 1
        ingest_events([event("a", tokens=9, time="2026-01-07")])
        assert usage(meter) == {(): (Decimal(3), 1)}, "the first one is counted, the other in the tail"
        everything_counted()
        listed = [(each.kind, each.time, each.kept_time) for each in Conflict.objects.order_by("time")]
        kept = at("2026-01-05T10:00:00")
        assert listed == [("time", at(f"2026-01-{day}"), kept) for day in ("04", "06", "07")]

    def test_a_retry_of_a_conflict_is_a_conflict_again(self, committed: None) -> None:
        meter = make_meter()
        ingest_events([event("a", tokens=3)])
        for _ in range(2):
            ingest_events([event("a", tokens=3, time="2026-01-06")])
            everything_counted()
        assert usage(meter) == {(): (Decimal(3), 1)}
        assert Conflict.objects.count() == 1

    def test_another_source_is_another_identity(self, committed: None) -> None:
        assert ingest_events([event("bc", source="a"), event("c", source="ab")]) == IngestResult(2, 0)

    def test_the_window(self, committed: None, settings: object) -> None:
        ingest_events([event("a"), event("clash"), event("clash", time="2026-01-06")])
        rolled()
        settings.METERS_IDENTITY_DAYS = -1  # type: ignore[attr-defined]
        forget_old_keys()
        kept = EventKey.objects.get()
        assert kept.key == Conflict.objects.get().key, "an identity that clashed once is kept for good"


class TestConcurrency:
    def test_writers_and_rollers_side_by_side(self, committed: None) -> None:
        meters = [make_meter("count", ""), make_meter(group_by=["model"]), make_meter("latest")]
        done = threading.Event()

        def write(writer: int) -> int:
            accepted = 0
            for batch in range(15):
                mine = [event(f"{writer}-{batch}-{place}", tokens=place, model=place % 3) for place in range(20)]
                shared = [event(f"shared-{place}", tokens=1, time="2026-01-07") for place in range(20)]
                accepted += ingest_events((mine + shared)[:: 1 if writer % 2 else -1]).accepted
            return accepted

        def roll() -> int:
            counted = 0
            while not done.is_set():
                counted += roll_up(batch=50).events
            return counted

        with ThreadPoolExecutor(6) as pool:
            rollers = [pool.submit(in_thread(roll)) for _ in range(2)]
            writers = [pool.submit(in_thread(partial(write, number))) for number in range(4)]
            accepted = sum(each.result(30) for each in writers)
            done.set()
            counted = sum(each.result(30) for each in rollers)
        assert accepted == Event.objects.count() == 4 * 15 * 20 + 20
        while (last := rolled()).events or last.more:
            counted += last.events
        assert counted == accepted
        assert find_drift() == []
        assert usage(meters[0]) == {(): (Decimal(accepted), accepted)}

    def test_an_open_transaction_delays_the_roller_and_loses_nothing(self, committed: None) -> None:
        meter = make_meter()
        # Known customer and type: otherwise both writers would wait for each other's new dictionary row.
        ingest_events([event("first", type="image")])
        ingest_events([event("second", type="llm")])
        everything_counted()
        written, finish = threading.Event(), threading.Event()

        def slow_writer() -> None:
            with transaction.atomic():
                ingest_events([event("slow", tokens=1)])
                written.set()
                assert finish.wait(20)

        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(in_thread(slow_writer))
            assert written.wait(20)
            ingest_events([event("fast", tokens=2)])
            assert roll_up().events == 0, "the slow one is older and may still commit"
            assert usage(meter) == {(): (Decimal(2), 1)}
            finish.set()
            slow.result(20)
        assert usage(meter) == {(): (Decimal(3), 2)}
        assert rolled().events == 2
        assert usage(meter) == {(): (Decimal(3), 2)}

    def test_a_second_roller_finds_the_cursor_taken(self, committed: None) -> None:
        ingest_events([event("a")])
        roll_up()
        with transaction.atomic():
            assert RollupCursor.objects.select_for_update().get()
            with ThreadPoolExecutor(1) as pool:
                second = pool.submit(in_thread(roll_up)).result(20)
        assert second == rollup.RollResult(busy=True)

    def test_a_killed_pass_has_not_happened(self, committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
        meter = make_meter()
        roll_up()
        ingest_events([event("a", tokens=3), event("a", tokens=3, time="2026-01-06")])
        settled()
        with monkeypatch.context() as patch:
            patch.setattr(rollup, "MOVE_CURSOR", "SELECT pg_terminate_backend(pg_backend_pid()), %s, %s, %s, %s")
            with pytest.raises(Exception, match="terminating connection"):
                roll_up()
        connection.close()
        assert not HourBucket.objects.exists()
        assert usage(meter) == {(): (Decimal(3), 1)}
        everything_counted()
        assert usage(meter) == {(): (Decimal(3), 1)}

    def test_identical_batches_at_the_same_moment(self, committed: None) -> None:
        batch = [event(str(place), tokens=1) for place in range(200)]
        start = threading.Barrier(4)

        def send(number: int) -> IngestResult:
            start.wait(10)
            return ingest_events(batch if number % 2 else batch[::-1])

        with ThreadPoolExecutor(4) as pool:
            sent = [pool.submit(in_thread(partial(send, number))) for number in range(4)]
            results = [each.result(30) for each in sent]
        assert sum(each.accepted for each in results) == 200
        assert sum(each.duplicates for each in results) == 600


class TestRestoredCopy:
    def test_everything_is_counted_afresh(self, committed: None) -> None:
        meter = make_meter()
        ingest_events([event("a", tokens=3), event("b", tokens=5, time="2026-01-06")])
        everything_counted()
        ingest_events([event("tail", tokens=7), event("a", tokens=3, time="2026-01-09")])
        # As after a restore: another server's transaction ids, far above this one's.
        with connection.cursor() as cursor:
            cursor.execute("UPDATE meters_event SET xid = xid + 1000000000000")
            cursor.execute("UPDATE meters_rollupcursor SET xid = xid + 1000000000000, system_identifier = 42")
        ingest_events([event("new", tokens=11)])
        assert usage(meter) == {(): (Decimal(26), 4)}, "readers do not trust the buckets"
        result = rolled()
        assert not result.busy
        assert usage(meter) == {(): (Decimal(26), 4)}
        ingest_events([event("newer", tokens=13), event("b", tokens=5, time="2026-01-07")])
        assert usage(meter) == {(): (Decimal(39), 5)}
        everything_counted()
        assert usage(meter) == {(): (Decimal(39), 5)}
        assert Conflict.objects.count() == 2


def test_the_readers_know_nothing_of_other_tables(committed: None) -> None:
    """A meter whose event type nobody has sent yet measures nothing."""
    assert usage(make_meter(event_types=["never"])) == {}
    assert Meter.objects.get().built_at is None


def test_psycopg_errors_are_djangos(committed: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 1")
    started = time.monotonic()
    with pytest.raises(Exception) as caught:  # noqa: PT011
        ingest_events([event(f"x{place}") for place in range(10_000)])
    assert not isinstance(caught.value, psycopg.Error), "wrapped, so that Django knows the connection is unusable"
    assert time.monotonic() - started < 5
    connection.close()
