"""Customers whose usage changed, for whoever acts on that: in seconds, and without looking at everyone.

The roller writes one row for each customer key it counted, with the number of its pass; the passes commit one after the
other. Readers know each other not: each has a name and remembers the pass up to which it has seen to everything. It
moves on when its work is done, so a reader that is killed sees the same customers again. Word of a pass goes out
when it commits.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Max, Min
from django.utils import timezone

from billing_project.locks import holding
from billing_project.notices import USAGE_COUNTED, tell
from meters.models import Subject, Touched, TouchFailure, TouchReader

MOST = 1000
FIRST_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(hours=1)
NOTE = """
INSERT INTO meters_touched (subject_id, number, at)
SELECT subject, (SELECT coalesce(max(number), 0) + 1 FROM meters_touched), clock_timestamp()
FROM unnest(%s::int[]) AS t (subject) ORDER BY 1
ON CONFLICT (subject_id) DO UPDATE SET number = excluded.number, at = excluded.at
"""


@dataclass(slots=True)
class Batch:
    """Customer keys (by id) to see to. Whoever sees to them notes in `failed`, by key, what could not be done."""

    number: int = 0
    keys: dict[int, str] = field(default_factory=dict)
    more: bool = False
    failed: dict[str, str] = field(default_factory=dict)


def note(subjects: Collection[int]) -> None:
    """For the roller, in the transaction that counts the events."""
    if subjects:
        _execute(NOTE, [sorted(subjects)])
        tell(USAGE_COUNTED)


@contextmanager
def reading(reader: str, most: int = MOST) -> Iterator[Batch | None]:
    """The next customers of a reader; seen to when the block ends, unless it raises. None while another process
    reads under the same name. What failed is given again later, alone.
    """
    with holding("touched", reader) as held:
        if not held:
            yield None
            return
        batch = _next(reader, most)
        yield batch
        _settle(reader, batch)


def oldest_unread(reader: str) -> datetime | None:
    """Since when a customer waits for a reader; None if none does."""
    reached = TouchReader.objects.filter(name=reader).values_list("number", flat=True).first() or 0
    found: datetime | None = Touched.objects.filter(number__gt=reached).aggregate(at=Min("at"))["at"]
    return found


def failures(reader: str | None = None) -> list[TouchFailure]:
    rows = TouchFailure.objects.select_related("subject").order_by("reader", "subject")
    return list(rows.filter(reader=reader) if reader else rows)


def _next(reader: str, most: int) -> Batch:
    reached = TouchReader.objects.filter(name=reader).values_list("number", flat=True).first() or 0
    unread = Touched.objects.filter(number__gt=reached)
    # The passes that the first `most` rows are of, whole.
    until = unread.order_by("number").values_list("number", flat=True)[most - 1 : most].first()
    if until is None:
        until = unread.aggregate(last=Max("number"))["last"] or reached
    wanted = set(unread.filter(number__lte=until).values_list("subject", flat=True))
    again = TouchFailure.objects.filter(reader=reader, retry_at__lte=timezone.now()).values_list("subject", flat=True)
    keys = dict(Subject.objects.filter(pk__in=wanted | set(again[:most])).values_list("pk", "key"))
    return Batch(until, keys, more=Touched.objects.filter(number__gt=until).exists())


def _settle(reader: str, batch: Batch) -> None:
    failed = {pk: batch.failed[key] for pk, key in batch.keys.items() if key in batch.failed}
    with transaction.atomic():
        TouchReader.objects.update_or_create(name=reader, defaults={"number": batch.number})
        if batch.keys:
            mended = TouchFailure.objects.filter(reader=reader, subject__in=batch.keys.keys() - failed.keys())
            mended.delete()
        _note_failures(reader, failed)


def _note_failures(reader: str, failed: Mapping[int, str]) -> None:
    now = timezone.now()
    known = {row.subject_id: row for row in TouchFailure.objects.filter(reader=reader, subject__in=failed)}
    for subject, error in failed.items():
        if subject in known:
            wait = min(FIRST_WAIT * 2 ** min(known[subject].attempts, 12), LONGEST_WAIT)
            rows = TouchFailure.objects.filter(pk=known[subject].pk)
            rows.update(attempts=F("attempts") + 1, retry_at=now + wait, error=error)
        else:
            TouchFailure.objects.create(reader=reader, subject_id=subject, retry_at=now + FIRST_WAIT, error=error)


def _execute(statement: str, parameters: list[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
