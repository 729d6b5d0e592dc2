"""History counted for a new meter: in parts, through kills and new events, exact at every step."""

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from meters import builds
from meters.builds import progress, share_of
from meters.ingest import ingest_events
from meters.models import HourBucket, MeterBuild
from meters.recount import find_drift
from tests.meters.making import event, make_meter, rolled, usage


@pytest.fixture
def history(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "PART", 4)
    ingest_events([event(str(day), tokens=1, user=day % 3, time=f"2026-01-{day:02}") for day in range(1, 13)])
    ingest_events([event(f"same-{place}", tokens=1, time="2026-01-20") for place in range(9)])
    rolled()


def test_part_by_part(history: None) -> None:
    meters = [make_meter(), make_meter("unique_count", "user"), make_meter("latest")]
    expected = [{(): (Decimal(21), 21)}, {(): (Decimal(3), 12)}, {(): (Decimal(1), 21)}]
    shares = []
    for step in range(20):
        more = rolled().more
        ingest_events([event(f"new-{step}", image=1, type="image")])
        assert [usage(meter) for meter in meters] == expected
        if not more:
            break
        shares.append(share_of(MeterBuild.objects.get(meter=meters[0])))
        done, total = progress() or (0, 0)
        assert 0 <= done <= total == 63
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert progress() is None
    assert find_drift() == []


def test_events_that_come_meanwhile(history: None) -> None:
    meter = make_meter()
    assert rolled().more
    ingest_events([event("late", tokens=1, time="2026-01-01T05:00:00"), event("new", tokens=1, time="2026-01-25")])
    assert usage(meter) == {(): (Decimal(23), 23)}
    while rolled().more:
        assert usage(meter) == {(): (Decimal(23), 23)}
    assert usage(meter) == {(): (Decimal(23), 23)}
    assert find_drift() == []


def test_a_killed_part_is_counted_again(history: None, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = make_meter()
    rolled()
    position = MeterBuild.objects.get().position
    counted = HourBucket.objects.count()
    with monkeypatch.context() as patch:
        patch.setattr("meters.rollup.MOVE_CURSOR", "SELECT pg_terminate_backend(pg_backend_pid()), %s, %s, %s, %s")
        with pytest.raises(Exception, match="terminating connection"):
            rolled()
    connection.close()
    assert MeterBuild.objects.get().position == position
    assert HourBucket.objects.count() == counted
    while rolled().more:
        pass
    assert usage(meter) == {(): (Decimal(21), 21)}
    assert find_drift() == []


def test_on_another_server_it_starts_again(history: None) -> None:
    meter = make_meter()
    assert rolled().more
    with connection.cursor() as cursor:
        cursor.execute("UPDATE meters_event SET xid = xid + 1000000000000")
        cursor.execute("UPDATE meters_rollupcursor SET xid = xid + 1000000000000, system_identifier = 42")
    assert usage(meter) == {(): (Decimal(21), 21)}
    while rolled().more:
        assert usage(meter) == {(): (Decimal(21), 21)}
    assert find_drift() == []


def test_the_command_shows_how_far_it_is(history: None) -> None:
    make_meter()
    shown = StringIO()
    call_command("roll_up", "--once", stderr=shown, stdout=StringIO())
    assert "Counting history: 21 of 21 events, done" in shown.getvalue()
