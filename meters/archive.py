"""Months of raw events leave as Parquet files, and come back. Their buckets stay: usage reads on.

A month is dropped only after its file was read again and found equal to what was recorded, and the table found
unchanged since. Events that come for it later are kept as rejected ones until it is restored.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from psycopg import sql

from billing_project.errors import ConflictError, RuleError
from billing_project.locks import lock
from meters import builds, partitions
from meters.aggregation import known_cursor
from meters.archive_places import opened, put
from meters.archive_rows import Record, Row, read_rows, record_of, write_rows
from meters.dictionary import event_types, subjects
from meters.models import EventArchive, Meter
from meters.partitions import month_of, name_of, next_month

Advance = Callable[[int], None]
STEP = 1_000

# Nobody's post waits longer than this for a month to be dropped; then it is left for another time.
LOCK_TIMEOUT = "10s"
MONTHS = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'meters_event'::regclass ORDER BY c.relname
"""
ROWS = """
SELECT e.time, e.key, s.key, t.name, e.properties::text, e.seq
FROM {} AS e JOIN meters_subject AS s ON s.id = e.subject_id JOIN meters_eventtype AS t ON t.id = e.event_type_id
ORDER BY e.time, e.key
"""
FINGERPRINT = "SELECT count(*), max(seq), sum(seq::numeric) FROM {}"
LATE = "SELECT EXISTS (SELECT FROM {} AS e WHERE {beyond})"
# Behind the cursor, whatever it is by now: it was counted before it left.
COPY = "COPY {} (time, seq, xid, key, subject_id, event_type_id, properties) FROM STDIN"


def months_before(instant: datetime) -> list[datetime]:
    """The months with a table of their own that end at or before an instant."""
    months = []
    for (name,) in _rows(MONTHS):
        _, _, text = name.partition("meters_event_")
        if text[:4].isdigit():
            month = datetime(int(text[:4]), int(text[5:7]), 1, tzinfo=UTC)
            if next_month(month) <= instant:
                months.append(month)
    return months


def events_in(month: datetime) -> int:
    """How many the month's table holds: so many steps an export takes."""
    return int(_fingerprint(month)[0])


def _silent(number: int) -> None:
    """Nobody watches."""


def export(month: datetime, place: str, advance: Advance = _silent) -> EventArchive:
    """Write a month to its file and record what it held. Written before and unchanged it may be written again.

    Raises ConflictError while the roller has not counted all of it, and for a month that is gone already.
    """
    name = f"events-{month:%Y-%m}.parquet"
    if EventArchive.objects.filter(month=month).exclude(dropped_at=None).exists():
        raise ConflictError(f"{month:%B %Y} is archived and dropped already.", code="dropped")
    with tempfile.TemporaryDirectory() as folder, transaction.atomic():
        _check_counted(month)
        file = Path(folder) / name
        record = write_rows(_told(_stored(month), advance), file)
        given = {
            "place": place,
            "file": name,
            "size": file.stat().st_size,
            "events": record.events,
            "by_type": record.by_type,
            "digest": record.shown_digest,
            "exported_at": timezone.now(),
            "verified_at": None,
        }
        put(place, name, file)
        manifest = Path(folder) / "manifest.json"
        manifest.write_text(json.dumps({"month": f"{month:%Y-%m}", **given}, default=str, indent=2) + "\n")
        put(place, f"events-{month:%Y-%m}.json", manifest)
        return EventArchive.objects.update_or_create(month=month, defaults=given)[0]


def verify(archive: EventArchive, advance: Advance = _silent) -> None:
    """Read the file again and compare it with what was recorded. Raises ConflictError naming the difference."""
    with opened(archive.place, archive.file) as stream:
        _compare(archive, record_of(_told(read_rows(stream), advance)), archive.file)
    archive.verified_at = timezone.now()
    archive.save(update_fields=["verified_at"])


def drop(archive: EventArchive, advance: Advance = _silent) -> None:
    """Take a month out of the database, after its file was verified and the table compared with it once more.

    Both are steps: twice as many as there are events.

    Raises ConflictError when either differs.
    """
    if archive.dropped_at:
        return
    verify(archive, advance)
    with transaction.atomic():
        seen = _fingerprint(archive.month)
        held = record_of(_told(_stored(archive.month), advance))
        _compare(archive, held, "the database, which took more events since")
    with transaction.atomic():
        lock("meters", "partition", archive.month.isoformat())
        _execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        _execute("LOCK TABLE meters_event IN ACCESS EXCLUSIVE MODE")
        _check_counted(archive.month)
        if _fingerprint(archive.month) != seen:
            raise ConflictError(f"{archive}: events came while it was compared. Archive it again.", code="changed")
        table = sql.Identifier(name_of(archive.month))
        _execute(sql.SQL("ALTER TABLE meters_event DETACH PARTITION {}").format(table).as_string())
        _execute(sql.SQL("DROP TABLE {}").format(table).as_string())
        archive.dropped_at, archive.restored_at = timezone.now(), None
        archive.save(update_fields=["dropped_at", "restored_at"])
    partitions.forget()


