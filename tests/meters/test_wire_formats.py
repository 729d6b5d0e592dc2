"""What Lago's, Metronome's, Orb's and Stripe's clients send, read as events: fields, times, identity, refusals."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meters.events import MAX_EVENTS, Decoded, TooManyEventsError, make_event
from meters.exact_json import MalformedError
from meters.wire import lago, metronome, orb, stripe_v1, stripe_v2
from meters.wire.reading import Arrival, Untimed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ARRIVAL = Arrival(NOW, "req-7")
TIME = datetime(2026, 1, 31, 23, 59, 59, 500_000, tzinfo=UTC)
SECONDS = "1769903999.5"
Decode = Callable[[bytes], Decoded]

# By format: how a batch is read, and its names of id, customer, type, time and properties.
BATCHES: dict[str, tuple[Decode, tuple[str, str, str, str, str], str]] = {
    "lago": (
        lambda body: lago.decode(body, ARRIVAL),
        ("transaction_id", "external_subscription_id", "code", "timestamp", "properties"),
        "events",
    ),
    "metronome": (
        lambda body: metronome.decode(body, ARRIVAL),
        ("transaction_id", "customer_id", "event_type", "timestamp", "properties"),
        "",
    ),
    "orb": (
        lambda body: orb.decode(body, ARRIVAL),
        ("idempotency_key", "external_customer_id", "event_name", "timestamp", "properties"),
        "events",
    ),
    "stripe": (
        lambda body: stripe_v2.decode_stream(body, ARRIVAL),
        ("identifier", "payload.stripe_customer_id", "event_name", "timestamp", "payload"),
        "events",
    ),
}


def sent(names: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    """An event in a format's own names; `changes` by ours, None to leave one out."""
    ours = {
        "id": "a-1",
        "customer": "acme",
        "type": "llm",
        "time": "2026-01-31T23:59:59.5Z",
        "properties": {"units": 3},
    }
    kept = {name: value for name, value in {**ours, **changes}.items() if value is not None}
    theirs = dict(zip(ours, names, strict=True))
    made = {theirs[name]: value for name, value in kept.items() if name in theirs}
    if theirs["customer"].startswith("payload."):
        customer = {theirs["customer"].removeprefix("payload."): made.pop(theirs["customer"], None)}
        payload = made.get("payload", {})
        made["payload"] = {**payload, **{k: v for k, v in customer.items() if v is not None}}
    return made


def body(events: list[Any], wrapper: str) -> bytes:
    return json.dumps({wrapper: events} if wrapper else events).encode()


def read(kind: str, *events: Any) -> Decoded:
    decode, _, wrapper = BATCHES[kind]
    return decode(body(list(events), wrapper))


formats = pytest.mark.parametrize("kind", BATCHES)


@formats
def test_an_event_is_the_same_whoever_sends_it(kind: str) -> None:
    found = read(kind, sent(BATCHES[kind][1])).events
    ours = make_event({"id": "a-1", "customer": "acme", "type": "llm", "time": TIME, "properties": {"units": 3}})
    assert found == [ours]
    assert found[0].key == ours.key, "one source for all who name none: sent by two clients it counts once"


@pytest.mark.parametrize("kind", ["lago", "metronome", "orb"])
def test_properties_may_be_missing(kind: str) -> None:
    (found,) = read(kind, sent(BATCHES[kind][1], properties=None)).events
    assert found.properties == b"{}"


@formats
def test_numbers_are_kept_to_the_digit(kind: str) -> None:
    decode, names, wrapper = BATCHES[kind]
    text = body([sent(names, properties={"units": "HERE"})], wrapper).replace(
        b'"HERE"', b"0.10000000000000000000000001"
    )
    assert decode(text).events[0].properties == b'{"units":0.10000000000000000000000001}'


