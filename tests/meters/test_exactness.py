"""Any split into batches, any order, any repetition, any interleaving with the roller: always the naive recount."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meters import aggregation
from meters.events import make_event
from meters.ingest import ingest_events
from meters.models import Meter
from meters.periods import Period
from meters.recount import find_drift
from meters.rollup import roll_up
from tests.meters import naive
from tests.meters.conftest import empty
from tests.meters.making import make_meter, rolled, usage

START = datetime(2026, 1, 30, 22, tzinfo=UTC)
MINUTES = 60 * 24 * 4

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
numbers: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(10**12), 10**12),
    st.decimals(-1000, 1000, places=9),
    st.decimals(-5, 5, places=2).map(str),
    st.sampled_from(["1e3", "-.5", "7.", "1e400", "NaN", "Infinity", "ten", "", " 1", "0x10", "1_000", True, None, []]),
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "tokens": numbers,
        "seats": numbers,
        "model": st.sampled_from(["a", "b", 1, None]),
        "nested": st.just({"region": "eu"}),
        "nested.region": st.sampled_from(["us", None, 2]),
        "cached.tokens": numbers,
        "cached": st.fixed_dictionaries({}, optional={"tokens": numbers, "in.all": numbers}),
    },
)
moments = st.one_of(
    st.integers(0, MINUTES * 60).map(lambda seconds: START + timedelta(seconds=seconds)),
    st.sampled_from([0, 60, 120, 26 * 60, 50 * 60, 50 * 60 - 1]).map(
        lambda minutes: START + timedelta(minutes=minutes)
    ),
)
streams = st.lists(
    st.fixed_dictionaries(
        {
            "customer": st.sampled_from(["acme", "acme-eu", "other"]),
            "type": st.sampled_from(["llm", "llm", "llm", "image"]),
            "time": moments,
            "properties": properties,
        }
    ),
    max_size=25,
).map(lambda events: [{**event, "id": f"e{place}"} for place, event in enumerate(events)])


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]] | None]]:
    """A stream, and how it arrives: shuffled, repeated, in batches, with passes of the roller (None) in between."""
    stream = draw(streams)
    again = draw(st.lists(st.sampled_from(stream), max_size=10)) if stream else []
    order = draw(st.permutations(stream + again))
    arriving: list[list[dict[str, Any]] | None] = []
    while order:
        size = draw(st.integers(1, len(order)))
        arriving.append(order[:size])
        order = order[size:]
        arriving += [None] * draw(st.integers(0, 1))
    return stream, arriving


def make_meters() -> list[Meter]:
    return [
        make_meter("count", "", key="count"),
        make_meter("sum", group_by=["model", "nested.region"]),
        make_meter("min"),
        make_meter("max", group_by=["model"]),
        make_meter("average"),
        make_meter("unique_count", "model", group_by=["nested.region"]),
        make_meter("time_weighted", group_by=["model"]),
        make_meter("sum", "", key="expression", value_expression="(tokens + 1) / seats * 2 - cached.tokens"),
        make_meter("sum", "cached.in.all", filters=[{"property": "nested.region", "exists": True}]),
        make_meter("latest", filters=[{"property": "model", "not_in": ["b"]}, {"property": "tokens", "gte": "0"}]),
    ]


@quick
@given(deliveries(), st.integers(0, MINUTES), st.integers(1, MINUTES), st.booleans(), st.sampled_from([1000, 2]))
def test_usage_equals_a_naive_recount(
    committed: None, delivery: tuple[list[Any], list[Any]], start: int, length: int, late_meters: bool, found: int
) -> None:
    stream, arriving = delivery
    period = Period(START + timedelta(minutes=start), START + timedelta(minutes=start + length))
    empty()
    meters = [] if late_meters else make_meters()
    for batch in arriving:
        if batch is None:
            roll_up()
        else:
            ingest_events([make_event(each) for each in batch])
    meters = meters or make_meters()
    for step in ("as it is", "all counted"):
        for meter in meters:
            expected = naive.usage(meter, with_key_order(stream), ("acme", "acme-eu"), period)
            with patch.object(aggregation, "MOST_FOUND", found):
                assert usage(meter, ("acme", "acme-eu"), period) == expected, step
        while rolled().more:
            pass
    assert find_drift() == []


def with_key_order(stream: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of two events at one instant the one with the larger hash is the later one, whichever came first."""
    return sorted(stream, key=lambda event: make_event(event).key)


@quick
@given(st.lists(numbers, min_size=1, max_size=20))
def test_sql_and_python_agree_on_what_a_number_is(committed: None, values: list[Any]) -> None:
    empty()
    meter = make_meter()
    stream = [
        {"id": str(place), "customer": "acme", "type": "llm", "time": START, "properties": {"tokens": each}}
        for place, each in enumerate(values)
    ]
    ingest_events([make_event(each) for each in stream])
    period = Period(START, START + timedelta(minutes=1))
    assert usage(meter, period=period) == naive.usage(meter, stream, ("acme",), period)


@pytest.mark.parametrize("text", ["5", "5.", ".5", "+5", "-0.50", "1e2", "1E-100", "0" * 100, "9" * 100, "1e+0100"])
def test_numeric_text(committed: None, text: str) -> None:
    ingest_events(
        [make_event({"id": "a", "customer": "acme", "type": "llm", "time": START, "properties": {"tokens": text}})]
    )
    meter = make_meter()
    assert usage(meter, period=Period(START, START + timedelta(minutes=1))) == {(): (Decimal(text), 1)}
