"""Which customers the roller touched, and that no reader misses one."""

import threading
import time

import pytest
from django.db import connection
from django.utils import timezone

from billing_project.notices import USAGE_COUNTED, hearing
from meters import dictionary
from meters.models import TouchFailure, TouchReader
from meters.touched import failures, note, oldest_unread, reading
from tests.factories import MeterFactory, count_all, day, send

pytestmark = pytest.mark.django_db


def count(*customers: str) -> None:
    """What the roller notes of a pass."""
    note({dictionary.subjects.ids(customers)[each] for each in customers})


def read(reader: str, most: int = 1000) -> set[str]:
    with reading(reader, most) as batch:
        assert batch is not None
        return set(batch.keys.values())


def test_each_reader_sees_every_customer_once() -> None:
    count("a", "b")
    assert read("one") == {"a", "b"}
    count("b", "c")
    assert oldest_unread("one") is not None
    assert read("one") == {"b", "c"}
    assert read("one") == set()
    assert oldest_unread("one") is None
    assert read("two") == {"a", "b", "c"}


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_the_roller_notes_whom_it_counted() -> None:
    MeterFactory.create()
    send("a", 1, day(1))
    send("b", 1, day(1), event_type="of.no.meter")
    count_all()
    assert read("one") == {"a", "b"}
    count_all()
    assert read("one") == set()
    send("b", 1, day(2))
    count_all()
    assert read("one") == {"b"}


def test_small_portions_miss_nobody() -> None:
    for name in "abcdef":
        count(name)
    seen: list[set[str]] = []
    while (found := read("one", most=2)) and len(seen) < 9:
        seen.append(found)
        if len(seen) < 4:
            count("a")
    assert set().union(*seen) == set("abcdef")
    assert "a" in seen[-1]


def test_a_reader_that_dies_sees_the_same_again() -> None:
    count("a")
    with pytest.raises(ZeroDivisionError), reading("one"):
        raise ZeroDivisionError
    assert read("one") == {"a"}


def test_what_failed_comes_again_until_it_is_done() -> None:
    count("a", "b")
    with reading("one") as batch:
        assert batch is not None
        batch.failed = {"b": "no"}
    assert [(row.subject.key, row.error, row.attempts) for row in failures("one")] == [("b", "no", 1)]
    assert read("one") == set()  # not yet
    TouchFailure.objects.update(retry_at=timezone.now())
    with reading("one") as batch:
        assert batch is not None
        assert set(batch.keys.values()) == {"b"}
        batch.failed = {"b": "still no"}
    (row,) = failures("one")
    assert (row.attempts, row.error) == (2, "still no")
    assert row.retry_at > timezone.now()
    count("b")
    assert read("one") == {"b"}
    assert failures() == []


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_two_processes_do_not_read_under_one_name_at_once() -> None:
    count("a")
    other: list[bool] = []

    def look() -> None:
        with reading("one") as batch:
            other.append(batch is None)
        connection.close()

    with reading("one"):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert other == [True]
    assert TouchReader.objects.get(name="one").number > 0


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_who_waits_hears_of_a_pass() -> None:
    stop = threading.Event()

    def counts() -> None:
        count("a")
        connection.close()

    with hearing(USAGE_COUNTED) as wait:
        for _ in range(2):
            teller = threading.Timer(0.1, counts)
            start = time.monotonic()
            teller.start()
            wait(60, stop)
            teller.join()
            assert time.monotonic() - start < 30
        count("b")  # while nobody waits
        wait(60, stop)
        assert time.monotonic() - start < 30
        wait(0.05, stop)
        stop.set()
        wait(60, stop)
    assert time.monotonic() - start < 30