@formats
@pytest.mark.parametrize(
    ("ours", "value", "code"),
    [
        ("id", "", "blank"),
        ("id", 5, "not_text"),
        ("id", "x" * 257, "too_long"),
        ("customer", None, "required"),
        ("customer", "  ", "blank"),
        ("customer", 5, "not_text"),
        ("type", None, "required"),
        ("type", "a\0b", "null_character"),
        ("time", "yesterday", "invalid_time"),
        ("time", True, "invalid_time"),
        ("time", "", "invalid_time"),
        ("time", "0000-01-01T00:00:00Z", "invalid_time"),
        ("time", "0001-01-01T00:00:00Z", "too_early"),
        ("time", "9999-12-31T23:59:59Z", "too_far_ahead"),
        ("time", "2026-03-02T12:00:01Z", "too_far_ahead"),
    ],
)
def test_what_is_refused_names_the_clients_own_field(kind: str, ours: str, value: Any, code: str) -> None:
    names = BATCHES[kind][1]
    name = dict(zip(("id", "customer", "type", "time", "properties"), names, strict=True))[ours]
    found = read(kind, sent(names), sent(names, **{ours: value}))
    assert [event.id for event in found.events] == ["a-1"]
    (bad,) = found.rejected
    assert (bad.index, bad.path, bad.code) == (1, name, code)
    assert name.rpartition(".")[2] in bad.message or code == "null_character"
    assert json.loads(bad.body)


@pytest.mark.parametrize("kind", ["lago", "metronome", "orb"])
@pytest.mark.parametrize(("ours", "value", "code"), [("id", None, "required"), ("properties", [1], "not_an_object")])
def test_what_only_stripe_reads_otherwise(kind: str, ours: str, value: Any, code: str) -> None:
    test_what_is_refused_names_the_clients_own_field(kind, ours, value, code)


@formats
def test_a_bad_event_leaves_the_others_their_places(kind: str) -> None:
    good = [sent(BATCHES[kind][1], id=f"a-{n}") for n in range(3)]
    found = read(kind, good[0], 17, good[1], [], good[2])
    assert [event.id for event in found.events] == ["a-0", "a-1", "a-2"]
    assert list(found.positions) == [0, 2, 4]
    assert [(bad.index, bad.code) for bad in found.rejected] == [(1, "not_an_object"), (3, "not_an_object")]


@formats
@pytest.mark.parametrize(
    "text", [b"", b"null", b"{", b"[1,", b'"events"', b"\xff", b'{"events": {}}', b'{"event": []}']
)
def test_a_body_that_cannot_be_read(kind: str, text: bytes) -> None:
    with pytest.raises(MalformedError):
        BATCHES[kind][0](text)


@pytest.mark.parametrize("kind", ["lago", "orb", "stripe"])
@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{}", "required"),
        (b'{"Events": []}', "required"),
        (b'{"events": [], "events": []}', "repeated_key"),
        (b'{"events": []} {}', "malformed_json"),
        (b'{"events": [],}', "malformed_json"),
        (b'{"events": [] "more": 1}', "malformed_json"),
        (b'{1: 2, "events": []}', "malformed_json"),
        (b'{"events": [{}, ]}', "malformed_json"),
        (b'{"events": ' + b"[" * 100_000, "too_deep"),
    ],
)
def test_the_envelope_is_read_exactly(kind: str, text: bytes, code: str) -> None:
    with pytest.raises(MalformedError) as caught:
        BATCHES[kind][0](text)
    assert caught.value.code == code


@pytest.mark.parametrize("kind", ["lago", "orb", "stripe"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'[{"id": 1}]', 'The body is an array, not an object: send {"events": [...]}.'),
        (b'"events"', 'The body is text, not an object: send {"events": [...]}.'),
        (b"null", 'The body is null, not an object: send {"events": [...]}.'),
        (b'{"event": {}}', '`events` is missing: send {"events": [...]}.'),
        (b'{"events": {"id": 1}}', '`events` is an object: send an array of events, {"events": [...]}.'),
        (b'{"events": true}', '`events` is true or false: send an array of events, {"events": [...]}.'),
    ],
)
def test_another_shape_is_told_which_one_is_read(kind: str, text: bytes, said: str) -> None:
    with pytest.raises(MalformedError) as caught:
        BATCHES[kind][0](text)
    assert (caught.value.path, caught.value.message) == ("events", said)


