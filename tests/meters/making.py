"""Meters, events and readings in one line each."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from meters.aggregation import UsageRequest, quantities
from meters.events import Event, make_event
from meters.models import Meter
from meters.periods import Period
from meters.rollup import RollResult, roll_up

JANUARY = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def make_meter(aggregation: str = "sum", value_property: str = "tokens", **more: Any) -> Meter:
    given = {"key": f"{aggregation}-{value_property or 'events'}", "event_types": ["llm"], **more}
    meter = Meter(name=given["key"], aggregation=aggregation, value_property=value_property, **given)
    meter.full_clean()
    meter.save()
    return meter


def event(event_id: str, time: str = "2026-01-05T10:00:00", customer: str = "acme", **more: Any) -> Event:
    envelope = {"id": event_id, "customer": customer, "time": at(time)}
    envelope["type"] = more.pop("type", "llm")
    envelope["source"] = more.pop("source", "api")
    return make_event({**envelope, "properties": more})


def usage(
    meter: Meter, customers: Sequence[str] = ("acme",), period: Period = JANUARY, group_by: Sequence[str] | None = None
) -> dict[tuple[str | None, ...], tuple[Decimal, int]]:
    keys = tuple(meter.group_by if group_by is None else group_by)
    found = quantities([UsageRequest(1, Meter.objects.get(pk=meter.pk), tuple(customers), period, keys)])
    return {each.group: (each.quantity, each.events) for each in found}


def settled() -> None:
    """Wait for transactions elsewhere on the server: the roller's horizon knows nothing of databases."""
    reached, goal = _horizon()
    for _ in range(600):
        if reached >= goal:
            return
        time.sleep(0.1)
        reached = _horizon()[0]
    raise TimeoutError("a transaction on this server has been open for a minute")


def _horizon() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint"
            " FROM pg_current_snapshot() AS now"
        )
        xmin, xmax = cursor.fetchone()
        return xmin, xmax


def rolled(batch: int = 100_000) -> RollResult:
    """A pass with nothing in its way."""
    settled()
    return roll_up(batch)
