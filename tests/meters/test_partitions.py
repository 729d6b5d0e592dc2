"""Months made ahead of time, and looked at by ANALYZE before the planner has to guess."""

from datetime import UTC, datetime

import pytest
from django.db import connection

from meters import partitions
from meters.ingest import ingest_events
from tests.meters.making import event


def months() -> dict[str, float]:
    """The partitions and what the planner knows of their size: -1 is nothing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, reltuples FROM pg_class JOIN pg_inherits ON inhrelid = oid"
            " WHERE inhparent = 'meters_event'::regclass"
        )
        return dict(cursor.fetchall())


def test_this_month_and_the_next_are_there_before_they_are_needed(committed: None) -> None:
    partitions.ensure_ahead(datetime(2031, 12, 31, 23, tzinfo=UTC))
    assert {"meters_event_2031_12", "meters_event_2032_01"} <= set(months())


def test_a_month_with_its_first_events_is_analyzed(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "ANALYZE_EVERY", 3)
    monkeypatch.setattr(partitions, "_counted", 0)
    ingest_events([event("a", "2033-01-05T10:00:00")])
    partitions.analyze_new(2)
    assert months()["meters_event_2033_01"] == -1
    partitions.analyze_new(1)
    assert months()["meters_event_2033_01"] == 1
    assert partitions._counted == 0


def test_statistics_of_an_empty_table_are_none(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "ANALYZE_EVERY", 1)
    partitions.ensure([datetime(2033, 2, 1, tzinfo=UTC)])
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE meters_event_2033_02")
    assert months()["meters_event_2033_02"] == 0
    ingest_events([event("a", "2033-02-05T10:00:00")])
    partitions.analyze_new(1)
    assert months()["meters_event_2033_02"] == 1
