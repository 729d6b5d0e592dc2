"""Reading events: what is taken exactly as sent, and what is refused by name."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meters import events
from meters.events import Decoded, Event, TooManyEventsError, decode, make_event
from meters.exact_json import MalformedError, RefusedError

NOW = datetime(2026, 1, 10, tzinfo=UTC)
GOOD = {"id": "e1", "source": "api", "type": "llm", "subject": "acme", "time": "2026-01-05T10:00:00Z", "data": {"n": 1}}


def read(body: Any, **options: Any) -> Decoded:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode(text, now=NOW, **options)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def refusal(body: Any) -> tuple[str, str]:
    decoded = read(body)
    assert not decoded.events
    (rejected,) = decoded.rejected
    assert rejected.message
    return rejected.path, rejected.code


def test_a_cloud_event() -> None:
    decoded = read({"specversion": "1.0", **GOOD})
    assert decoded.events == [Event("e1", "acme", "llm", datetime(2026, 1, 5, 10, tzinfo=UTC), b'{"n":1}', "api")]
    assert decoded.single


def test_a_plain_event_in_an_array() -> None:
    plain = {"id": "e1", "type": "llm", "customer": "acme", "time": "2026-01-05T11:00:00+01:00", "properties": {"n": 1}}
    (one,) = read([plain]).events
    assert one == Event("e1", "acme", "llm", datetime(2026, 1, 5, 10, tzinfo=UTC), b'{"n":1}')


def test_events_without_properties_do_not_hide_a_deep_one() -> None:
    deep: Any = {}
    for _ in range(40):
        deep = {"n": deep}
    found = read([*[without("data")] * 60, {**GOOD, "data": deep}])
    assert [(bad.index, bad.code) for bad in found.rejected] == [(60, "too_deep")]


def test_the_quick_and_the_slow_way_agree() -> None:
    """An unknown attribute, or an escape, sends the body the slow way."""
    body = [
        {**GOOD, "id": f"e{place}", "data": {"n": place, "text": "ü", "deep": {"er": [1, None]}}} for place in range(5)
    ]
    quick = read(json.dumps(body, ensure_ascii=False).encode())
    slow = read([{**each, "traceparent": "00-1"} for each in body])
    assert quick.events == slow.events
    assert list(quick.positions) == list(slow.positions)


@pytest.mark.parametrize(
    "text", ["0.1", "123456789012345678901234567890.123456789", "1e-30", "1E5", "-0.00", "9" * 100]
)
@pytest.mark.parametrize("more", ["", ',"x":"\\u0041"'])
def test_numbers_stay_exact(text: str, more: str) -> None:
    body = json.dumps(GOOD).replace('{"n": 1}', f'{{"n":{text}{more}}}').encode()
    (one,) = read(body).events
    stored = json.loads(one.properties, parse_float=Decimal, parse_int=Decimal)["n"]
    assert stored == Decimal(text)
    assert str(stored.as_tuple()) == str(Decimal(text).as_tuple())


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        (without("id"), "id", "required"),
        (without("time"), "time", "required"),
        (without("type"), "type", "required"),
        (without("subject"), "customer", "required"),
        ({**GOOD, "id": ""}, "id", "blank"),
        ({**GOOD, "id": 7}, "id", "not_text"),
        ({**GOOD, "subject": " "}, "subject", "blank"),
        ({**GOOD, "id": "x" * 257}, "id", "too_long"),
        ({**GOOD, "source": "x" * 1025}, "source", "too_long"),
        ({**GOOD, "customer": "other"}, "customer", "ambiguous"),
        ({**GOOD, "properties": {}}, "properties", "ambiguous"),
        ({**GOOD, "specversion": "0.3"}, "specversion", "unknown_specversion"),
        ({**GOOD, "datacontenttype": "text/xml"}, "datacontenttype", "not_json"),
        ({**without("data"), "data_base64": "aGk="}, "data_base64", "not_json"),
        ({**GOOD, "data": [1]}, "data", "not_an_object"),
        ({**GOOD, "time": "yesterday"}, "time", "invalid_time"),
        ({**GOOD, "time": "2026-01-05T10:00:00"}, "time", "no_offset"),
        ({**GOOD, "time": "0000-01-01T00:00:00Z"}, "time", "invalid_time"),
        ({**GOOD, "time": "0001-01-01T00:00:00Z"}, "time", "too_early"),
        ({**GOOD, "time": "9999-12-31T23:59:59Z"}, "time", "too_far_ahead"),
        ({**GOOD, "time": "2026-01-11T00:00:00.000001Z"}, "time", "too_far_ahead"),
        ({**GOOD, "data": {"a": {"b": "x\0y"}}}, "data.a.b", "null_character"),
        ({**GOOD, "data": {"a\0": 1}}, "data", "null_character"),
        ({**GOOD, "data": {"a": ["\ud800"]}}, "data.a[0]", "lone_surrogate"),
        ({**GOOD, "id": "\udfff"}, "id", "lone_surrogate"),
        ({**GOOD, "data": {"k" * 257: 1}}, "data.kkkkkkkkkkkkkkkkkkkk…", "key_too_long"),
        ({**GOOD, "data": {"k" * 10_000: 1}}, "data.kkkkkkkkkkkkkkkkkkkk…", "key_too_long"),
        ([1], "", "not_an_object"),
    ],
)
def test_what_is_wrong_is_named(body: Any, path: str, code: str) -> None:
    assert refusal(body) == (path, code)


@pytest.mark.parametrize(
    ("data", "path", "code"),
    [
        ('{"n": NaN}', "data.n", "not_a_number"),
        ('{"n": [1, -Infinity]}', "data.n[1]", "not_a_number"),
        ('{"n": 1e400}', "data.n", "number_too_big"),
        ('{"n": 1e-101}', "data.n", "number_too_big"),
        ('{"n": ' + "9" * 101 + "}", "data.n", "number_too_big"),
        ('{"n": 0.' + "1" * 99 + "}", "data.n", "number_too_big"),
        ('{"n": ' + "9" * 131_073 + "}", "data.n", "number_too_big"),
        ('{"a": 1, "b": 2, "a": 3}', "data.a", "repeated_key"),
        ('{"a": {"b": 1, "b": 1}}', "data.a.b", "repeated_key"),
        ('{"a":' * 33 + "1" + "}" * 33, "data", "too_deep"),
        ('{"a":' + "[" * 100 + "]" * 100 + "}", "data", "too_deep"),
    ],
)
def test_json_that_is_not_for_us(data: str, path: str, code: str) -> None:
    body = json.dumps(GOOD).replace('{"n": 1}', data)
    assert refusal(body.encode()) == (path, code)
    good = json.dumps({**GOOD, "id": "good"})
    decoded = read(f"[{good}, {body}]".encode())
    assert [each.id for each in decoded.events] == ["good"]
    assert [(each.index, each.id, each.code) for each in decoded.rejected] == [(1, "e1", code)]


def test_32_levels_are_taken_either_way() -> None:
    for attribute in ("", ',"traceparent":"00"'):
        body = json.dumps(GOOD).replace('{"n": 1}', '{"a":' * 32 + "1" + "}" * 32 + attribute)
        assert read(body.encode()).events


def test_a_repeated_attribute_of_the_event() -> None:
    assert refusal(json.dumps(GOOD)[:-1].encode() + b', "id": "e2"}') == ("id", "repeated_key")


def test_an_array_that_lies_in_an_object_is_sent_itself() -> None:
    (rejected,) = read(b'{"events": [{"id": "a"}]}').rejected
    assert (rejected.path, rejected.code) == ("events", "not_an_event")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b'[{"id": "a"}', "malformed_json"),
        (b'{"id": "a"} {"id": "b"}', "malformed_json"),
        (b'{"id": "a"}, {"id": "b"}', "malformed_json"),
        (b"[1,]", "malformed_json"),
        (b"[1 2]", "malformed_json"),
        (b'{"id": "\x01"}', "malformed_json"),
        (b'{"id": "\xff"}', "not_utf8"),
        (b"[" * 100_000, "too_deep"),
    ],
)
def test_a_body_that_cannot_be_read_at_all(body: bytes, code: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read(body)
    assert caught.value.code == code


def test_content_types_say_what_they_hold() -> None:
    with pytest.raises(MalformedError, match="array"):
        read(GOOD, single=False)
    with pytest.raises(MalformedError, match="one event"):
        read([GOOD], batch=False)


def test_an_empty_array_holds_nothing() -> None:
    assert read([]) == Decoded([], range(0), [])


@pytest.mark.parametrize("more", [{}, {"traceparent": "00"}])
def test_10_000_events_are_the_most(more: dict[str, str]) -> None:
    body = [{**GOOD, **more, "id": str(place)} for place in range(events.MAX_EVENTS + 1)]
    assert len(read(body[:-1]).events) == events.MAX_EVENTS
    with pytest.raises(TooManyEventsError):
        read(body)


def test_identity_is_source_and_id_and_nothing_else() -> None:
    keys = {
        read({**GOOD, "source": source, "id": name}).events[0].key
        for source, name in (("a", "bc"), ("ab", "c"), ("", "abc"), ("abc ", "x"))
    }
    assert len(keys) == 4
    (same,) = read({**GOOD, "data": {}, "time": "2026-01-06T10:00:00Z"}).events
    assert same.key == read(GOOD).events[0].key


def test_events_from_python_values() -> None:
    given: dict[str, Any] = {
        "id": "a",
        "customer": "acme",
        "type": "llm",
        "time": NOW,
        "properties": {"n": Decimal("0.1"), "m": 10**30},
    }
    assert make_event(given).properties == b'{"n":0.1,"m":1000000000000000000000000000000}'
    assert make_event({**given, "time": NOW + timedelta(days=1000)})
    for bad in (0.1, Decimal("NaN")):
        with pytest.raises(RefusedError) as caught:
            make_event({**given, "properties": {"n": bad}})
        assert caught.value.path == "properties.n"
    with pytest.raises(RefusedError, match="offset"):
        make_event({**given, "time": NOW.replace(tzinfo=None)})


texts = st.text('aé\u2028\U0001f600\\"/ \n', max_size=5)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)


@given(st.dictionaries(texts, values, max_size=4), st.booleans())
def test_whatever_json_holds_comes_back_the_same(data: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps({**GOOD, "data": data}, ensure_ascii=ascii_only).encode()
    (one,) = read(body).events
    assert json.loads(one.properties) == data


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    try:
        decoded = read(body)
    except MalformedError:
        return
    assert len(decoded.events) + len(decoded.rejected) <= 100
