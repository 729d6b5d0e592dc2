"""The one statement that reads usage: buckets where they reach, events where they do not, all in one snapshot.

Whole UTC days are read from day buckets, ragged hours from hour buckets, ragged edges from events behind it, and what
the roller has not counted yet (the tail) from events at or past it. In the tail an event whose identity is taken is
left out, as the roller will do.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC

from msgspec import Struct

from meters.covering import Covering, Span, cover, merge
from meters.matching import Parameters, distinct, group, is_among, matches, value
from meters.models import Aggregation, Meter
from meters.periods import Period
from meters.usage_parts import (
    AMONG_FRESH,
    ASKED,
    BUCKETS,
    BY_GROUP,
    BY_GROUP_OF_EVERYBODY,
    BY_LAST,
    CURSOR_ASK,
    DIFFERENT,
    EVENTS,
    EVERYBODY,
    FOUND,
    FRESH,
    IN_EDGES,
    LAST,
    LAST_OF_GROUP,
    LATEST,
    LOOSE,
    LOOSE_VALUES,
    MEASURED,
    NO_LAST,
    NO_MOMENT,
    OF_ALL_GROUPS,
    OF_TAIL,
    SHARED,
    STORED_VALUES,
    TAIL_TABLES,
    UNCONTESTED,
)


class UsageRequest(Struct, frozen=True, gc=False):
    """How much a meter measured for one customer (all its keys; None: everybody) in a period, split by group keys.

    `where` leaves out events whose group values are not among those named.
    """

    key: int
    meter: Meter
    customer_keys: tuple[str, ...] | None
    period: Period
    group_by: tuple[str, ...] = ()
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Known(Struct, frozen=True):
    """The cursor, read before the statement so that the planner sees constants; the statement reads it again.

    Where another server moved it, buckets and cursor mean nothing: everything is read from the events.
    """

    xid: int = 0
    base_seq: int = -1
    is_ours: bool = True
    has_archives: bool = False

    def beyond(self, alias: str) -> str:
        """The condition for an event that the roller has not reached."""
        conditions = [f"{alias}.xid >= {self.xid}"] if self.xid else []
        conditions += [f"{alias}.seq > {self.base_seq}"] if self.base_seq >= 0 else []
        return " AND ".join(conditions) or "true"

    @property
    def tail_tables(self) -> str:
        """What `tail` needs in the statement's WITH."""
        return TAIL_TABLES.format(beyond=self.beyond("o"), among="")

    @property
    def tail_tables_of_fresh(self) -> str:
        """The same where only the events in `fresh` matter."""
        return TAIL_TABLES.format(beyond=self.beyond("o"), among=AMONG_FRESH)

    @property
    def tail(self) -> str:
        """The condition for an event `e` that the roller has not reached, and will count."""
        return f"{self.beyond('e')} AND {UNCONTESTED}"


class Tail(Struct, frozen=True):
    """Events of the customers asked for that the roller has not reached and will count, found by a look before the
    statement: their times and keys, as arrays that PostgreSQL wrote and will read.
    """

    times: str = "{}"
    keys: str = "{}"


class _Question(Struct, frozen=True):
    """What requests of several customers have in common (`request` is one of them), and their places and customers."""

    request: UsageRequest
    shape: "_Shape"
    covering: Covering
    asks: list[int]
    who: list[int]


# A question, a span of its period, and whether the tail is meant.
_Part = tuple[_Question, Span, bool]


