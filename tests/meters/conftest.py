"""A database whose commits are real: the roller counts only what other transactions have committed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from meters import dictionary, partitions
from meters.models import (
    Conflict,
    DayBucket,
    DayValue,
    Event,
    EventKey,
    EventType,
    GroupValues,
    HourBucket,
    HourValue,
    Meter,
    MeterBuild,
    RejectedEvent,
    RollupCursor,
    Subject,
)
from tests.meters.files import HEADER, rows_of

MODELS = (
    Conflict, DayBucket, DayValue, Event, EventKey, EventType, GroupValues, HourBucket, HourValue, Meter,
    MeterBuild, RejectedEvent, RollupCursor, Subject,
)  # fmt: skip


def empty() -> None:
    name = str(connection.settings_dict["NAME"])
    assert name.startswith("test_"), f"{name} is not a test database"
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(model._meta.db_table for model in MODELS)} CASCADE")
    dictionary.forget()
    partitions.forget()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with the fixture `committed` flush only the tables of this app: all tables take longer than the test."""
    mark = pytest.mark.django_db(transaction=True, available_apps=["meters"])
    for item in items:
        if "committed" in getattr(item, "fixturenames", ()):
            item.add_marker(mark)


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    dictionary.forget()
    partitions.forget()
    yield
    dictionary.forget()
    partitions.forget()


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    """A folder of events that sources may read: three good rows and a bad one."""
    settings.EVENT_SOURCE_FOLDERS = [str(tmp_path)]
    (tmp_path / "a.csv").write_text(HEADER + rows_of(3) + "x\n")
    return tmp_path
