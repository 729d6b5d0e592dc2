"""Quantities: the only reader of usage that the floors above use. Exact the moment a post is acknowledged."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from typing import Any
from uuid import UUID

from django.db import connection
from msgspec import Struct
from msgspec.structs import replace

from billing_project.prepared import ask
from meters.archived import check_reach
from meters.models import Aggregation
from meters.periods import Period
from meters.usage_parts import CURSOR_ASK, UNCONTESTED
from meters.usage_statement import Known, Tail, UsageRequest, UsageStatement

__all__ = ["Quantity", "UsageRequest", "quantities"]

Group = tuple[str | None, ...]

ZERO = Decimal(0)
# Wide enough for any sum of numbers an event may carry; only an average can need rounding.
EXACT = Context(prec=1000, rounding=ROUND_HALF_UP)
AVERAGE_UNIT = Decimal("1e-40")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ALWAYS = datetime(1, 1, 1, tzinfo=UTC)
SMALL = 100  # requests

KNOWN = """
SELECT c.xid, c.base_seq, c.system_identifier = s.system_identifier,
       EXISTS (SELECT FROM meters_eventarchive WHERE dropped_at IS NOT NULL)
FROM meters_rollupcursor AS c, pg_control_system() AS s WHERE c.id = 1
"""
MOST_FOUND = 1000  # events of the tail; of more than these each is not looked up, but read with the others
TAIL = """
WITH fresh AS MATERIALIZED (
    SELECT e.time, e.key FROM meters_event AS e
    WHERE {beyond} AND (e.subject_id IN (SELECT id FROM meters_subject WHERE key = ANY(%s))) IS TRUE
    LIMIT {limit}
), {tail_tables}
SELECT (SELECT count(*) FROM fresh), array_agg(e.time)::text, array_agg(e.key)::text
FROM fresh AS e WHERE {uncontested}
"""


class Quantity(Struct, frozen=True, gc=False):
    """The answer to the request `key` for one group: its `group_by` values in order, None where events have none."""

    key: int
    group: Group
    quantity: Decimal
    events: int


class _Measured(Struct, gc=False):
    events: int = 0
    total: Decimal = ZERO
    smallest: Decimal | None = None
    largest: Decimal | None = None
    last: tuple[datetime, UUID, Decimal] | None = None
    moment: Decimal = ZERO
    different: int = 0
    level_before: Decimal = ZERO

    def add(self, events: int, total: Decimal | None, smallest: Decimal | None, largest: Decimal | None) -> None:
        self.events += events
        if total is not None:
            self.total = EXACT.add(self.total, total)
        if smallest is not None:
            self.smallest = smallest if self.smallest is None else min(self.smallest, smallest)
        if largest is not None:
            self.largest = largest if self.largest is None else max(self.largest, largest)

    def add_last(self, time: datetime | None, key: UUID, value: Decimal) -> None:
        if time is not None and (self.last is None or (time, key) > self.last[:2]):
            self.last = (time, key, value)

    def add_more(self, moment: Decimal | None, different: int) -> None:
        if moment is not None:
            self.moment = EXACT.add(self.moment, moment)
        self.different += different

    def quantity(self, aggregation: Aggregation, period: Period) -> Decimal:
        match aggregation:
            case Aggregation.COUNT:
                return Decimal(self.events)
            case Aggregation.SUM:
                return self.total
            case Aggregation.AVERAGE:
                return _divided(self.total, Decimal(self.events))
            case Aggregation.MIN:
                return self.smallest or Decimal(0)
            case Aggregation.MAX:
                return self.largest or Decimal(0)
            case Aggregation.LATEST:
                return self.last[2] if self.last else Decimal(0)
            case Aggregation.UNIQUE_COUNT:
                return Decimal(self.different)
            case Aggregation.TIME_WEIGHTED:
                return self._time_weighted(period)

    def _time_weighted(self, period: Period) -> Decimal:
        """Level times seconds over the seconds of the period. A change holds from its instant to the period's end."""
        start, end = _seconds(period.starting_at), _seconds(period.ending_before)
        changes = EXACT.subtract(EXACT.multiply(self.total, end), self.moment)
        before = EXACT.multiply(self.level_before, EXACT.subtract(end, start))
        return _divided(EXACT.add(before, changes), EXACT.subtract(end, start))


