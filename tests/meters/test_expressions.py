"""Value expressions: what they mean, what is wrong with them, and that SQL and Python agree."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meters.events import make_event
from meters.expressions import ExpressionError, evaluate, parse, paths
from meters.ingest import ingest_events
from meters.models import Meter
from meters.periods import Period
from tests.meters import naive
from tests.meters.conftest import empty
from tests.meters.making import event, make_meter, usage

START = datetime(2026, 1, 5, tzinfo=UTC)
VALUES = {"a": Decimal(7), "b.c": Decimal(2), "zero": Decimal(0), "in-tokens": Decimal(5), "tiny": Decimal("1e-200")}


def result(text: str) -> Decimal | None:
    return evaluate(parse(text), lambda path: VALUES.get(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "7"),
        ("a - b.c - 1", "4"),
        ("a - (b.c - 1)", "6"),
        ("a + b.c * 3", "13"),
        ("a / b.c * 2", "7"),
        ("-a + 10", "3"),
        ("- - a", "7"),
        (' "in-tokens"*2 ', "10"),
        ("a / 3", "2." + "3" * 40),
        ("-a / 3 * 2", "-4." + "6" * 40),
        ("2 / 3 + zero", "0." + "6" * 39 + "7"),
        ("tiny * tiny", "0"),
    ],
)
def test_a_value(text: str, expected: str) -> None:
    assert result(text) == Decimal(expected)


@pytest.mark.parametrize("text", ["a / zero", "a / (a - 7)", "a + missing", "1 / tiny * a"])
def test_no_value(text: str) -> None:
    assert result(text) is None


def test_a_quotient_of_a_long_number_is_exact() -> None:
    assert evaluate(parse("long / 1"), {"long": Decimal("9" * 100)}.get) == Decimal("9" * 100)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 1, "the end where a name"),
        ("a +", 4, "the end where a name"),
        ("a + * b", 5, '"*" where a name'),
        ("a b", 3, '"b" where + - * / or the end'),
        ("(a + b", 7, 'the end where ")"'),
        ("a + b)", 6, '")" where'),
        ("a ; DROP", 3, '";" has no meaning'),
        ("a.", 2, '"." has no meaning'),
        ("1e3", 2, '"e3" where'),
        ("a ** b", 4, '"*" where'),
        ("(" * 21 + "a", 21, "nested deeper"),
        ("-" * 3000 + "a", 501, "at most 500"),
        ("+".join(["a"] * 21), 41, "more than 20"),
        ("9" * 51, 1, "at most 50"),
        ("a + \x00", 5, "has no meaning"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, position: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.position == position
    assert message in str(caught.value)


def test_the_properties_it_reads() -> None:
    assert paths(parse('a + b.c * (a - "x y")')) == ["a", "b.c", "x y"]


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ({"value_expression": "tokens -"}, "value_expression", "At character 9"),
        ({"value_expression": '"a..b"'}, "value_expression", "is not a property path"),
        ({"value_expression": "1 + 1"}, "value_expression", "at least one property"),
        ({"value_expression": "a", "value_property": "b"}, "value_expression", "not both"),
        ({"value_expression": "a", "aggregation": "count"}, "value_expression", "takes no expression"),
        ({"value_expression": "a", "aggregation": "unique_count"}, "value_expression", "takes no expression"),
    ],
)
@pytest.mark.django_db
def test_a_meter_with_a_bad_expression(given: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Meter(**{"key": "m", "name": "M", "event_types": ["llm"], "aggregation": "sum", **given}).full_clean()
    assert message in str(caught.value.error_dict[field])


@pytest.mark.django_db
def test_uncached_tokens() -> None:
    ingest_events(
        [
            event("a", input=100, cached=40),
            event("b", input=10),
            event("c", input="ten", cached=1),
            event("d", cached=None),
            event("e", input=True),
        ]
    )
    meter = make_meter("sum", "", key="uncached", value_expression="input - cached")
    assert usage(meter) == {(): (Decimal(70), 3)}


operands = st.sampled_from(["a", "b", "c.d", '"e-f"', "0", "1", "3", "0.5", "1000000", "missing"])
expressions = st.recursive(
    operands,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-{text}"),
    ),
    max_leaves=8,
)
values = st.one_of(
    st.none(),
    st.integers(-(10**12), 10**12),
    st.integers(-3, 3),
    st.decimals(-1000, 1000, places=9),
    st.sampled_from(["1e100", "1e-100", "9" * 100, "-0.7", "x", "", True, []]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(expressions, min_size=5, max_size=5),
    st.lists(st.tuples(values, values, values, values), min_size=1, max_size=8),
)
def test_sql_and_python_agree(committed: None, texts: list[str], rows: list[tuple[Any, ...]]) -> None:
    empty()
    stream = [
        {
            "id": str(place),
            "customer": "acme",
            "type": "llm",
            "time": START + timedelta(seconds=place),
            "properties": {"a": a, "b": b, "c": {"d": d}, "e-f": f},
        }
        for place, (a, b, d, f) in enumerate(rows)
    ]
    ingest_events([make_event(each) for each in stream])
    for place, text in enumerate(texts):
        meter = Meter(
            key=f"m{place}", name="M", event_types=["llm"], aggregation="latest", value_expression=f"a + 0 * b + {text}"
        )
        meter.full_clean()
        meter.save()
        for seconds in range(1, len(rows) + 1):
            period = Period(START, START + timedelta(seconds=seconds))
            assert usage(meter, period=period) == naive.usage(meter, stream, ("acme",), period), text
