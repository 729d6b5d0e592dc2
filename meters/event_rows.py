"""Rows of the events table on their way in: one statement from binary arrays, or COPY where no duplicate is likely."""

import select
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from weakref import WeakSet

import psycopg
from django.db import connection
from psycopg import errors

from meters import binary_arrays as arrays
from meters.events import Event

COPY = "COPY meters_event (key, subject_id, event_type_id, time, properties) FROM STDIN BINARY"
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"
# Number of columns; each column's length and value; of properties the length and jsonb's version, the text follows.
COPY_ROW = struct.Struct(">hi16siiiiiqiB")
COPY_MIN_ROWS = 50
CLEAN_BATCHES = 20

ARRAYS = "unnest(%s::uuid[], %s::int[], %s::int[], %s::timestamptz[], %s::jsonb[])"
INSERT = f"""
INSERT INTO meters_event (key, subject_id, event_type_id, time, properties)
SELECT * FROM {ARRAYS} ON CONFLICT DO NOTHING
"""  # noqa: S608
# Which rows are new, in microseconds since 2000 as rows are sent.
INSERT_EACH = f"{INSERT} RETURNING (extract(epoch FROM time - '2000-01-01 00:00:00+00') * 1000000)::bigint, key"
# The stored event is the same, or it is another under the same identity and time. Rows come in the order sent.
DIFFERENT = f"""
SELECT sent.place::int - 1
FROM {ARRAYS} WITH ORDINALITY AS sent (key, subject_id, event_type_id, time, properties, place)
JOIN meters_event AS kept ON kept.time = sent.time AND kept.key = sent.key
WHERE (kept.subject_id, kept.event_type_id, kept.properties)
   IS DISTINCT FROM (sent.subject_id, sent.event_type_id, sent.properties)
"""  # noqa: S608

_registered: WeakSet[psycopg.Connection[Any]] = WeakSet()


@dataclass(frozen=True, slots=True)
class EventRows:
    """Events as columns. `places[n]`: where the n-th row stood among the events.

    In the order of (time, key) for all writers: two batches that share events would wait for each other otherwise.
    """

    places: Sequence[int]
    keys: list[bytes]
    subjects: list[int]
    types: list[int]
    times: list[int]
    properties: list[bytes]

    @classmethod
    def of(cls, events: Sequence[Event], subjects: Mapping[str, int], types: Mapping[str, int]) -> "EventRows":
        # Event.key, without a call for each.
        keys = [blake2b(f"{each.source}\0{each.id}".encode(), digest_size=16).digest() for each in events]
        ordered = sorted(
            zip(arrays.microseconds([each.time for each in events]), keys, range(len(events)), strict=True)
        )
        places = [place for _, _, place in ordered]
        rows = [events[place] for place in places]
        return cls(
            places=places,
            keys=[key for _, key, _ in ordered],
            subjects=[subjects[each.customer] for each in rows],
            types=[types[each.type] for each in rows],
            times=[time for time, _, _ in ordered],
            properties=[each.properties for each in rows],
        )

    def write(self) -> tuple[int, list[int]]:
        """How many rows are new, and which ones clash with another event under their identity and time."""
        with connection.wrap_database_errors, _cursor() as cursor:
            if _duplicates.are_unlikely(len(self.keys)) and self._copy(cursor):
                return len(self.keys), []
            values = self._arrays()
            new = cursor.execute(INSERT, values, prepare=True).rowcount
            _duplicates.seen(len(self.keys), len(self.keys) - new)
            if new == len(self.keys):
                return new, []
            return new, [place for (place,) in cursor.execute(DIFFERENT, values, prepare=True)]

    def write_each(self) -> tuple[list[int], list[int]]:
        """Which rows are new, and which ones clash: for few rows."""
        with connection.wrap_database_errors, _cursor() as cursor:
            values = self._arrays()
            written = {(time, key.bytes) for time, key in cursor.execute(INSERT_EACH, values, prepare=True)}
            new = []
            for row, one in enumerate(zip(self.times, self.keys, strict=True)):
                if one in written:
                    written.remove(one)  # the first of two in one statement is the new one
                    new.append(row)
            if len(new) == len(self.keys):
                return new, []
            return new, [place for (place,) in cursor.execute(DIFFERENT, values, prepare=True)]

    def _copy(self, cursor: psycopg.Cursor[Any]) -> bool:
        """All rows or none: false where one of them was there already."""
        row = COPY_ROW.pack
        columns = zip(self.keys, self.subjects, self.types, self.times, self.properties, strict=True)
        body = b"".join(
            [
                row(5, 16, key, 4, subject, 4, kind, 8, time, len(text) + 1, 1) + text
                for key, subject, kind, time, text in columns
            ]
        )
        try:
            with cursor.copy(COPY) as copy:
                copy.write(b"".join((COPY_HEAD, body, COPY_END)))
        except errors.UniqueViolation:
            _duplicates.seen(len(self.keys), 1)
            return False
        return True

    def _arrays(self) -> tuple[arrays.BinaryArray, ...]:
        return (
            arrays.UuidArray(self.keys),
            arrays.IntArray(self.subjects),
            arrays.IntArray(self.types),
            arrays.TimestampArray(self.times),
            arrays.JsonbArray(self.properties),
        )


class _Duplicates:
    """What this process has seen of late. COPY is quicker, but one duplicate makes it fail, with dead rows left."""

    def __init__(self) -> None:
        self._clean = 0

    def are_unlikely(self, rows: int) -> bool:
        return rows >= COPY_MIN_ROWS and self._clean >= CLEAN_BATCHES and not connection.in_atomic_block

    def seen(self, rows: int, duplicates: int) -> None:
        if duplicates:
            self._clean = 0
        elif rows >= COPY_MIN_ROWS:
            self._clean += 1


_duplicates = _Duplicates()


def _cursor() -> psycopg.Cursor[Any]:
    """Django's own cursors send parameters as text inside the statement; this one prepares and binds them."""
    if connection.connection is not None and _has_news(connection.connection):
        connection.close_if_health_check_failed()
    connection.ensure_connection()
    raw = connection.connection
    if raw not in _registered:
        arrays.register(raw.adapters)
        _registered.add(raw)
    return psycopg.Cursor(raw)


def _has_news(raw: psycopg.Connection[Any]) -> bool:
    """Whether the server said something unasked: its last word, as a rule. To ask costs a round trip a request."""
    if raw.closed:
        return True
    poll = select.poll()
    poll.register(raw.fileno(), select.POLLIN)
    return bool(poll.poll(0))