def quantities(requests: Sequence[UsageRequest]) -> list[Quantity]:
    """The usage asked for, by one statement for any number of requests. Groups without a matching event are absent.

    Where the usage is a level, a group is there as long as its level is not zero.
    """
    if not requests:
        return []
    levels = [number for number, each in enumerate(requests) if _has_level_before(each)]
    measured: list[dict[Group, _Measured]] = [defaultdict(_Measured) for _ in requests]
    for row in _measure([*requests, *(_before(requests[number]) for number in levels)]):
        place, groups, events, total, smallest, largest, last_time, last_key, last_value, moment, different = row
        if place >= len(requests):
            found = measured[levels[place - len(requests)]][tuple(groups)]
            found.level_before = EXACT.add(found.level_before, total or Decimal(0))
            continue
        found = measured[place][tuple(groups)]
        found.add(events, total, smallest, largest)
        found.add_last(last_time, last_key, last_value)
        found.add_more(moment, different)
    return [
        Quantity(
            key=request.key,
            group=group,
            quantity=found.quantity(Aggregation(request.meter.aggregation), request.period),
            events=found.events,
        )
        for request, by_group in zip(requests, measured, strict=True)
        for group, found in sorted(by_group.items(), key=_in_order)
        if found.events or found.level_before
    ]


def _has_level_before(request: UsageRequest) -> bool:
    return request.meter.aggregation == Aggregation.TIME_WEIGHTED and request.period.starting_at > ALWAYS


def _before(request: UsageRequest) -> UsageRequest:
    """The changes that make the level with which a period begins."""
    return replace(request, period=Period(ALWAYS, request.period.starting_at))


def _seconds(instant: datetime) -> Decimal:
    since = instant - EPOCH
    return Decimal(since.days * 86400 + since.seconds) + Decimal(since.microseconds).scaleb(-6)


def _in_order(measured: tuple[Group, _Measured]) -> list[tuple[bool, str]]:
    return [(value is not None, value or "") for value in measured[0]]


def _divided(total: Decimal, by: Decimal) -> Decimal:
    """Exact where the quotient ends, else rounded half-up at 40 decimal places."""
    context = EXACT.copy()
    average = context.divide(total, by)
    return average.quantize(AVERAGE_UNIT, context=context) if context.flags[Inexact] else average


def known_cursor() -> Known:
    row = next(iter(ask(KNOWN)), None)
    if row is None:
        return Known()
    return Known(row[0], row[1], has_archives=row[3]) if row[2] else Known(is_ours=False, has_archives=row[3])


def _measure(requests: Sequence[UsageRequest]) -> list[tuple[Any, ...]]:
    while True:
        known = known_cursor()
        if known.has_archives:
            check_reach(requests)
        statement = UsageStatement(requests, known, _tail(requests, known))
        # Of many customers the planner should know how many: a plan made for any number of them is one for few.
        is_small = len(requests) <= SMALL and not statement.depends_on_cursor
        rows = (ask if is_small else _rows)(statement.text, statement.parameters)
        seen = next((row[2], int(row[3])) for row in rows if row[0] == CURSOR_ASK)
        if seen == (known.xid, known.base_seq) or not known.is_ours:
            return [row for row in rows if row[0] != CURSOR_ASK]
        # The roller moved between the two looks; that takes it a moment once in a pass.


def _tail(requests: Sequence[UsageRequest], known: Known) -> Tail | None:
    """The events of these customers that wait to be counted; None where there are too many, or all are asked for.

    One that comes after this look was not acknowledged before it. One that was counted since moved the cursor.
    """
    keys: set[str] = set()
    for request in requests:
        if request.customer_keys is None or not known.is_ours:
            return None
        keys.update(request.customer_keys)
    look = TAIL.format(
        beyond=known.beyond("e"), limit=MOST_FOUND + 1, tail_tables=known.tail_tables_of_fresh, uncontested=UNCONTESTED
    )
    ((found, times, places),) = _rows(look, [sorted(keys)])
    if found > MOST_FOUND:
        return None
    return Tail(times, places) if times else Tail()


def _rows(statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
