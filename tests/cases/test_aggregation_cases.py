"""What meters measure: the golden cases, through the reading of real events."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from meters.event_matches import matches_of
from meters.events import Event, make_event
from meters.exact_json import parse
from meters.ingest import ingest_events
from meters.models import Event as StoredEvent
from meters.models import Meter
from meters.periods import Period
from tests.cases import cases
from tests.meters.making import make_meter, usage

START = datetime(2026, 1, 1, tzinfo=UTC)
ALL = Period(START, datetime(2026, 2, 1, tzinfo=UTC))
AGGREGATIONS = {"weighted_sum": "time_weighted"}
REASONS = {"missing_value": "It has no property", "nan": "is no number: NaN", "not_a_number": "is no number: not a"}


def meter_of(case: Any, aggregation: str) -> Meter:
    named = case["params"]["property"] if aggregation != "count" else None
    keys = list((case["params"].get("group_by") or {}).values())
    return make_meter(aggregation, named or "", key="measured", event_types=["case"], group_by=keys)


def sent(event_id: str, time: datetime, properties: Any) -> Event:
    given = {"id": event_id, "customer": "acme", "type": "case", "source": "case", "time": time}
    return make_event({**given, "properties": properties})


def at(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else START


@pytest.mark.django_db
@pytest.mark.parametrize(
    "case", cases("aggregation", "sum", "count", "min", "max", "latest", "unique_count", "weighted_sum")
)
def test_quantity(case: Any) -> None:
    params, expected = case["params"], case["expected"]
    meter = meter_of(case, AGGREGATIONS.get(case["model"], case["model"]))
    events = [
        sent(each.get("transaction_id", str(place)), at(each.get("time")), parse_numbers(each["data"]))
        for place, each in enumerate(case["input"]["events"])
    ]
    if "initial_value" in params:
        events.append(sent("before", START.replace(year=2000), {params["property"]: params["initial_value"]}))
    ingest_events(events)
    period = Period(at(params["period_from"]), at(params["period_to"])) if "period_from" in params else ALL
    found = usage(meter, period=period)
    quantity, number = found.get((), (None, 0))
    if expected["value"] is None:
        assert quantity is None
        return
    wanted = Decimal(expected["value"])
    assert (quantity or Decimal(0)).quantize(wanted, ROUND_HALF_UP) == wanted
    assert number == expected.get("events_count", number)


def parse_numbers(data: Any) -> Any:
    """The file's numbers as they stand in it."""
    if isinstance(data, dict):
        return {name: parse_numbers(value) for name, value in data.items()}
    return Decimal(repr(data)) if isinstance(data, float) else data


@pytest.mark.django_db
@pytest.mark.parametrize("case", cases("aggregation", "value_parse"))
def test_value_of_an_event(case: Any) -> None:
    expected = case["expected"]
    meter = meter_of(case, case["params"]["aggregation"])
    if expected.get("error") == "invalid_json":
        with pytest.raises(ValueError, match="Expecting"):
            parse(case["input"]["data"])
        return
    ingest_events([sent("only", START, parse(case["input"]["data"]))])
    stored = StoredEvent.objects.select_related("event_type").get()
    (match,) = matches_of([stored], [meter])[stored.time, stored.key]
    assert match.value == expected.get("value")
    assert REASONS[expected["error"]] in match.reason if "error" in expected else not match.reason
