"""Posts that share a commit: each has its own answer, none before the commit, and one's fault is nobody else's."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal

import msgspec
import psycopg
import pytest
from django.db import DataError, connection, connections

from meters import group_commit
from meters.events import Event
from meters.group_commit import GroupCommit, ingest_together
from meters.ingest import IngestResult, ingest_events
from meters.models import Conflict
from meters.models import Event as Stored
from tests.meters.making import event, make_meter, usage

JOIN = 0.5  # seconds: all threads of a test have come by then


@pytest.fixture
def together(committed: None, settings: object) -> Callable[[Sequence[Sequence[Event]]], list[Future[IngestResult]]]:
    """Sends posts at the same time, each from a thread of its own."""
    settings.METERS_GROUP_COMMIT_MS = JOIN * 1000  # type: ignore[attr-defined]
    ingest_events([event("known")])

    def send(posts: Sequence[Sequence[Event]]) -> list[Future[IngestResult]]:
        start = threading.Barrier(len(posts))

        def one(post: Sequence[Event]) -> IngestResult:
            try:
                start.wait(10)
                return ingest_together(post)
            finally:
                connections.close_all()

        pool = ThreadPoolExecutor(len(posts))
        futures = [pool.submit(one, post) for post in posts]
        pool.shutdown(wait=False)
        return futures

    return send


def test_many_posts_share_one_transaction(together: Callable[..., list[Future[IngestResult]]]) -> None:
    meter = make_meter()
    sent = together([[event(f"e{number}", tokens=1)] for number in range(8)])
    assert [each.result(20) for each in sent] == [IngestResult(1, 0)] * 8
    assert Stored.objects.exclude(properties={}).values("xid").distinct().count() == 1
    assert usage(meter) == {(): (Decimal(8), 8)}


def test_each_post_has_its_own_answer(together: Callable[..., list[Future[IngestResult]]]) -> None:
    ingest_events([event("there", tokens=1)])
    sent = together(
        [
            [event("new", tokens=1), event("newer", tokens=1)],
            [event("there", tokens=1), event("there", tokens=2)],
            [event("other", tokens=1), event("there", tokens=1)],
        ]
    )
    assert [each.result(20) for each in sent] == [
        IngestResult(2, 0),
        IngestResult(0, 1, conflicts=(1,)),
        IngestResult(1, 1),
    ]
    assert [each.event_id for each in Conflict.objects.all()] == ["there"]


def test_of_the_same_event_in_two_posts_one_is_new(together: Callable[..., list[Future[IngestResult]]]) -> None:
    sent = together([[event("same", tokens=1)] for _ in range(5)])
    results = [each.result(20) for each in sent]
    assert sorted(each.accepted for each in results) == [0, 0, 0, 0, 1]
    assert sum(each.duplicates for each in results) == 4


def test_one_that_cannot_be_stored_fails_alone(together: Callable[..., list[Future[IngestResult]]]) -> None:
    bad = msgspec.structs.replace(event("bad"), properties=b'{"tokens": 1')
    good, worse, fine = together([[event("good", tokens=1)], [bad], [event("fine", tokens=2)]])
    assert good.result(20) == fine.result(20) == IngestResult(1, 0)
    with pytest.raises(DataError):
        worse.result(20)
    assert Stored.objects.count() == 3


def test_nobody_is_answered_before_the_commit(together: Callable[..., list[Future[IngestResult]]]) -> None:
    with psycopg.connect(_conninfo()) as blocker:
        blocker.execute("LOCK TABLE meters_event IN SHARE MODE")
        sent = together([[event(f"e{number}")] for number in range(4)])
        with pytest.raises(TimeoutError):
            sent[0].result(3 * JOIN)
        assert not any(each.done() for each in sent)
        blocker.rollback()
        assert [each.result(20) for each in sent] == [IngestResult(1, 0)] * 4


def test_a_leader_that_is_ended_leaves_nobody_waiting(
    together: Callable[..., list[Future[IngestResult]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(posts: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(group_commit, "group_commit", GroupCommit())
        patch.setattr(group_commit, "_store", ended)
        sent = together([[event("a")], [event("b")]])
        errors = {type(each.exception(20)) for each in sent}
    assert errors == {SystemExit, group_commit.GroupEndedError}


@pytest.mark.parametrize("wait", [None, 0.0])
def test_alone(committed: None, settings: object, wait: float | None) -> None:
    settings.METERS_GROUP_COMMIT_MS = wait  # type: ignore[attr-defined]
    assert ingest_together([event("a")]) == IngestResult(1, 0)
    assert ingest_together([event("a")]) == IngestResult(0, 1)
    assert ingest_together([]) == IngestResult(0, 0)


def _conninfo() -> str:
    given = connection.get_connection_params()
    known = {name: given[name] for name in ("dbname", "user", "password", "host", "port") if given.get(name)}
    return psycopg.conninfo.make_conninfo(**known)
