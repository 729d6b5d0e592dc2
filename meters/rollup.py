"""The roller: counts committed events in the buckets, each exactly once, however writers interleave.

A pass takes the events with `cursor.xid <= xid < xmin`, where xmin is the oldest transaction still running: whatever
lies below it has ended and can no longer appear. The events are counted and the cursor moved in one transaction, so a
pass that dies has not happened. Sequence numbers would not do: they are drawn before the commit and in another order.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from meters import late_days
from meters import touched as touched_customers
from meters.buckets import add_to_buckets
from meters.builds import continue_builds, forget_builds
from meters.identities import settle_identities
from meters.matching import Parameters
from meters.models import Meter
from meters.partitions import month_of, next_month

# A pass sorts and hashes in memory, and is over before compiling its statements would pay.
# New events lie together, in the order of their xid: a bitmap of them is a detour.
# The commit need not wait for the disk: cursor, buckets, identities and conflicts are one transaction, so one lost in a
# crash is done again from the events. Whatever was committed after reading it has flushed it as well.
ROOM = """
SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true),
       set_config('enable_bitmapscan', 'off', true), set_config('synchronous_commit', 'off', true)
"""
# READ COMMITTED is enough and right here: the set of events below xmin no longer changes, and a snapshot from before
# the cursor was locked would show another roller's events as not yet counted.
TAKE_CURSOR = """
SELECT c.xid, c.base_seq, c.last_seq, s.system_identifier, c.system_identifier = s.system_identifier
FROM meters_rollupcursor AS c, pg_control_system() AS s WHERE c.id = 1 FOR UPDATE OF c SKIP LOCKED
"""
MAKE_CURSOR = """
INSERT INTO meters_rollupcursor (id, xid, base_seq, last_seq, system_identifier, moved_at)
SELECT 1, 0, -1, -1, system_identifier, now() FROM pg_control_system() ON CONFLICT DO NOTHING
"""
MOVE_CURSOR = """
UPDATE meters_rollupcursor SET xid = %s, base_seq = %s, last_seq = %s, system_identifier = %s, moved_at = now()
WHERE id = 1
"""
XMIN = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
FIRST_AND_NTH = """
SELECT (SELECT xid FROM meters_event WHERE xid >= %(start)s AND xid < %(xmin)s ORDER BY xid LIMIT 1),
       (SELECT xid FROM meters_event WHERE xid >= %(start)s AND xid < %(xmin)s ORDER BY xid OFFSET %(batch)s LIMIT 1)
"""
SPAN = "SELECT count(*), min(time), max(time), max(seq) FROM meters_event AS e WHERE {chosen}"


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
    last_seq: int
    system_identifier: int


@dataclass(frozen=True, slots=True)
class Pass:
    """The events a pass takes (a condition on `e`, its parameters), where the cursor goes, whether more are waiting."""

    chosen: str
    parameters: dict[str, Any]
    moved: Cursor
    more: bool = False


# Far behind, a pass takes seconds, and of many events more fall into the same buckets: each is written once a pass.
BATCH = 400_000


def roll_up(batch: int = BATCH) -> RollResult:
    """One pass over some `batch` events at most; a transaction is never split."""
    with transaction.atomic():
        taken = _take_cursor()
        if taken is None:
            return RollResult(busy=True)
        cursor, is_ours = taken
        _execute(ROOM)
        if not is_ours:
            forget_builds()
        work = _next_pass(cursor, batch) if is_ours else _pass_on_another_server(cursor)
        events, touched, last_seq = _count(work)
        late_days.note(touched)
        touched_customers.note({subject for subject, _ in touched})
        built, unfinished = continue_builds(work.moved.xid, work.moved.base_seq)
        if events or built or not is_ours:
            last = max(last_seq, cursor.last_seq)
            _execute(MOVE_CURSOR, [work.moved.xid, work.moved.base_seq, last, work.moved.system_identifier])
        return RollResult(events, frozenset(touched), work.more or unfinished)


def _take_cursor() -> tuple[Cursor, bool] | None:
    """The cursor, locked, and whether this database server moved it; None while another roller holds it."""
    row = _row(TAKE_CURSOR)
    if row is None:
        _execute(MAKE_CURSOR)
        row = _row(TAKE_CURSOR)
    return (Cursor(*row[:4]), bool(row[4])) if row else None


def _next_pass(cursor: Cursor, batch: int) -> Pass:
    (xmin,) = _row(XMIN) or (0,)
    first, nth = _row(FIRST_AND_NTH, {"start": cursor.xid, "xmin": xmin, "batch": batch}) or (None, None)
    end = xmin if nth is None else max(nth, first + 1)
    return Pass(
        "e.xid >= %(start)s AND e.xid < %(end)s AND e.seq > %(base)s",
        {"start": cursor.xid, "end": end, "base": cursor.base_seq},
        replace(cursor, xid=end),
        more=nth is not None,
    )


def _pass_on_another_server(cursor: Cursor) -> Pass:
    """The cursor was moved on another server: this is a restored copy. Its transaction ids mean nothing here.

    Not counted yet is what its roller had not reached, and what was written here since. Writers wait until this pass
    ends: from then on everything there is set apart by `base_seq`, and ids of this server lead on.
    """
    _execute("LOCK TABLE meters_event IN SHARE MODE")
    (xmin,) = _row(XMIN) or (0,)
    (base,) = _row("SELECT coalesce(max(seq), -1) FROM meters_event") or (-1,)
    return Pass(
        "(e.xid >= %(start)s AND e.seq > %(base)s OR e.seq > %(last)s)",
        {"start": cursor.xid, "base": cursor.base_seq, "last": cursor.last_seq},
        replace(cursor, xid=xmin, base_seq=base),
    )


def _count(work: Pass) -> tuple[int, set[tuple[int, datetime]], int]:
    """Number, customers and days, and highest seq of the events counted."""
    number, first, last, last_seq = _row(SPAN.format(chosen=work.chosen), work.parameters) or (0, None, None, None)
    if not number:
        return 0, set(), -1
    # The months are implied; naming them lets the planner leave the others alone. Nothing narrower: it would read the
    # index by time as well.
    chosen = f"{work.chosen} AND e.time >= %(first)s AND e.time < %(until)s"
    parameters = {**work.parameters, "first": month_of(first), "until": next_month(month_of(last))}
    number -= settle_identities(chosen, parameters, number)
    meters = list(Meter.objects.exclude(built_at=None, build=None).order_by("pk"))
    return number, add_to_buckets(meters, chosen, Parameters(parameters), all_events=True), last_seq


def _row(statement: str, parameters: Any = None) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def _execute(statement: str, parameters: Any = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)
