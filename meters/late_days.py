"""The queue of late usage: which days of which customer keys had events counted after they were over.

Events of the day they are counted on are not noted, so a steady stream costs nothing.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

DAY = timedelta(days=1)
NOTE = """
INSERT INTO meters_lateday AS l (subject_id, day, passes)
SELECT subject, day, 1 FROM unnest(%s::int[], %s::timestamptz[]) AS t (subject, day) ORDER BY 1, 2
ON CONFLICT (subject_id, day) DO UPDATE SET passes = l.passes + 1
"""
FORGET = """
DELETE FROM meters_lateday AS l
USING unnest(%s::int[], %s::timestamptz[], %s::bigint[]) AS t (subject, day, passes)
WHERE (l.subject_id, l.day, l.passes) = (t.subject, t.day, t.passes)
"""


def note(touched: Iterable[tuple[int, datetime]]) -> None:
    """For the roller, in the transaction that counts the events."""
    over = timezone.now() - DAY
    late = sorted(each for each in touched if each[1] <= over)
    if late:
        _execute(NOTE, [[subject for subject, _ in late], [day for _, day in late]])


def forget(seen: Iterable[tuple[int, datetime, int]]) -> None:
    """Take rows (customer key, day, passes) off the queue. What was counted since they were read stays."""
    rows = sorted(seen)
    if rows:
        _execute(FORGET, [[row[place] for row in rows] for place in range(3)])


def _execute(statement: str, parameters: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
