"""Where a client leaves the time to us, an event happens when it first arrives, however often it is sent."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from meters.events import Event
from meters.first_times import forget_old_times, with_first_times
from meters.ingest import IngestResult, ingest_events
from meters.models import Conflict, EventKey, FirstTime
from meters.rollup import roll_up
from meters.wire.reading import Untimed
from tests.meters.making import JANUARY, event, make_meter, usage

FIRST = datetime(2026, 1, 5, 10, tzinfo=UTC)
LATER = FIRST + timedelta(days=3)

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture(autouse=True)
def emptied(committed: None) -> Iterator[None]:
    yield
    FirstTime.objects.all().delete()


def untimed(id_: str, arrived: datetime, tokens: int = 1, **more: Any) -> Untimed:
    given = event(id_, tokens=tokens, **more)
    return Untimed(given.id, given.customer, given.type, arrived, given.properties, given.source)


def send(*events: Event) -> IngestResult:
    return ingest_events(with_first_times(events))


@pytest.mark.parametrize("rolled", [True, False])
def test_sent_again_it_is_the_same_event(rolled: bool) -> None:
    meter = make_meter()
    assert send(untimed("a", FIRST), untimed("b", FIRST)) == IngestResult(2, 0)
    if rolled:
        roll_up()
    assert send(untimed("b", LATER), untimed("c", LATER)) == IngestResult(1, 1)
    roll_up()
    assert usage(meter) == {(): (Decimal(3), 3)}
    assert not Conflict.objects.exists()


def test_twice_in_one_request() -> None:
    assert send(untimed("a", FIRST), untimed("a", FIRST)) == IngestResult(1, 1)


def test_with_another_body_it_is_a_conflict() -> None:
    send(untimed("a", FIRST))
    assert send(untimed("a", LATER, tokens=2)) == IngestResult(0, 0, (0,))


def test_events_with_a_time_keep_it() -> None:
    given = [event("a", tokens=1), untimed("b", FIRST)]
    assert with_first_times(given)[0] is given[0]
    assert [each.key.hex for each in FirstTime.objects.all()] == [given[1].key.hex()]


def test_after_the_same_event_with_a_time_that_one_counts() -> None:
    """Whether the roller has seen it or not."""
    meter = make_meter()
    send(event("a", "2026-01-02T00:00:00", tokens=5), event("b", "2026-01-02T00:00:00", tokens=7))
    EventKey.objects.create(key=event("a").key.hex(), time=datetime(2026, 1, 2, tzinfo=UTC), seen_on=timezone.now())
    assert send(untimed("a", FIRST, tokens=5)) == IngestResult(0, 1), "known to the roller: a duplicate"
    assert send(untimed("b", FIRST, tokens=7)) == IngestResult(1, 0), "not known yet: found before it counts"
    assert usage(meter) == {(): (Decimal(12), 2)}
    while roll_up().more:
        pass
    assert usage(meter, period=JANUARY) == {(): (Decimal(12), 2)}


def test_two_requests_at_once_agree() -> None:
    times: list[datetime] = []
    together = Barrier(4)

    def claim(number: int) -> None:
        together.wait()
        (found,) = with_first_times([untimed("a", FIRST + timedelta(seconds=number))])
        times.append(found.time)
        connection.close()

    threads = [Thread(target=claim, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 4
    assert len(set(times)) == 1


def test_what_is_old_is_forgotten(settings: Any) -> None:
    send(*(untimed(f"a-{number}", FIRST) for number in range(5)))
    settings.METERS_IDENTITY_DAYS = 0
    FirstTime.objects.filter(time=FIRST).update(seen_on=FIRST.date())
    send(untimed("new", FIRST))
    forget_old_times(chunk=2)
    assert FirstTime.objects.count() == 1
