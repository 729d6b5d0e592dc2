"""The roller: counts committed events in the buckets, each exactly once, however writers interleave.

A pass takes the events with `cursor.xid <= xid < xmin`, where xmin is the oldest transaction still running: whatever
lies below it has ended and can no longer appear. The events are counted and the cursor moved in one transaction, so a
pass that dies has not happened. Sequence numbers would not do: they are drawn before the commit and in another order.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from meters.buckets import DAY, add_to_buckets
from meters.matching import Parameters
from meters.models import Meter

# READ COMMITTED is enough and right here: the set of events below xmin no longer changes, and a snapshot from before the
# cursor was locked would show another roller's events as not yet counted.
TAKE_CURSOR = """
SELECT c.xid, c.base_seq, c.system_identifier = s.system_identifier, s.system_identifier
FROM meters_rollupcursor AS c, pg_control_system() AS s WHERE c.id = 1 FOR UPDATE OF c SKIP LOCKED
"""
MAKE_CURSOR = """
INSERT INTO meters_rollupcursor (id, xid, base_seq, system_identifier, moved_at)
SELECT 1, 0, -1, system_identifier, now() FROM pg_control_system() ON CONFLICT DO NOTHING
"""
MOVE_CURSOR = """
UPDATE meters_rollupcursor SET xid = %s, base_seq = %s, system_identifier = %s, moved_at = now() WHERE id = 1
"""
XMIN = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
FIRST_AND_NTH = """
SELECT (SELECT xid FROM meters_event WHERE xid >= %(start)s AND xid < %(xmin)s ORDER BY xid LIMIT 1),
       (SELECT xid FROM meters_event WHERE xid >= %(start)s AND xid < %(xmin)s ORDER BY xid OFFSET %(batch)s LIMIT 1)
"""
SPAN = "SELECT count(*), min(time), max(time) FROM meters_event AS e WHERE {chosen}"
# The earliest event of an identity is kept. In the order of keys: neighbours share a page of the index.
KEEP_KEYS = """
INSERT INTO meters_eventkey (key, time, seen_on)
SELECT DISTINCT ON (e.key) e.key, e.time, %(today)s FROM meters_event AS e WHERE {chosen} ORDER BY e.key, e.xid, e.seq
ON CONFLICT (key) DO NOTHING
"""
MOVE_LOSERS = """
WITH lost AS (
    DELETE FROM meters_event AS e USING meters_eventkey AS kept
    WHERE {chosen} AND kept.key = e.key AND kept.time <> e.time
    RETURNING e.*, kept.time AS kept_time
)
INSERT INTO meters_conflict
    (kind, key, digest, source, event_id, customer, event_type, time, kept_time, properties, seen_at)
SELECT 'time', lost.key, md5(s.key || chr(10) || t.name || chr(10) || lost.properties::text)::uuid, '', '',
       s.key, t.name, lost.time, lost.kept_time, lost.properties, now()
