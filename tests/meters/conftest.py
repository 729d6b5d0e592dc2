"""A database whose commits are real: the roller counts only what other transactions have committed."""

from collections.abc import Iterator

import pytest
from django.db import connection, connections

from meters import dictionary, partitions

TABLES = (
    "meters_event, meters_eventkey, meters_hourbucket, meters_daybucket, meters_groupvalues, meters_rollupcursor, "
    "meters_conflict, meters_rejectedevent, meters_subject, meters_eventtype, meters_meterevent, meters_meter"
)


def empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLES} CASCADE")
    dictionary.forget()
    partitions.forget()


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """Like transactional_db, but empties only the tables of meters: the flush of all tables takes longer than the test."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        empty()
        yield
        empty()
        connections.close_all()
