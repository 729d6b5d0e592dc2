"""How ingestion is doing: for the front page, by queries that cost nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F, Max, OuterRef, Subquery
from django.utils import timezone

from billing_project.models import ApiKey, Scope
from meters.aggregation import known_cursor
from meters.models import Conflict, EventSource, ImportRun, RejectedEvent, RollerMinute, RollupCursor

MINUTES = 60
MOST_COUNTED = 100_000
MOST_LISTED = 8
SILENT_AFTER = timedelta(minutes=2)
KEPT = timedelta(days=2)
MINUTE = timedelta(minutes=1)
WAITING = "SELECT count(*) FROM (SELECT FROM meters_event AS e WHERE {beyond} LIMIT %s) AS found"
BEAT = """
INSERT INTO meters_rollerminute AS m (minute, events, seen_at)
VALUES (date_trunc('minute', %(now)s::timestamptz), %(events)s, %(now)s)
ON CONFLICT (minute) DO UPDATE SET events = m.events + excluded.events, seen_at = excluded.seen_at
"""
BEAT_EVERY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Sender:
    """An API key or an event source, and when it was heard of last."""

    name: str
    kind: str
    last_at: datetime | None
    state: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """`minutes`: events counted in each of the last 60; `waiting` is MOST_COUNTED where it is that or more."""

    minutes: list[int]
    waiting: int
    counted_until: datetime | None
    roller_seen_at: datetime | None
    rejected: int
    conflicts: int
    senders: Sequence[Sender]
    now: datetime

    @property
    def is_late(self) -> bool:
        seen = self.roller_seen_at
        return self.waiting > 0 and (seen is None or self.now - seen > SILENT_AFTER)

    @property
    def per_minute(self) -> int:
        return sum(self.minutes) // MINUTES


class Pulse:
    """What a roller tells of itself, every few seconds."""

    def __init__(self) -> None:
        self._events = 0
        self._told_at: datetime | None = None

    def beat(self, events: int) -> None:
        self._events += events
        now = timezone.now()
        if self._told_at and now - self._told_at < BEAT_EVERY:
            return
        with connection.cursor() as cursor:
            cursor.execute(BEAT, {"now": now, "events": self._events})
        if self._told_at is None or self._told_at.date() != now.date():
            RollerMinute.objects.filter(minute__lt=now - KEPT).delete()
        self._events, self._told_at = 0, now


def health(now: datetime) -> Health:
    day_ago = now - timedelta(days=1)
    return Health(
        minutes=_minutes(now),
        waiting=_waiting(),
        counted_until=RollupCursor.objects.values_list("moved_at", flat=True).first(),
        roller_seen_at=RollerMinute.objects.aggregate(last=Max("seen_at"))["last"],
        rejected=RejectedEvent.objects.filter(last_at__gte=day_ago, replayed_at=None)[:MOST_COUNTED].count(),
        conflicts=Conflict.objects.filter(seen_at__gte=day_ago)[:MOST_COUNTED].count(),
        senders=[*_keys(), *_sources()],
        now=now,
    )


def _minutes(now: datetime) -> list[int]:
    first = now.replace(second=0, microsecond=0) - (MINUTES - 1) * MINUTE
    counted = dict(RollerMinute.objects.filter(minute__gte=first).values_list("minute", "events"))
    return [counted.get(first + place * MINUTE, 0) for place in range(MINUTES)]


def _waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute(WAITING.format(beyond=known_cursor().beyond("e")), [MOST_COUNTED])
        return int(cursor.fetchone()[0])


def _keys() -> list[Sender]:
    found = ApiKey.objects.filter(revoked_at=None, scopes__contains=[Scope.INGEST])
    newest = found.order_by(F("last_used_at").desc(nulls_last=True))[:MOST_LISTED]
    return [Sender(key.name, "API key", key.last_used_at) for key in newest]


def _sources() -> list[Sender]:
    runs = ImportRun.objects.filter(source=OuterRef("pk")).order_by("-started_at")
    found = EventSource.objects.annotate(
        last_at=Subquery(runs.values("started_at")[:1]), last_state=Subquery(runs.values("state")[:1])
    ).order_by(F("last_at").desc(nulls_last=True))[:MOST_LISTED]
    return [
        Sender(
            str(source),
            "Event source",
            getattr(source, "last_at", None),
            ImportRun.State(state).label if (state := getattr(source, "last_state", None)) else "",
        )
        for source in found
    ]