@pytest.mark.parametrize("kind", ["lago", "orb", "stripe"])
def test_what_stands_beside_the_events_is_passed_over(kind: str) -> None:
    decode, names, _ = BATCHES[kind]
    event = json.dumps(sent(names))
    text = f' {{ "backfill_id" : {{"a": [1, "]}}"]}} , "events" : [ {event} , {event} ] , "more" : null }} '
    assert [event.id for event in decode(text.encode()).events] == ["a-1", "a-1"]


@formats
def test_no_more_events_than_a_request_holds(kind: str) -> None:
    with pytest.raises(TooManyEventsError):
        read(kind, *[{}] * (MAX_EVENTS + 1))
    assert len(read(kind, *[{}] * MAX_EVENTS).rejected) == MAX_EVENTS


@pytest.mark.parametrize("kind", ["lago", "stripe"])
@pytest.mark.parametrize(
    "time", [1769903999.5, SECONDS, f" {SECONDS} ", "1769903999.4999999", "2026-02-01T00:59:59.5+01:00"]
)
def test_seconds_since_1970_are_a_number_or_numeric_text(kind: str, time: Any) -> None:
    assert [event.time for event in read(kind, sent(BATCHES[kind][1], time=time)).events] == [TIME]


@pytest.mark.parametrize("kind", ["lago", "stripe"])
@pytest.mark.parametrize(
    ("time", "code"),
    [
        (-1, "too_early"),
        (0, "too_early"),
        ("0", "too_early"),
        (315532799, "too_early"),
        (1769903999500, "invalid_time"),
        ("9" * 64, "invalid_time"),
        ("9" * 300, "invalid_time"),
        ("1e9", "invalid_time"),
        ("²", "invalid_time"),
        ("٣", "invalid_time"),
        ("2026-01-31T23:59:59", "no_offset"),
        ([1], "invalid_time"),
    ],
)
def test_bad_seconds(kind: str, time: Any, code: str) -> None:
    assert [bad.code for bad in read(kind, sent(BATCHES[kind][1], time=time)).rejected] == [code]


@pytest.mark.parametrize("kind", ["metronome", "orb"])
@pytest.mark.parametrize("time", [1769903999, SECONDS])
def test_metronome_and_orb_know_no_seconds(kind: str, time: Any) -> None:
    assert [bad.code for bad in read(kind, sent(BATCHES[kind][1], time=time)).rejected] == ["invalid_time"]


def test_only_orb_reads_a_time_without_offset_as_utc() -> None:
    time = "2026-01-31T23:59:59.5"
    assert read("orb", sent(BATCHES["orb"][1], time=time)).events[0].time == TIME
    assert read("metronome", sent(BATCHES["metronome"][1], time=time)).rejected[0].code == "no_offset"


@pytest.mark.parametrize("kind", ["lago", "stripe"])
def test_where_the_client_may_leave_out_the_time_the_event_happens_when_it_arrives(kind: str) -> None:
    (found,) = read(kind, sent(BATCHES[kind][1], time=None)).events
    assert isinstance(found, Untimed)
    assert found.time == NOW


@pytest.mark.parametrize("kind", ["metronome", "orb"])
def test_elsewhere_the_time_is_required(kind: str) -> None:
    (bad,) = read(kind, sent(BATCHES[kind][1], time=None)).rejected
    assert (bad.path, bad.code) == ("timestamp", "required")


