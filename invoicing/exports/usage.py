"""Usage by UTC day, customer key, meter and group. A day is told anew whenever events of it came since.

Of months whose events were archived the buckets tell.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection

from contracts.models import CustomerKey
from invoicing.exports.columns import Kind, columns
from invoicing.exports.written import Written
from meters.aggregation import UsageRequest, quantities
from meters.archived import counted_without_events
from meters.models import EventArchive, Meter, Subject
from meters.partitions import next_month
from meters.periods import Period

COLUMNS = columns(
    export=Kind.INTEGER, day=Kind.DAY, customer_key=Kind.TEXT, customer=Kind.TEXT, meter=Kind.TEXT, group=Kind.JSON,
    quantity=Kind.EXACT, events=Kind.INTEGER,
)  # fmt: skip
TOUCHED = """
SELECT DISTINCT (e.time AT TIME ZONE 'UTC')::date AS day, e.subject_id FROM meters_event AS e
WHERE e.xid >= %(start)s AND e.xid < %(end)s ORDER BY 1, 2
"""
# Days of months whose events were archived: the buckets of meter 0 count every event.
ARCHIVED = """
SELECT (starting_at AT TIME ZONE 'UTC')::date AS day, subject_id FROM meters_daybucket
WHERE meter_id = 0 AND starting_at >= %s AND starting_at < %s GROUP BY 1, 2 ORDER BY 1, 2
"""
# So many days of customers are asked for at once, each with every meter.
MOST_REQUESTS = 2_000
Touched = Sequence[tuple[date, int]]


def usage_by_day(written: Written) -> Iterator[tuple[Any, ...]]:
    for meters, touched in _asked(written):
        step = max(1, MOST_REQUESTS // len(meters))
        for place in range(0, len(touched), step):
            yield from _rows(written.number, touched[place : place + step], meters)


def most_rows(written: Written) -> int:
    """A row for each meter and day of a customer with new events, if all meters counted them and none has groups."""
    return sum(len(meters) * len(touched) for meters, touched in _asked(written))


def left_out(written: Written) -> list[dict[str, str]]:
    """Meters and months that cannot be told: the meter was made after the events of the month had left for files."""
    known = set(written.known_meters)
    return [
        {"meter": meter.key, "month": f"{archive.month:%Y-%m}"}
        for meter in Meter.objects.order_by("key")
        for archive in _archives(None if meter.key not in known else written.since)
        if not counted_without_events(meter, archive)
    ]


def _asked(written: Written) -> Iterator[tuple[list[Meter], Touched]]:
    """Meters, and the days of customers they are asked for."""
    meters = list(Meter.objects.order_by("key"))
    known = [meter for meter in meters if meter.key in written.known_meters]
    new = [meter for meter in meters if meter.key not in written.known_meters]
    for chosen, start, since in ((known, written.start, written.since), (new, 0, None)):
        if chosen:
            yield chosen, _touched(start, written.end)
            for archive in _archives(since):
                counting = [meter for meter in chosen if counted_without_events(meter, archive)]
                if counting:
                    yield counting, _days(ARCHIVED, [archive.month, next_month(archive.month)])


def _archives(since: datetime | None) -> list[EventArchive]:
    """Months whose events lie in files alone, of those that left since an instant."""
    rows = EventArchive.objects.exclude(dropped_at=None).order_by("month")
    return list(rows if since is None else rows.filter(dropped_at__gte=since))


def _touched(start: int, end: int) -> Touched:
    return _days(TOUCHED, {"start": start, "end": end})


def _days(statement: str, parameters: Any) -> Touched:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _rows(number: int, touched: Touched, meters: list[Meter]) -> Iterator[tuple[Any, ...]]:
    subjects = dict(Subject.objects.filter(pk__in={pk for _, pk in touched}).values_list("pk", "key"))
    owners = dict(CustomerKey.objects.filter(key__in=subjects.values()).values_list("key", "customer__key"))
    asked = [(day, subjects[pk], meter) for day, pk in touched for meter in meters]
    requests = [
        UsageRequest(place, meter, (key,), _day(day), tuple(meter.group_by))
        for place, (day, key, meter) in enumerate(asked)
    ]
    for found in quantities(requests):
        day, key, meter = asked[found.key]
        group = dict(zip(meter.group_by, found.group, strict=True))
        yield (number, day, key, owners.get(key), meter.key, group, found.quantity, found.events)


def _day(day: date) -> Period:
    start = datetime.combine(day, time.min, UTC)
    return Period(start, start + timedelta(days=1))
