"""Small posts that arrive at the same time share one statement and one commit: the disk is waited for once.

Of the threads that wait the first one stores for all of them, while those who come meanwhile make the next group.
Nobody is answered before the commit, and everybody gets an answer of his own.
"""

import threading
import time
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.db import Error, connection

from meters import archived, partitions
from meters.dictionary import event_types, subjects
from meters.event_rows import EventRows
from meters.events import Event
from meters.ingest import IngestResult, ingest_events, record_conflicts

SMALL = 10  # events: more of them are worth a commit of their own
MOST = 500  # posts in one group


class GroupEndedError(Exception):
    """The thread that stored for the others was ended: whether these events are stored is not known."""


class _Post:
    __slots__ = ("error", "events", "leads", "result", "woken")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.woken = threading.Event()
        self.leads = False
        self.result: IngestResult | None = None
        self.error: BaseException | None = None

    def outcome(self) -> IngestResult:
        if self.result is None:
            raise self.error or GroupEndedError
        return self.result


class GroupCommit:
    """The posts of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Post] = []
        self._led = False

    def ingest(self, events: Sequence[Event], wait: float) -> IngestResult:
        """As `ingest_events`. `wait`: seconds in which others may join."""
        post = _Post(events)
        with self._lock:
            self._waiting.append(post)
            post.leads, self._led = not self._led, True
        if not post.leads:
            post.woken.wait()
        if post.leads:
            self._lead(wait)
        return post.outcome()

    def _lead(self, wait: float) -> None:
        group: list[_Post] = []
        try:
            if wait:
                time.sleep(wait)
            with self._lock:
                group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            _store(group)
        finally:
            with self._lock:
                self._led = bool(self._waiting)
                if self._led:
                    self._waiting[0].leads = True
                    self._waiting[0].woken.set()
            for post in group:
                post.woken.set()


group_commit = GroupCommit()


def ingest_together(events: Sequence[Event]) -> IngestResult:
    """As `ingest_events`; a small post may share its commit with others: settings.METERS_GROUP_COMMIT_MS."""
    wait: float | None = settings.METERS_GROUP_COMMIT_MS
    if wait is None or not 0 < len(events) <= SMALL or connection.in_atomic_block:
        return ingest_events(events)
    return group_commit.ingest(events, wait / 1000)


def _store(posts: Sequence[_Post]) -> None:
    """Gives each post its result or its own error."""
    if len(posts) > 1 and _store_together(posts):
        return
    for post in posts:
        try:
            post.result = ingest_events(post.events)
        except Exception as error:  # noqa: BLE001 raised again by the thread whose events these are
            post.error = error


def _store_together(posts: Sequence[_Post]) -> bool:
    """False where something is wrong with one of them: nothing that is stored by then is harmed by a second try."""
    events = [event for post in posts for event in post.events]
    if archived.set_aside(events):
        return False
    try:
        rows = EventRows.of(
            events, subjects.ids([each.customer for each in events]), event_types.ids([each.type for each in events])
        )
        partitions.ensure_for([events[place].time for place in rows.places])
        new, clashing = rows.write_each()
        if clashing:
            record_conflicts([(events[rows.places[row]], rows.keys[row]) for row in clashing])
    except (Error, partitions.GoneError):
        return False
    _tell(posts, {rows.places[row] for row in new}, {rows.places[row] for row in clashing})
    return True


def _tell(posts: Iterable[_Post], new: set[int], clashing: set[int]) -> None:
    first = 0
    for post in posts:
        mine = range(first, first + len(post.events))
        accepted = sum(place in new for place in mine)
        conflicts = tuple(place - first for place in mine if place in clashing)
        post.result = IngestResult(accepted, len(mine) - accepted - len(conflicts), conflicts)
        first += len(mine)