class UsageStatement:
    """Builds the statement for any number of requests. A row: place of the request, group values, the measures.

    The row of CURSOR_ASK holds the cursor in this snapshot: where it is not the known one, the rest is worth nothing.
    Without a `tail` that was found before, it looks for it. `depends_on_cursor` is false where there is one and no
    ragged edge: the text says nothing of the cursor then and is the same for all customers.
    """

    def __init__(self, requests: Sequence[UsageRequest], known: Known, tail: Tail | None = None) -> None:
        self.parameters = Parameters()
        self._known, self._tail = known, tail
        self._has_tail = tail != Tail()
        self._who: dict[tuple[str, ...] | None, int] = {}
        self._questions = self._asked_alike(requests)
        self._has_edges = any(each.covering.edges for each in self._questions)
        self.depends_on_cursor = tail is None or self._has_edges
        branches = [self._shared(), *self._buckets("day"), *self._buckets("hour"), *self._events(), *self._different()]
        self.text = " UNION ALL ".join(branches)

    def _asked_alike(self, requests: Sequence[UsageRequest]) -> list[_Question]:
        found: dict[tuple[object, ...], _Question] = {}
        for ask, request in enumerate(requests):
            keys = request.customer_keys
            alike = request.meter.pk, request.period, request.group_by, request.where, keys is None
            question = found.get(alike)
            if question is None:
                question = found[alike] = _Question(request, _shape(request), self._covering(request), [], [])
            question.asks.append(ask)
            question.who.append(self._who.setdefault(keys, len(self._who)))
        return [*found.values()]

    def _covering(self, request: UsageRequest) -> Covering:
        if request.meter.built_at is not None and self._known.is_ours:
            return cover(request.period)
        period = request.period
        return Covering((), (), ((period.starting_at.astimezone(UTC), period.ending_before.astimezone(UTC)),))

    def _shared(self) -> str:
        add = self.parameters.add
        named = [(who, key) for keys, who in self._who.items() if keys is not None for key in dict.fromkeys(keys)]
        return SHARED.format(
            who=add([who for who, _ in named], "int[]"),
            keys=add([key for _, key in named], "text[]"),
            everybody=EVERYBODY.format(who=self._who[None]) if None in self._who else "",
            events=self._loose_events() if self._has_tail or self._has_edges else "",
            cursor_ask=CURSOR_ASK,
            no_last=NO_LAST,
        )

    def _loose_events(self) -> str:
        sources = [self._of_tail()] if self._has_tail else []
        if self._has_edges:
            spans = self._in_spans(span for each in self._questions for span in each.covering.edges)
            sources.append(IN_EDGES.format(behind=f"NOT ({self._known.beyond('e')})", edges=spans))
        return LOOSE.format(fresh=self._fresh() if self._tail is None else "", sources=" UNION ALL ".join(sources))

    def _of_tail(self) -> str:
        if self._tail is None:
            return OF_TAIL.format(uncontested=UNCONTESTED)
        add = self.parameters.add
        return FOUND.format(times=add(self._tail.times, "text"), keys=add(self._tail.keys, "text"))

    def _fresh(self) -> str:
        periods = [each.request.period for each in self._questions]
        return FRESH.format(
            beyond=self._known.beyond("e"),
            times=self._in_spans((period.starting_at, period.ending_before) for period in periods),
            tail_tables=self._known.tail_tables_of_fresh,
        )

    def _in_spans(self, spans: Iterable[Span]) -> str:
        add = self.parameters.add
        return (
            " OR ".join(
                f"e.time >= {add(start, 'timestamptz')} AND e.time < {add(end, 'timestamptz')}"
                for start, end in merge(spans)
            )
            or "false"
        )

    def _buckets(self, size: str) -> Iterable[str]:
        """One branch for all requests that read the same columns of the group values."""
        shapes: dict[_Shape, list[_Part]] = defaultdict(list)
        for each in self._questions:
            for span in each.covering.days if size == "day" else each.covering.hours:
                shapes[each.shape].append((each, span, False))
        for shape, parts in shapes.items():
            yield self._bucket_branch(size, shape, parts)

    def _bucket_branch(self, size: str, shape: "_Shape", parts: Sequence[_Part]) -> str:
        asked = self._asked(parts)
        is_last = shape.aggregation == Aggregation.LATEST
        if not (shape.positions or shape.where or shape.everybody):
            return OF_ALL_GROUPS.format(
                size=size,
                measures=_measures(shape.aggregation, NO_LAST),
                asked=asked,
                last="latest" if is_last else "found",
                latest=LATEST.format(size=size) if is_last else "",
            )
        measures = _measures(shape.aggregation, LAST_OF_GROUP if is_last else NO_LAST)
        by_group = (BY_GROUP_OF_EVERYBODY if shape.everybody else BY_GROUP).format(
            size=size, measures=measures, asked=asked
        )
        return BUCKETS.format(by_group=by_group, measures=measures, **self._of_groups(shape))

    def _asked(self, parts: Sequence[_Part]) -> str:
        add = self.parameters.add
        numbers = [number for number, (question, *_) in enumerate(parts, start=1) for _ in question.asks]
        return ASKED.format(
            meters=add([question.request.meter.pk for question, *_ in parts], "int[]"),
            starts=add([start for _, (start, _), _ in parts], "timestamptz[]"),
            ends=add([end for _, (_, end), _ in parts], "timestamptz[]"),
            tails=add([is_tail for *_, is_tail in parts], "boolean[]"),
            questions=add(numbers, "int[]"),
            asks=add([ask for question, *_ in parts for ask in question.asks], "int[]"),
            who=add([who for question, *_ in parts for who in question.who], "int[]"),
        )

    def _of_groups(self, shape: "_Shape") -> dict[str, str]:
        add = self.parameters.add
        where = [f"g.values[{place}] = ANY({add(list(values), 'text[]')})" for place, values in shape.where]
        return {
            "groups": f"ARRAY[{', '.join(f'g.values[{position}]' for position in shape.positions)}]::text[]",
            "where": " AND ".join(where) or "true",
        }

    def _readings(self) -> Iterable[list[_Question]]:
        """The questions of each meter and split."""
        readings: dict[tuple[object, ...], list[_Question]] = defaultdict(list)
        for each in self._questions:
            request = each.request
            readings[request.meter.pk, request.group_by, request.where].append(each)
        return readings.values()

    def _events(self) -> Iterable[str]:
        for asked in self._readings():
            if not self._has_tail and not any(each.covering.edges for each in asked):
                continue
            meter = asked[0].request.meter
            measures = _event_measures(meter.aggregation)
            yield EVENTS.format(measures=measures, value=value(meter, self.parameters), **self._loose(asked))

    def _different(self) -> Iterable[str]:
        for asked in self._readings():
            meter = asked[0].request.meter
            if meter.aggregation == Aggregation.UNIQUE_COUNT:
                sources = [self._stored(size, asked) for size in ("day", "hour")]
                if self._has_tail or self._has_edges:
                    sources.append(LOOSE_VALUES.format(distinct=distinct(meter, self.parameters), **self._loose(asked)))
                yield DIFFERENT.format(no_last=NO_LAST, sources=" UNION ALL ".join(sources))

    def _stored(self, size: str, asked: Sequence[_Question]) -> str:
        parts = [
            (each, span, False)
            for each in asked
            for span in (each.covering.days if size == "day" else each.covering.hours)
        ]
        return STORED_VALUES.format(size=size, asked=self._asked(parts), **self._of_groups(asked[0].shape))

    def _loose(self, asked: Sequence[_Question]) -> dict[str, str]:
        """The events of the tail and of the edges that are asked for."""
        request = asked[0].request
        among = [is_among(key, values, self.parameters) for key, values in request.where]
        tails = [(each, (each.request.period.starting_at, each.request.period.ending_before), True) for each in asked]
        edges = [(each, span, False) for each in asked for span in each.covering.edges]
        return {
            "groups": group(request.group_by, self.parameters),
            "matches": " AND ".join([matches(request.meter, self.parameters), *among]),
            "asked": self._asked([*tails, *edges]),
        }


