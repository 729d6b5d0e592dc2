"""Months whose raw events lie in files alone: what still can be read of them, and what is not taken for them."""

from collections.abc import Iterable, Sequence
from datetime import UTC

from django.db.models import QuerySet

from billing_project.errors import RuleError
from meters.covering import Span, cover
from meters.events import Event, Rejection
from meters.exact_json import encode, parse_stored
from meters.models import EventArchive, Meter
from meters.partitions import dropped_months, month_of, next_month
from meters.periods import Period
from meters.usage_statement import UsageRequest

MESSAGE = "The events of {:%B %Y} are archived: restore that month (manage.py restore_events), then replay this one."


class ArchivedError(RuleError):
    """What was asked for needs raw events that lie in files."""

    status = 409


def set_aside(events: Sequence[Event]) -> tuple[int, ...]:
    """The places of events that happened in an archived month."""
    archived = dropped_months()
    if not archived:
        return ()
    return tuple(place for place, event in enumerate(events) if month_of(event.time) in archived)


def rejection(event: Event) -> Rejection:
    """Such an event as it is kept, to be replayed."""
    body = {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "customer": event.customer,
        "time": event.time.isoformat(),
        "properties": parse_stored(event.properties.decode()),
    }
    return Rejection(0, event.id, "time", "archived", MESSAGE.format(event.time), encode(body).decode())


def check_reach(requests: Iterable[UsageRequest], *, every_event: bool = False) -> None:
    """Buckets answer for archived months. Raises ArchivedError where only the events could.

    That is a meter made after they left, or a period that begins or ends within an hour of theirs.
    """
    archived = list(_dropped())
    for request in requests if archived else ():
        for archive in archived:
            meter = request.meter
            if not _may_count(meter, archive):
                continue
            period = request.period
            spans = [_span(period)] if _is_late(meter, archive) or every_event else list(cover(period).edges)
            if any(start < next_month(archive.month) and end > archive.month for start, end in spans):
                raise ArchivedError(
                    f"Usage of {meter.key} in {archive} has to be read from its events, which are archived: run "
                    f"manage.py restore_events {archive.month:%Y-%m} first.",
                    code="archived",
                )


def counted_without_events(meter: Meter, archive: EventArchive) -> bool:
    """Whether buckets answer for all of an archived month: the meter counted it before its events left."""
    return not (_may_count(meter, archive) and _is_late(meter, archive))


def _may_count(meter: Meter, archive: EventArchive) -> bool:
    return bool(set(meter.event_types) & set(archive.by_type))


def _is_late(meter: Meter, archive: EventArchive) -> bool:
    return meter.built_at is None or (archive.dropped_at is not None and meter.built_at > archive.dropped_at)


def _dropped() -> QuerySet[EventArchive]:
    return EventArchive.objects.exclude(dropped_at=None)


def _span(period: Period) -> Span:
    return period.starting_at.astimezone(UTC), period.ending_before.astimezone(UTC)
