"""What arrived, newest first, read in bounded steps: events have no index but their time."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from hashlib import blake2b
from operator import or_
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet, TextField
from django.db.models.functions import Cast

from meters.activity import INSTANT, days_with_events
from meters.aggregation import known_cursor
from meters.models import Conflict, Event, EventKey, EventType, RejectedEvent

M = TypeVar("M", bound=Model)
# Read by one look at most, where nothing but a type narrows the events.
MOST_READ = 20_000
MOST_LISTED = 100
SMALLEST_KEY = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Place:
    """A place between events, in the order of time and key."""

    time: datetime
    key: uuid.UUID


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events to look for. `source` counts only with an `id`: the two are an event's identity."""

    customers: tuple[str, ...] = ()
    id: str = ""
    source: str = ""
    type: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: Place | None = None
    limit: int = 100

    @property
    def key(self) -> uuid.UUID | None:
        """The identity asked for, as it is kept."""
        if not self.id:
            return None
        return uuid.UUID(bytes=blake2b(f"{self.source}\0{self.id}".encode(), digest_size=16).digest())


@dataclass(frozen=True, slots=True)
class Page:
    """Events with their customer, type and `text`, their properties to the digit. `next`: where to look on."""

    events: list[Event]
    next: Place | None


def find_events(query: EventQuery) -> Page:
    """One step through the events: at most `limit`, and no more of them read than an answer may take."""
    found = _chosen(query)
    if found is None:
        return Page([], None)
    if query.customers and query.key is None:
        return _by_days(found, query)
    if query.type and query.key is None:
        return _by_reading(found, query)
    return _page(found, query)


def conflicts_of(keys: Collection[uuid.UUID]) -> list[Conflict]:
    """Events under the identities of others, with `text`; newest first."""
    found = as_text(Conflict.objects.filter(key__in=list(keys)))
    return list(found.order_by("-seen_at", "-pk")[:MOST_LISTED])


def rejections_of(event_id: str) -> list[RejectedEvent]:
    """What was not taken under an id, from whatever source."""
    return list(RejectedEvent.objects.filter(event_id=event_id)[:MOST_LISTED]) if event_id else []


def as_text(found: QuerySet[M]) -> Any:
    """With the properties as the database writes them: Python would read their numbers as binary floats."""
    return found.defer("properties").annotate(text=Cast("properties", TextField()))


def _chosen(query: EventQuery) -> QuerySet[Event] | None:
    found = Event.objects.all()
    if query.type:
        kind = EventType.objects.filter(name=query.type).values_list("pk", flat=True).first()
        if kind is None:
            return None
        found = found.filter(event_type_id=kind)
    if query.customers:
        found = found.filter(subject__key__in=query.customers)
    if query.since:
        found = found.filter(time__gte=query.since)
    if query.until:
        found = found.filter(time__lt=query.until)
    if query.key:
        found = _of_identity(found, query.key, anywhere=query.since is None)
    return _before(found, query.before)


def _before(found: QuerySet[Event], place: Place | None) -> QuerySet[Event]:
    if place is None:
        return found
    # The time alone tells the planner which months to leave alone.
    return found.filter(Q(time__lt=place.time) | Q(time=place.time, key__lt=place.key), time__lte=place.time)


def _of_identity(found: QuerySet[Event], key: uuid.UUID, *, anywhere: bool) -> QuerySet[Event]:
    """Without a time to look in: where the roller saw the identity, and among what it has not seen."""
    if not anywhere:
        return found.filter(key=key)
    times = list(EventKey.objects.filter(key=key).values_list("time", flat=True))
    known = known_cursor()
    tail = Q(xid__gte=known.xid, seq__gt=known.base_seq) if known.is_ours else Q(pk__in=[])
    return found.filter(Q(time__in=times) | tail, key=key)


def _by_days(found: QuerySet[Event], query: EventQuery) -> Page:
    """Only the days on which the customer sent anything are read."""
    until = min((each for each in (query.until, _last(query.before)) if each), default=None)
    days = days_with_events(query.customers, query.limit + 1, since=query.since, until=until)
    spans = [Q(time__gte=start, time__lt=end) for start, end in days]
    page = _page(found.filter(reduce(or_, spans, Q(pk__in=[]))), query)
    if page.next or not days:
        return page
    start = days[0][0]
    older = days_with_events(query.customers, 1, since=query.since, until=start - INSTANT)
    return Page(page.events, Place(start, SMALLEST_KEY)) if older else page


def _last(place: Place | None) -> datetime | None:
    """The last instant at which an event before the place can lie."""
    if place is None:
        return None
    return place.time - INSTANT if place.key == SMALLEST_KEY else place.time


def _by_reading(found: QuerySet[Event], query: EventQuery) -> Page:
    """Rare types: so many events are looked through, whatever they are, then the answer says where to go on."""
    everything = Event.objects.all()
    if query.since:
        everything = everything.filter(time__gte=query.since)
    if query.until:
        everything = everything.filter(time__lt=query.until)
    places = _before(everything, query.before).order_by("-time", "-key").values_list("time", "key")
    last = places[MOST_READ : MOST_READ + 1].first()
    if last is None:
        return _page(found, query)
    page = _page(found.filter(Q(time__gt=last[0]) | Q(time=last[0], key__gte=last[1]), time__gte=last[0]), query)
    return page if page.next else Page(page.events, Place(*last))


def _page(found: QuerySet[Event], query: EventQuery) -> Page:
    rows = as_text(found.select_related("subject", "event_type")).order_by("-time", "-key")[: query.limit + 1]
    events: list[Event] = list(rows)
    more = len(events) > query.limit
    events = events[: query.limit]
    return Page(events, Place(events[-1].time.astimezone(UTC), events[-1].key) if more else None)
