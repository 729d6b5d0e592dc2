"""The two ways rows go into the events table give the same rows and the same counts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, connections

from meters import event_rows
from meters.event_rows import CLEAN_BATCHES, COPY_MIN_ROWS, EventRows
from meters.events import Event, make_event
from meters.ingest import IngestResult, ingest_events
from meters.models import Conflict
from meters.models import Event as StoredEvent

START = datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC)  # a batch lies in two months


def batch(number: int, size: int = COPY_MIN_ROWS, **more: Any) -> list[Event]:
    return [
        make_event(
            {
                "id": f"{number}-{place}",
                "customer": f"customer-{place % 3}",
                "type": "llm",
                "time": START + timedelta(seconds=size - place, microseconds=number),
                "properties": {"tokens": place, "text": 'ü "x"', **more},
            }
        )
        for place in range(size)
    ]


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each COPY came to, from the first batch without a duplicate on."""
    monkeypatch.setattr(event_rows, "_duplicates", event_rows._Duplicates())
    came: list[bool] = []
    copy = EventRows._copy

    def noted(rows: EventRows, cursor: psycopg.Cursor[Any]) -> bool:
        came.append(copy(rows, cursor))
        return came[-1]

    monkeypatch.setattr(EventRows, "_copy", noted)
    return came


def stored() -> list[tuple[Any, ...]]:
    fields = ("time", "key", "subject__key", "event_type__name", "properties")
    return list(StoredEvent.objects.order_by("time", "key").values_list(*fields))


def test_copy_is_tried_after_enough_clean_batches_and_stores_the_same(committed: None, copies: list[bool]) -> None:
    for number in range(CLEAN_BATCHES):
        ingest_events(batch(number))
    assert copies == []
    assert ingest_events(batch(99)) == IngestResult(COPY_MIN_ROWS, 0)
    assert copies == [True]
    copied = [row for row in stored() if row[0].microsecond == 99]
    StoredEvent.objects.all()._raw_delete(using="default")
    event_rows._duplicates.seen(COPY_MIN_ROWS, 1)
    ingest_events(batch(99))
    assert copies == [True]
    assert stored() == copied


def test_a_duplicate_ends_copying_and_every_row_is_counted_once(committed: None, copies: list[bool]) -> None:
    for number in range(CLEAN_BATCHES):
        ingest_events(batch(number))
    clashing = batch(0, tokens=-1)[:2]
    mixed = [*batch(50)[:-3], *batch(1)[:1], *clashing]
    assert ingest_events(mixed) == IngestResult(COPY_MIN_ROWS - 3, 1, (COPY_MIN_ROWS - 2, COPY_MIN_ROWS - 1))
    assert copies == [False]
    assert Conflict.objects.count() == 2
    assert StoredEvent.objects.count() == CLEAN_BATCHES * COPY_MIN_ROWS + COPY_MIN_ROWS - 3
    ingest_events(batch(51))
    assert copies == [False]


def test_a_batch_that_holds_an_event_twice_counts_it_once(committed: None, copies: list[bool]) -> None:
    for number in range(CLEAN_BATCHES):
        ingest_events(batch(number))
    assert ingest_events([*batch(60), *batch(60)]) == IngestResult(COPY_MIN_ROWS, COPY_MIN_ROWS)


def test_small_batches_are_not_copied(committed: None, copies: list[bool]) -> None:
    for number in range(CLEAN_BATCHES + 1):
        ingest_events(batch(number, 1))
    assert copies == []


def test_a_connection_the_server_closed_is_replaced_before_it_is_used(
    committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_events(batch(1))
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    monkeypatch.setattr(connections["default"], "health_check_enabled", True)  # as at the start of a request
    monkeypatch.setattr(connections["default"], "health_check_done", False)
    assert ingest_events(batch(2)) == IngestResult(COPY_MIN_ROWS, 0)
