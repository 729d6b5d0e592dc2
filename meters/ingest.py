"""Taking usage events: every event exactly once, nothing acknowledged before it is committed."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from django.db import IntegrityError, connection
from django.utils import timezone

from meters import archived, partitions
from meters.dictionary import event_types, subjects
from meters.event_rows import EventRows
from meters.events import Event, Rejection, printable

CHUNK = 10_000

CONFLICT = """
INSERT INTO meters_conflict
    (kind, key, digest, source, event_id, customer, event_type, time, kept_time, properties, seen_at)
VALUES ('body', %(key)s, %(digest)s, %(source)s, %(id)s, %(customer)s, %(type)s, %(time)s, %(time)s,
        %(properties)s::jsonb, %(now)s)
ON CONFLICT (key, time, digest) DO NOTHING
"""
REJECT = """
INSERT INTO meters_rejectedevent
    (digest, first_at, last_at, times, event_id, path, code, message, body, sender)
SELECT digest, %(now)s, %(now)s, times, event_id, path, code, message, body, %(sender)s
FROM unnest(%(digests)s::uuid[], %(times)s::int[], %(ids)s::text[], %(paths)s::text[], %(codes)s::text[],
            %(messages)s::text[], %(bodies)s::text[])
  AS given (digest, times, event_id, path, code, message, body)
ON CONFLICT (digest) DO UPDATE
SET last_at = excluded.last_at, times = meters_rejectedevent.times + excluded.times, sender = excluded.sender
"""


@dataclass(frozen=True, slots=True)
class IngestResult:
    """How many events are new, how many were there already, and which (by their place) clash with one that was.

    `archived`: those of a month whose events lie in files; they are kept among the rejected ones.
    """

    accepted: int
    duplicates: int
    conflicts: tuple[int, ...] = ()
    archived: tuple[int, ...] = ()


def ingest_events(events: Sequence[Event]) -> IngestResult:
    """Store the events. Returns after the commit, unless a transaction is open around it: never call it in one.

    Sent again, in any order and split, events change nothing. Of two with one identity and time, the first one counts.
    """
    aside = archived.set_aside(events)
    if aside:
        return _ingest_open(events, aside)
    accepted, conflicts = 0, []
    for start in range(0, len(events), CHUNK):
        try:
            new, clashing = _ingest_chunk(events[start : start + CHUNK])
        except (IntegrityError, partitions.GoneError):
            # Another process archived a month a moment ago: the second look knows.
            partitions.forget()
            if not archived.set_aside(events):
                raise
            return ingest_events(events)
        accepted += new
        conflicts += [start + place for place in clashing]
    return IngestResult(accepted, len(events) - accepted - len(conflicts), tuple(sorted(conflicts)))


def _ingest_open(events: Sequence[Event], aside: Sequence[int]) -> IngestResult:
    """All but the events set aside, which are kept as rejected."""
    skipped = set(aside)
    places = [place for place in range(len(events)) if place not in skipped]
    result = ingest_events([events[place] for place in places])
    record_rejections([archived.rejection(events[place]) for place in aside], "")
    return IngestResult(
        result.accepted, result.duplicates, tuple(places[place] for place in result.conflicts), tuple(aside)
    )


def _ingest_chunk(events: Sequence[Event]) -> tuple[int, list[int]]:
    customers = subjects.ids([event.customer for event in events])
    types = event_types.ids([event.type for event in events])
    rows = EventRows.of(events, customers, types)
    partitions.ensure_for([events[place].time for place in rows.places])
    accepted, clashing = rows.write()
    if clashing:
        record_conflicts([(events[rows.places[row]], rows.keys[row]) for row in clashing])
    return accepted, [rows.places[row] for row in clashing]


def record_rejections(rejected: Sequence[Rejection], sender: str) -> None:
    """Keep what was not taken, with the reason. The same event sent again is counted, not kept twice."""
    times: Counter[uuid.UUID] = Counter()
    rows: dict[uuid.UUID, Rejection] = {}
    for one in rejected:
        key = _digest(printable(one.body), one.code)
        times[key] += 1
        rows[key] = one
    ordered = sorted(rows.items())
    with connection.cursor() as cursor:
        cursor.execute(
            REJECT,
            {
                "digests": [key for key, _ in ordered],
                "times": [times[key] for key, _ in ordered],
                "ids": [printable(one.id) for _, one in ordered],
                "paths": [printable(one.path) for _, one in ordered],
                "codes": [one.code for _, one in ordered],
                "messages": [printable(one.message) for _, one in ordered],
                "bodies": [printable(one.body) for _, one in ordered],
                "sender": sender,
                "now": timezone.now(),
            },
        )


def _digest(*parts: str) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest())


def record_conflicts(clashing: Sequence[tuple[Event, bytes]]) -> None:
    """List events (each with its key) that clash with a stored one of the same identity and time."""
    now = timezone.now()
    rows: list[dict[str, Any]] = [
        {
            "key": uuid.UUID(bytes=key),
            "digest": _digest(event.customer, event.type, event.properties.decode()),
            "source": event.source,
            "id": event.id,
            "customer": event.customer,
            "type": event.type,
            "time": event.time.astimezone(UTC),  # PostgreSQL reads no offset beyond 15:59
            "properties": event.properties.decode(),
            "now": now,
        }
        for event, key in clashing
    ]
    with connection.cursor() as cursor:
        cursor.executemany(CONFLICT, rows)
