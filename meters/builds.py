"""Counting history for meters made since, part by part, so that no pass takes long and none has to start again.

A build remembers where the cursor stood when it began. Events behind that are history, taken in order of time, a part
in each pass of the roller; events past it are counted as they come. Both are counted once, by whoever holds the cursor.
Readers take a meter from its events until all of history is in.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from meters.buckets import add_to_buckets
from meters.matching import Parameters
from meters.models import Meter, MeterBuild

PART = 200_000
INSTANT = timedelta(microseconds=1)
START = """
INSERT INTO meters_meterbuild (meter_id, xid, base_seq, events, started_at)
SELECT id, %s, %s, (SELECT coalesce(sum(events), 0) FROM meters_daybucket WHERE meter_id = 0), now()
FROM meters_meter WHERE built_at IS NULL ON CONFLICT DO NOTHING
"""
NTH = "SELECT time FROM meters_event WHERE time >= %s ORDER BY time OFFSET %s LIMIT 1"
# Meter 0 counts every event, by day: near enough for a bar.
PROGRESS = """
SELECT sum(least(b.events, coalesce((
    SELECT sum(d.events) FROM meters_daybucket AS d WHERE d.meter_id = 0 AND d.starting_at < b.position
), 0)))::bigint, sum(b.events)::bigint
FROM meters_meterbuild AS b
"""
TABLES = ("meters_hourbucket", "meters_daybucket", "meters_hourvalue", "meters_dayvalue")


def continue_builds(xid: int, base_seq: int) -> tuple[int, bool]:
    """One part of each build, begun if need be. How many there were, and whether more is left to do."""
    if not Meter.objects.filter(built_at=None).exists():
        return 0, False
    _execute(START, [xid, base_seq])
    builds = list(MeterBuild.objects.select_related("meter").order_by("meter_id"))
    together: dict[tuple[Any, ...], list[MeterBuild]] = defaultdict(list)
    for build in builds:
        together[build.xid, build.base_seq, build.position].append(build)
    finished = [_count_part(each) for each in together.values()]
    return len(builds), not all(finished)


def forget_builds() -> None:
    """Start again: transaction ids of another server say nothing about what is counted."""
    begun = list(MeterBuild.objects.values_list("pk", flat=True))
    for table in TABLES:
        _execute(f"DELETE FROM {table} WHERE meter_id = ANY(%s)", [begun])  # noqa: S608
    MeterBuild.objects.all().delete()


def progress() -> tuple[int, int] | None:
    """Events looked at and to look at, for all meters that are being built; None where there are none."""
    with connection.cursor() as cursor:
        cursor.execute(PROGRESS)
        done, total = cursor.fetchone()
    return None if total is None else (done, total)


def share_of(build: MeterBuild) -> int:
    """How much of the history is in, in percent."""
    with connection.cursor() as cursor:
        cursor.execute(f"{PROGRESS} WHERE b.meter_id = %s", [build.pk])
        done, total = cursor.fetchone()
    return int(100 * done / total) if total else 0


def _count_part(builds: Sequence[MeterBuild]) -> bool:
    """Whether this was the last part, of builds that have come as far."""
    first = builds[0]
    start, end = first.position, _end_of_part(first.position)
    parameters = Parameters(xid=first.xid, base=first.base_seq, start=start, end=end)
    spans = ["e.time >= %(start)s"] if start else []
    spans += ["e.time < %(end)s"] if end else []
    chosen = " AND ".join(["(e.xid < %(xid)s OR e.seq <= %(base)s)", *spans])
    add_to_buckets([each.meter for each in builds], chosen, parameters, mostly_new=True)
    these = [each.pk for each in builds]
    if end:
        MeterBuild.objects.filter(pk__in=these).update(position=end)
        return False
    MeterBuild.objects.filter(pk__in=these).delete()
    Meter.objects.filter(pk__in=these).update(built_at=timezone.now())
    return True


def _end_of_part(start: datetime | None) -> datetime | None:
    """Where a day begins if one does in the part: the buckets of a day are then written once."""
    with connection.cursor() as cursor:
        cursor.execute(NTH, [start or "-infinity", PART])
        row = cursor.fetchone()
    if row is None:
        return None
    nth: datetime = row[0].astimezone(UTC)
    day = nth.replace(hour=0, minute=0, second=0, microsecond=0)
    if start is None or day > start:
        return day
    return nth if nth > start else start + INSTANT


def _execute(statement: str, parameters: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