FROM lost JOIN meters_subject AS s ON s.id = lost.subject_id JOIN meters_eventtype AS t ON t.id = lost.event_type_id
ON CONFLICT (key, time, digest) DO NOTHING
"""
# Meter 0 counts every event of a customer key: unclaimed usage is found there.
COUNT_ALL = f"""
INSERT INTO meters_daybucket AS b (meter_id, subject_id, starting_at, group_id, events)
SELECT 0, e.subject_id, {DAY.format("e.time")}, 0, count(*)
FROM meters_event AS e WHERE {{chosen}} GROUP BY 2, 3 ORDER BY 2, 3
ON CONFLICT (meter_id, subject_id, starting_at, group_id) DO UPDATE SET events = b.events + excluded.events
RETURNING b.subject_id, b.starting_at
"""  # noqa: S608
FORGET_KEYS = """
DELETE FROM meters_eventkey WHERE key IN (
    SELECT key FROM meters_eventkey AS k WHERE seen_on < %s
    AND NOT EXISTS (SELECT FROM meters_conflict AS c WHERE c.key = k.key) LIMIT %s
)
"""


@dataclass(frozen=True, slots=True)
class RollResult:
    """What a pass did. `touched`: customer key (its id) and UTC day of every event counted.

    `more`: another pass has work already. `busy`: another roller holds the cursor, nothing was done.
    """

    events: int = 0
    touched: frozenset[tuple[int, datetime]] = frozenset()
    more: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Cursor:
    xid: int
    base_seq: int
    system_identifier: int


def roll_up(batch: int = 100_000) -> RollResult:
    """One pass over some `batch` events at most; a transaction is never split. Exact under any writers and rollers."""
    with transaction.atomic():
        taken = _take_cursor()
        if taken is None:
            return RollResult(busy=True)
        cursor, is_ours = taken
        if not is_ours:
            return _start_over(cursor)
        end, more = _end_of_pass(cursor, batch)
        result = RollResult(more=more)
        span = _span(cursor, end)
        if span is not None:
            chosen, parameters, number = span
            _settle_identities(chosen, parameters, number)
            touched = _count(chosen, parameters, Meter.objects.exclude(built_at=None).order_by("pk"))
            result = RollResult(number, frozenset(touched), more)
        moved = Cursor(end, cursor.base_seq, cursor.system_identifier)
        built = _build_new_meters(moved)
        if span is not None or built:
            _execute(MOVE_CURSOR, [moved.xid, moved.base_seq, moved.system_identifier])
        return result


def forget_old_keys(chunk: int = 20_000) -> None:
    """Drop identities first seen longer ago than settings.METERS_IDENTITY_DAYS; those that clashed once are kept."""
    oldest = timezone.now().date() - timedelta(days=settings.METERS_IDENTITY_DAYS)
    while _execute(FORGET_KEYS, [oldest, chunk]) == chunk:
        pass


def _take_cursor() -> tuple[Cursor, bool] | None:
    """The cursor, locked, and whether it belongs to this database server; None while another roller holds it."""
    row = _row(TAKE_CURSOR)
    if row is None:
        _execute(MAKE_CURSOR)
        row = _row(TAKE_CURSOR)
    return (Cursor(row[0], row[1], row[3]), bool(row[2])) if row else None


def _end_of_pass(cursor: Cursor, batch: int) -> tuple[int, bool]:
    """The xid the pass ends before, and whether committed events lie beyond it."""
    (xmin,) = _row(XMIN) or (0,)
    first, nth = _row(FIRST_AND_NTH, {"start": cursor.xid, "xmin": xmin, "batch": batch}) or (None, None)
    return (xmin, False) if nth is None else (max(nth, first + 1), True)


def _span(cursor: Cursor, end: int) -> tuple[str, dict[str, Any], int] | None:
    """The events of the pass, as a condition, with their parameters and number; None when there are none."""
    chosen = "e.xid >= %(start)s AND e.xid < %(end)s AND e.seq > %(base)s"
    parameters = {"start": cursor.xid, "end": end, "base": cursor.base_seq}
    number, first, last = _row(SPAN.format(chosen=chosen), parameters) or (0, None, None)
    if not number:
        return None
    # The times are implied; naming them lets the planner leave the other months alone.
    narrowed = f"{chosen} AND e.time >= %(first)s AND e.time <= %(last)s"
    return narrowed, {**parameters, "first": first, "last": last}, number


def _settle_identities(chosen: str, parameters: dict[str, Any], number: int) -> None:
    """Of the events that share source and id the first one is kept; the others become conflicts before they count."""
    today = timezone.now().date()
    kept = _execute(KEEP_KEYS.format(chosen=chosen), {**parameters, "today": today})
    if kept < number:
        _execute(MOVE_LOSERS.format(chosen=chosen), parameters)


def _count(chosen: str, parameters: dict[str, Any], meters: Iterable[Meter]) -> set[tuple[int, datetime]]:
    with connection.cursor() as cursor:
        cursor.execute(COUNT_ALL.format(chosen=chosen), parameters)
        touched = set(cursor.fetchall())
    for meter in meters:
        add_to_buckets(meter, chosen, Parameters(parameters))
    return touched


def _build_new_meters(cursor: Cursor) -> int:
    """Count history for meters made since the last pass: everything behind the cursor."""
    meters = list(Meter.objects.filter(built_at=None).order_by("pk"))
    for meter in meters:
        parameters = Parameters(end=cursor.xid, base=cursor.base_seq)
        add_to_buckets(meter, "(e.xid < %(end)s OR e.seq <= %(base)s)", parameters)
        Meter.objects.filter(pk=meter.pk).update(built_at=timezone.now())
    return len(meters)


def _start_over(cursor: Cursor) -> RollResult:
    """The cursor was moved on another server: this is a restored copy and its transaction ids mean nothing here.

    All writers wait while everything is counted afresh and the events there are set apart by `base_seq`.
    """
    _execute("LOCK TABLE meters_event IN SHARE MODE")
    _execute("TRUNCATE meters_hourbucket, meters_daybucket")
    Meter.objects.update(built_at=None)
    (xmin,) = _row(XMIN) or (0,)
    (base,) = _row("SELECT coalesce(max(seq), -1) FROM meters_event") or (-1,)
    since = timezone.now() - timedelta(days=settings.METERS_IDENTITY_DAYS)
    unknown = (
        "e.time >= %(since)s AND NOT EXISTS (SELECT FROM meters_eventkey AS k WHERE k.key = e.key AND k.time = e.time)"
    )
    _settle_identities(unknown, {"since": since}, number=base + 1)
    touched = _count("e.seq <= %(base)s", {"base": base}, [])
    moved = Cursor(xmin, base, cursor.system_identifier)
    _build_new_meters(moved)
    _execute(MOVE_CURSOR, [moved.xid, moved.base_seq, moved.system_identifier])
    return RollResult(events=base + 1, touched=frozenset(touched))


def _row(statement: str, parameters: Any = None) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def _execute(statement: str, parameters: Any = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)