@pytest.mark.parametrize(
    ("kind", "preferred", "other"),
    [("lago", "external_subscription_id", "external_customer_id"), ("orb", "external_customer_id", "customer_id")],
)
def test_a_customer_under_two_names(kind: str, preferred: str, other: str) -> None:
    event = sent(BATCHES[kind][1], customer=None)
    found = read(
        kind, {**event, preferred: "acme"}, {**event, other: "acme"}, {**event, preferred: "acme", other: "acme"}
    )
    assert [each.customer for each in found.events] == ["acme"] * 3
    (bad,) = read(kind, {**event, preferred: "acme", other: "bolt"}).rejected
    assert (bad.path, bad.code) == (preferred, "ambiguous")
    assert [bad.path for bad in read(kind, {**event, preferred: None, other: None}).rejected] == [preferred]


def test_lago_sends_one_event_in_an_object_of_its_own() -> None:
    event = {**sent(BATCHES["lago"][1]), "precise_total_amount_cents": None, "properties": None}
    found = lago.decode_one(json.dumps({"event": event}).encode(), ARRIVAL)
    assert found.single
    assert [each.id for each in found.events] == ["a-1"]
    assert [bad.code for bad in lago.decode_one(b'{"event": [{}]}', ARRIVAL).rejected] == ["not_an_object"]


def test_lagos_amount_of_a_dynamic_charge_becomes_a_property() -> None:
    (found,) = read("lago", {**sent(BATCHES["lago"][1]), "precise_total_amount_cents": "12.345"}).events
    assert json.loads(found.properties) == {"precise_total_amount_cents": "12.345", "units": 3}
    assert lago.answer(found, NOW)["precise_total_amount_cents"] == "12.345"
    assert lago.answer(found, NOW)["properties"] == {"units": 3}


@pytest.mark.parametrize("amount", [{}, ["1"], True])
def test_lagos_amount_is_a_number_or_a_text(amount: Any) -> None:
    (refused,) = read("lago", {**sent(BATCHES["lago"][1]), "precise_total_amount_cents": amount}).rejected
    assert (refused.path, refused.code) == ("precise_total_amount_cents", "invalid_number")


def test_lagos_answer() -> None:
    (found,) = read("lago", sent(BATCHES["lago"][1])).events
    assert lago.answer(found, NOW) == {
        "lago_id": None,
        "transaction_id": "a-1",
        "lago_customer_id": None,
        "lago_subscription_id": None,
        "external_subscription_id": "acme",
        "code": "llm",
        "timestamp": "2026-01-31T23:59:59.500Z",
        "precise_total_amount_cents": None,
        "properties": {"units": 3},
        "created_at": "2026-03-01T12:00:00.000Z",
    }


FORM = {
    "event_name": "llm",
    "identifier": "a-1",
    "timestamp": SECONDS,
    "payload[stripe_customer_id]": "acme",
    "payload[value]": "25.50",
    "expand[0]": "x",
}


def form(**changes: str | None) -> Decoded:
    fields = {name: value for name, value in {**FORM, **changes}.items() if value is not None}
    return stripe_v1.decode(urlencode(fields).encode(), ARRIVAL)


def test_stripes_form_and_stripes_json_are_the_same_event() -> None:
    payload = {"stripe_customer_id": "acme", "value": "25.50"}
    v2 = {"event_name": "llm", "identifier": "a-1", "timestamp": "2026-01-31T23:59:59.5Z", "payload": payload}
    found = form()
    assert found.single
    assert found.events == stripe_v2.decode(json.dumps(v2).encode(), ARRIVAL).events
    assert found.events == [
        make_event({"id": "a-1", "customer": "acme", "type": "llm", "time": TIME, "properties": {"value": "25.50"}})
    ]


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"event_name": None}, "event_name", "required"),
        ({"identifier": ""}, "identifier", "blank"),
        ({"timestamp": "soon"}, "timestamp", "invalid_time"),
        ({"payload[stripe_customer_id]": None}, "payload.stripe_customer_id", "required"),
        ({"payload[stripe_customer_id]": ""}, "payload.stripe_customer_id", "blank"),
        ({"payload[value]": "a\0"}, "payload.value", "null_character"),
    ],
)
def test_a_bad_form_names_the_field(changes: dict[str, str | None], path: str, code: str) -> None:
    (bad,) = form(**changes).rejected
    assert (bad.path, bad.code) == (path, code)