def restore(archive: EventArchive, advance: Advance = _silent) -> bool:
    """Bring a month back from its file, all or nothing; False when it is there. Meters made meanwhile count it again.

    Raises ConflictError when the file is not what was recorded.
    """
    with transaction.atomic():
        lock("meters", "partition", archive.month.isoformat())
        archive.refresh_from_db()
        if archive.dropped_at is None:
            return False
        _rows("SELECT id FROM meters_rollupcursor FOR UPDATE")
        partitions.create(archive.month)
        with opened(archive.place, archive.file) as stream:
            _compare(archive, _copy(archive.month, _told(read_rows(stream), advance)), archive.file)
        partitions.attach(archive.month)
        _count_again(archive)
        archive.dropped_at, archive.restored_at = None, timezone.now()
        archive.save(update_fields=["dropped_at", "restored_at"])
    partitions.forget()
    return True


def month_named(text: str) -> datetime:
    """`2026-01`, or any day of it. Raises RuleError."""
    try:
        return month_of(datetime.fromisoformat(f"{text}-01" if len(text) == 7 else text).replace(tzinfo=UTC))
    except ValueError:
        raise RuleError(f'"{text}" is no month: give one like 2026-01.', code="bad_month") from None


def _count_again(archive: EventArchive) -> None:
    """Meters made while the month was away have not counted it: their buckets are built anew, from all events."""
    late = Meter.objects.filter(built_at__gt=archive.dropped_at).values_list("pk", flat=True)
    pks = list(late)
    builds.forget_builds()
    for table in builds.TABLES:
        _execute(f"DELETE FROM {table} WHERE meter_id = ANY(%s)", [pks])  # noqa: S608
    Meter.objects.filter(pk__in=pks).update(built_at=None)


def _stored(month: datetime) -> Iterator[Row]:
    statement = sql.SQL(ROWS).format(sql.Identifier(name_of(month))).as_string()
    with connection.chunked_cursor() as cursor:
        cursor.execute(statement)
        while rows := cursor.fetchmany(5_000):
            for time, *rest in rows:
                yield Row(time.astimezone(UTC), *rest)


def _copy(month: datetime, rows: Iterator[Row]) -> Record:
    record, statement = Record(), sql.SQL(COPY).format(sql.Identifier(name_of(month)))
    connection.ensure_connection()
    customers: dict[str, int] = {}
    types: dict[str, int] = {}
    with connection.connection.cursor() as cursor:
        for batch in _many(rows):
            customers = subjects.ids([row.customer for row in batch])
            types = event_types.ids([row.type for row in batch])
            with cursor.copy(statement) as copy:
                for row in batch:
                    record.add(row)
                    values: tuple[Any, ...] = (
                        row.time, row.seq, 0, row.key, customers[row.customer], types[row.type], row.properties,
                    )  # fmt: skip
                    copy.write_row(values)
    return record


def _told(rows: Iterable[Row], advance: Advance) -> Iterator[Row]:
    number = 0
    for number, row in enumerate(rows, 1):
        yield row
        if not number % STEP:
            advance(STEP)
    advance(number % STEP)


def _many(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == 10_000:
            yield batch
            batch = []
    if batch:
        yield batch


def _compare(archive: EventArchive, found: Record, what: str) -> None:
    if found.events != archive.events:
        difference = f"{found.events:,} events instead of {archive.events:,}"
    elif found.by_type != archive.by_type:
        difference = "other numbers or sums by event type"
    elif found.shown_digest != archive.digest:
        difference = "other contents"
    else:
        return
    raise ConflictError(f"{archive}: {what} holds {difference}. Archive it again.", code="differs")


def _check_counted(month: datetime) -> None:
    table = sql.Identifier(name_of(month)).as_string()
    [(late,)] = _rows(LATE.format(table, beyond=known_cursor().beyond("e")))
    if late:
        raise ConflictError(f"{month:%B %Y} holds events not counted yet: run manage.py roll_up.", code="not_counted")


def _fingerprint(month: datetime) -> tuple[Any, ...]:
    [row] = _rows(FINGERPRINT.format(sql.Identifier(name_of(month)).as_string()))
    return row


def _rows(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _execute(statement: str, parameters: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


__all__ = ["drop", "events_in", "export", "month_named", "months_before", "restore", "verify"]
