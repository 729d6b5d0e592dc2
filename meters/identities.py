"""Identities: the first event of a source and id counts; one that comes later with another time never does.

The events table itself finds the same event sent again, as its time is the same. For another time it takes a look at
the keys seen in the last days: settings.METERS_IDENTITY_DAYS.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

# In the order of keys: neighbours share a page of the index.
KEEP_ALL = """
INSERT INTO meters_eventkey (key, time, seen_on)
SELECT e.key, e.time, %(today)s FROM meters_event AS e WHERE {chosen} ORDER BY e.key
"""
# The earliest event of an identity is kept.
KEEP_NEW = """
INSERT INTO meters_eventkey (key, time, seen_on)
SELECT DISTINCT ON (e.key) e.key, e.time, %(today)s FROM meters_event AS e WHERE {chosen} ORDER BY e.key, e.xid, e.seq
ON CONFLICT (key) DO NOTHING
"""
MOVE_LOSERS = """
WITH lost AS (
    DELETE FROM meters_event AS e USING meters_eventkey AS kept
    WHERE {chosen} AND kept.key = e.key AND kept.time <> e.time
    RETURNING e.*, kept.time AS kept_time
), listed AS (
    INSERT INTO meters_conflict
        (kind, key, digest, source, event_id, customer, event_type, time, kept_time, properties, seen_at)
    SELECT 'time', lost.key, md5(s.key || chr(10) || t.name || chr(10) || lost.properties::text)::uuid, '', '',
           s.key, t.name, lost.time, lost.kept_time, lost.properties, now()
    FROM lost JOIN meters_subject AS s ON s.id = lost.subject_id JOIN meters_eventtype AS t ON t.id = lost.event_type_id
    ON CONFLICT (key, time, digest) DO NOTHING
)
SELECT count(*) FROM lost
"""
FORGET_KEYS = """
DELETE FROM meters_eventkey WHERE key IN (
    SELECT key FROM meters_eventkey AS k WHERE seen_on < %s
    AND NOT EXISTS (SELECT FROM meters_conflict AS c WHERE c.key = k.key) LIMIT %s
)
"""
CLEAN_PASSES = 20


class _Known:
    """Passes of this process in a row that met no known key. Then none is expected, which halves the work."""

    def __init__(self) -> None:
        self.passes_without = CLEAN_PASSES  # until one is met


_known = _Known()


def settle_identities(chosen: str, parameters: dict[str, Any], number: int) -> int:
    """Keep the first of the chosen events that share an identity; the others become conflicts. Returns how many."""
    kept = _keep_keys(chosen, {**parameters, "today": timezone.now().date()}, number)
    if kept == number:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(MOVE_LOSERS.format(chosen=chosen), parameters)
        return int(cursor.fetchone()[0])


def forget_old_keys(chunk: int = 20_000) -> None:
    """Drop identities first seen longer ago than settings.METERS_IDENTITY_DAYS; those that clashed once are kept."""
    oldest = timezone.now().date() - timedelta(days=settings.METERS_IDENTITY_DAYS)
    while _execute(FORGET_KEYS, [oldest, chunk]) == chunk:
        pass


def _keep_keys(chosen: str, parameters: dict[str, Any], number: int) -> int:
    if _known.passes_without >= CLEAN_PASSES:
        try:
            with transaction.atomic():
                return _execute(KEEP_ALL.format(chosen=chosen), parameters)
        except IntegrityError:
            _known.passes_without = 0
    kept = _execute(KEEP_NEW.format(chosen=chosen), parameters)
    _known.passes_without = _known.passes_without + 1 if kept == number else 0
    return kept


def _execute(statement: str, parameters: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)
