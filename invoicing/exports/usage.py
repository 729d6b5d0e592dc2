"""Usage by UTC day, customer key, meter and group. A day is told anew whenever events of it came since."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection

from contracts.models import CustomerKey
from invoicing.exports.columns import Kind, columns
from invoicing.exports.written import Written
from meters.aggregation import UsageRequest, quantities
from meters.models import Meter, Subject
from meters.periods import Period

COLUMNS = columns(
    export=Kind.INTEGER, day=Kind.DAY, customer_key=Kind.TEXT, customer=Kind.TEXT, meter=Kind.TEXT, group=Kind.JSON,
    quantity=Kind.EXACT, events=Kind.INTEGER,
)  # fmt: skip
TOUCHED = """
SELECT DISTINCT (e.time AT TIME ZONE 'UTC')::date AS day, e.subject_id FROM meters_event AS e
WHERE e.xid >= %(start)s AND e.xid < %(end)s ORDER BY 1, 2
"""
# So many days of customers are asked for at once, each with every meter.
MOST_REQUESTS = 2_000
Touched = Sequence[tuple[date, int]]


def usage_by_day(written: Written) -> Iterator[tuple[Any, ...]]:
    meters = list(Meter.objects.order_by("key"))
    known = [meter for meter in meters if meter.key in written.known_meters]
    new = [meter for meter in meters if meter.key not in written.known_meters]
    yield from _days(written, known, written.start)
    yield from _days(written, new, 0)


def most_rows(written: Written) -> int:
    """A row for each meter and day of a customer with new events, if all meters counted them and none has groups."""
    meters = list(Meter.objects.values_list("key", flat=True))
    new = sum(1 for key in meters if key not in written.known_meters)
    days = len(_touched(written.start, written.end))
    return days * (len(meters) - new) + (len(_touched(0, written.end)) * new if new else 0)


def _days(written: Written, meters: list[Meter], start: int) -> Iterator[tuple[Any, ...]]:
    if not meters:
        return
    touched = _touched(start, written.end)
    step = max(1, MOST_REQUESTS // len(meters))
    for place in range(0, len(touched), step):
        yield from _rows(written.number, touched[place : place + step], meters)


def _touched(start: int, end: int) -> Touched:
    with connection.cursor() as cursor:
        cursor.execute(TOUCHED, {"start": start, "end": end})
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
