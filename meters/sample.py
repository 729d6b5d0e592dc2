"""What a definition makes of the newest events, before anything is stored."""

from dataclasses import dataclass

from django.db.models import TextField
from django.db.models.functions import Cast

from meters.event_matches import Match, matches_of
from meters.models import Event, Meter

EVENTS = 100
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Sampled:
    event: Event
    text: str
    match: Match

    @property
    def group(self) -> str:
        return ", ".join(f"{key}: {value or 'none'}" for key, value in (self.match.group or {}).items()) or "–"


@dataclass(frozen=True, slots=True)
class Sample:
    """`events` were looked at, `matched` of them count; of those that do and do not the newest, some of each."""

    events: int
    matched: int
    shown: list[Sampled]
    left_out: list[Sampled]


def sample(meter: Meter) -> Sample:
    """The meter may be one that is not stored yet. Its definition must be clean."""
    newest = Event.objects.select_related("subject", "event_type").defer("properties")
    events = list(newest.annotate(text=Cast("properties", TextField())).order_by("-time", "-key")[:EVENTS])
    found = matches_of(events, [meter])
    rows = []
    for event in events:
        match = next(iter(found.get((event.time, event.key), [])), None)
        match = match or Match(meter.key, None, None, f"Its type is {event.event_type.name}.")
        rows.append(Sampled(event, getattr(event, "text", ""), match))
    counted = [row for row in rows if row.match.matched]
    left_out = [row for row in rows if not row.match.matched]
    return Sample(len(rows), len(counted), counted[:SHOWN], left_out[:SHOWN])