NO_NUMBERS = ["NaN", "Infinity", "abc", "", " 5", "1e400", "1" * 5_000, "٣", "1,5", "0x10"]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_stripes_value_is_a_number(value: str) -> None:
    (bad,) = form(**{"payload[value]": value}).rejected
    assert (bad.path, bad.code) == ("payload.value", "invalid_number")


@pytest.mark.parametrize("value", [*NO_NUMBERS, True, [1], {"a": 1}])
def test_a_bad_value_in_stripes_stream_leaves_the_others(value: Any) -> None:
    names = BATCHES["stripe"][1]
    found = read("stripe", sent(names), sent(names, properties={"value": value, "units": 3}))
    assert list(found.positions) == [0]
    assert [(bad.index, bad.path, bad.code) for bad in found.rejected] == [(1, "payload.value", "invalid_number")]


@pytest.mark.parametrize("value", ["5", "-5", "0.000001", "1e3", "1" * 100, 5, 0.5])
def test_numbers_and_numbers_in_text_are_values(value: Any) -> None:
    (found,) = read("stripe", sent(BATCHES["stripe"][1], properties={"value": value})).events
    assert json.loads(found.properties) == {"value": value}


def test_stripes_value_may_have_another_name_but_not_be_missing_altogether() -> None:
    (found,) = form(**{"payload[value]": None, "payload[tokens]": "7", "payload[model]": "small"}).events
    assert json.loads(found.properties) == {"tokens": "7", "model": "small"}
    (bad,) = form(**{"payload[value]": None}).rejected
    assert (bad.path, bad.code) == ("payload.value", "required")
    (bad,) = read("stripe", sent(BATCHES["stripe"][1], properties={"value": None})).rejected
    assert (bad.path, bad.code) == ("payload.value", "required")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"nonsense", "malformed_form"),
        (b"\xff=1", "not_utf8"),
        (b"a=%ff", "not_utf8"),
        (b"a=1&a=2", "repeated_key"),
        (b"payload[a]=1&payload[a]=2", "repeated_key"),
        (b"payload=1", "repeated_key"),
        (b"&".join(b"f%d=1" % n for n in range(1001)), "malformed_form"),
    ],
)
def test_a_form_that_cannot_be_read(text: bytes, code: str) -> None:
    with pytest.raises(MalformedError) as caught:
        stripe_v1.decode(text, ARRIVAL)
    assert caught.value.code == code


def test_without_an_identifier_stripes_request_names_its_events() -> None:
    event = sent(BATCHES["stripe"][1], id=None)
    found = read("stripe", event, event, {**event, "identifier": "mine"})
    assert [each.id for each in found.events] == ["req-7:0", "req-7:1", "mine"]
    assert [each.id for each in form(identifier=None).events] == ["req-7:0"]
    assert stripe_v2.decode(json.dumps(event).encode(), Arrival(NOW, "k" * 255)).rejected[0].path == "identifier"


def test_the_customer_may_have_another_name_in_stripes_payload() -> None:
    names = ("stripe_customer_id", "tenant")
    event = sent(BATCHES["stripe"][1], customer=None)

    def one(**payload: Any) -> Decoded:
        return stripe_v2.decode(json.dumps({**event, "payload": payload}).encode(), ARRIVAL, names)

    assert one(tenant="bolt", value="1").events[0].customer == "bolt"
    assert one(tenant="bolt", value="1").events[0].properties == b'{"value":"1"}'
    assert one(tenant="bolt", stripe_customer_id="bolt", value="1").events[0].customer == "bolt"
    assert one(tenant="bolt", stripe_customer_id="acme").rejected[0].code == "ambiguous"
    assert one(value="1").rejected[0].path == "payload.stripe_customer_id"