@dataclass(frozen=True, slots=True)
class _Shape:
    """What requests that are read by one branch have in common. Positions count from 1, as arrays in SQL do."""

    aggregation: str
    everybody: bool
    positions: tuple[int, ...]
    where: tuple[tuple[int, tuple[str, ...]], ...]


def _shape(request: UsageRequest) -> _Shape:
    """Raises ValueError for a group key that the meter does not keep."""
    place = request.meter.group_by.index
    return _Shape(
        aggregation=request.meter.aggregation,
        everybody=request.customer_keys is None,
        positions=tuple(place(key) + 1 for key in request.group_by),
        where=tuple((place(key) + 1, values) for key, values in request.where),
    )


def _measures(aggregation: str, last: str) -> str:
    taken = MEASURED.get(Aggregation(aggregation), {})
    measures = [f"{taken.get(name, 'NULL::numeric')} AS {name}" for name in ("total", "smallest", "largest", "moment")]
    *plain, moment = measures
    return ", ".join(["sum(events)::bigint AS events", *plain, last, moment, "0::bigint AS different"])


def _event_measures(aggregation: str) -> str:
    """The same columns from single events, whose value stands in `total`."""
    last = ", ".join(BY_LAST.format("total" if name == "last_value" else name, name) for name in LAST)
    moment = "sum(total * extract(epoch FROM last_time)) AS moment"
    return ", ".join(
        [
            "count(*) AS events, sum(total) AS total, min(total) AS smallest, max(total) AS largest",
            last if aggregation == Aggregation.LATEST else NO_LAST,
            moment if aggregation == Aggregation.TIME_WEIGHTED else NO_MOMENT,
            "0::bigint AS different",
        ]
    )