def test_stripes_answers() -> None:
    (found,) = form().events
    payload = {"stripe_customer_id": "acme", "value": "25.50"}
    assert stripe_v1.answer(found, NOW) == {
        "object": "billing.meter_event",
        "created": int(NOW.timestamp()),
        "event_name": "llm",
        "identifier": "a-1",
        "livemode": True,
        "payload": payload,
        "timestamp": 1769903999,
    }
    assert stripe_v2.answer(found, NOW) == {
        "object": "v2.billing.meter_event",
        "created": "2026-03-01T12:00:00.000Z",
        "event_name": "llm",
        "identifier": "a-1",
        "livemode": True,
        "payload": payload,
        "timestamp": "2026-01-31T23:59:59.500Z",
    }
    with pytest.raises(MalformedError):
        stripe_v2.decode(b"[{}]", ARRIVAL)


def slowly(kind: str, text: bytes) -> Decoded:
    with pytest.MonkeyPatch.context() as patch:
        for module in (lago, metronome, orb, stripe_v2):
            patch.setattr(module, "read_quickly", lambda *_: None)
        return BATCHES[kind][0](text)


def quickly(kind: str, text: bytes) -> Decoded:
    """Fails where the quick way gives up."""

    def never(*_: Any, **__: Any) -> Decoded:
        raise AssertionError("read one by one")

    with pytest.MonkeyPatch.context() as patch:
        for module in (lago, metronome, orb, stripe_v2):
            patch.setattr(module, "read_each", never)
        return BATCHES[kind][0](text)


@formats
@pytest.mark.parametrize("time", ["2026-01-31T23:59:59.5Z", "2026-02-01T00:59:59.500+01:00"])
def test_what_is_usual_is_read_all_at_once(kind: str, time: str) -> None:
    names = BATCHES[kind][1]
    events = [
        sent(names, id=f"a-{n}", time=time, properties={"n": n, "x": 0.1, "s": "ü", "no": None}) for n in range(9)
    ]
    text = json.dumps({BATCHES[kind][2]: events} if BATCHES[kind][2] else events, ensure_ascii=False).encode()
    assert quickly(kind, text) == replace(slowly(kind, text), positions=range(9))


NAMES = st.sampled_from(["", " ", "a", "b" * 256, "b" * 257, "é", 'quo"te', "nul\0", "back\\slash"]) | st.text(
    max_size=5
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([0.1, 1e300, 12345678901234567890]) | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
TIMES = st.sampled_from(
    [
        "2026-01-31T23:59:59.5Z",
        "2026-01-31T23:59:59.5",
        "1969-12-31T00:00:00Z",
        "2027-01-01T00:00:00Z",
        SECONDS,
        5,
        None,
    ]
)
PROPERTIES = st.dictionaries(NAMES | st.just("k" * 300), VALUES, max_size=3) | VALUES


@formats
@given(data=st.data())
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_the_quick_and_the_slow_way_agree(kind: str, data: st.DataObject) -> None:
    names = BATCHES[kind][1]
    plain = st.just(sent(names))
    odd = st.fixed_dictionaries(
        {},
        optional={
            **{name: NAMES | VALUES for name in names if name not in {"timestamp", "payload"} and "." not in name},
            "timestamp": TIMES,
            names[4]: PROPERTIES | st.just({"stripe_customer_id": "acme", "value": 1}),
            "more": VALUES,
            "customer_id": NAMES,
        },
    )
    events = data.draw(st.lists(plain | odd.map(lambda more: {**sent(names), **more}), max_size=4))
    text = body(events, BATCHES[kind][2])
    for given_ in (text, text.replace(b'"units": 3', b'"units": 3, "units": 4')):
        slow = slowly(kind, given_)
        found = BATCHES[kind][0](given_)
        assert (found.events, list(found.positions), found.rejected) == (
            slow.events,
            list(slow.positions),
            slow.rejected,
        )


def test_an_event_lies_at_most_a_day_ahead() -> None:
    assert ARRIVAL.latest - NOW == timedelta(hours=24)
    assert read("orb", sent(BATCHES["orb"][1], time="2026-03-02T12:00:00Z")).events
