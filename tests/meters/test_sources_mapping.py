"""What a row means, without a database: names, numbers, times."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meters.events import Event
from meters.exact_json import RefusedError
from meters.sources.cells import number_or_text
from meters.sources.mapping import ColumnMapping, MappingError
from meters.sources.times import Clock, known_format, read_time

LATEST = datetime(2027, 1, 1, tzinfo=UTC)
ROW = {"event_id": "e1", "timestamp": "2026-01-05T10:00:00Z", "customer": "acme", "tokens": "374", "model": "m"}


def read(row: dict[str, Any], mapping: ColumnMapping, *, from_text: bool = True) -> Event:
    bound = mapping.bind(list(row), path="logs/f.csv", from_text=from_text, flat=from_text)
    return bound.event(row, 2, LATEST)


def refused(row: dict[str, Any], mapping: ColumnMapping) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read(row, mapping)
    return caught.value


@pytest.mark.parametrize(
    ("cell", "json"),
    [
        ("374", "374"),
        ("-5", "-5"),
        ("007", "7"),
        ("5460117900", "5460117900"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("0.1", "0.1"),
        ("0.10000000000000000000000000000000000001", "0.10000000000000000000000000000000000001"),
        ("1.50", "1.50"),
        ("-0.000000000000000000001", "-1E-21"),
        ("1e5", '"1e5"'),
        (".5", '".5"'),
        ("00.5", '"00.5"'),
        ("1,000", '"1,000"'),
        ("+3", '"+3"'),
        (" 3", "3"),
        ("٣", '"٣"'),
        ("NaN", '"NaN"'),
        ("Infinity", '"Infinity"'),
        ("true", '"true"'),
        ("9" * 101, '"' + "9" * 101 + '"'),
    ],
)
def test_a_cell_is_a_number_when_it_is_a_whole_number_or_a_plain_decimal(cell: str, json: str) -> None:
    event = read({**ROW, "tokens": cell}, ColumnMapping(type="llm"))
    assert event.properties.decode() == f'{{"tokens":{json},"model":"m"}}'


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**20), max_value=10**20))
def test_no_digit_is_lost(number: Decimal) -> None:
    assert number_or_text(f"{number:f}") == number


def test_an_empty_cell_is_left_out() -> None:
    assert read({**ROW, "tokens": ""}, ColumnMapping(type="llm")).properties == b'{"model":"m"}'


def test_usual_names_are_found_and_given_ones_win() -> None:
    row = {**ROW, "user": "globex", "kind": "chat"}
    event = read(row, ColumnMapping(customer="user", type_column="kind", source="gateway"))
    assert (event.id, event.customer, event.type, event.source) == ("e1", "globex", "chat", "gateway")
    assert event.properties == b'{"customer":"acme","tokens":374,"model":"m"}'


def test_fixed_skipped_and_text_columns() -> None:
    mapping = ColumnMapping(type="llm", skip=("model",), text=("tokens",), properties=(("region", "eu"), ("n", "3")))
    event = read({**ROW, "tokens": "00374"}, mapping)
    assert event.properties == b'{"tokens":"00374","region":"eu","n":3}'


def test_one_customer_and_ids_from_rows() -> None:
    mapping = ColumnMapping(type="t", for_customer="c", id_from_row=True)
    row = {"timestamp": "2026-01-05", "tokens": "1"}
    event = read(row, mapping)
    assert event.customer == "c"
    assert event.id.startswith("f.csv#2-")
    assert event.id == read(dict(reversed(row.items())), mapping).id
    assert event.id != read({**row, "tokens": "2"}, mapping).id  # of a file of the same name in another folder


def test_capitals_and_spaces_of_usual_names_do_not_matter() -> None:
    row = {"Event_ID": "a", " TIMESTAMP": "2026-01-05T10:00:00Z", "Customer ": "c", "Tokens": "5"}
    event = read(row, ColumnMapping(type="t"))
    assert (event.id, event.customer, event.properties) == ("a", "c", b'{"Tokens":5}')


def test_numbers_serve_as_names() -> None:
    row = {"id": Decimal(4711), "time": "2026-01-05T10:00:00Z", "customer": 12, "tokens": Decimal(1)}
    event = read(row, ColumnMapping(type="llm"), from_text=False)
    assert (event.id, event.customer) == ("4711", "12")


@pytest.mark.parametrize("nested", ["properties", "data"])
def test_a_json_rows_only_other_member_may_be_its_properties(nested: str) -> None:
    row = {"transaction_id": "t", "timestamp": "2026-01-05T10:00:00Z", "customer_id": "c", "event_type": "x"}
    event = read({**row, nested: {"tokens": Decimal(3)}}, ColumnMapping(), from_text=False)
    assert event.properties == b'{"tokens":3}'


@pytest.mark.parametrize(
    ("columns", "mapping", "said"),
    [
        (["id", "time"], ColumnMapping(type="t"), "No column was found for the customer (name its column with --cu"),
        (["a"], ColumnMapping(), "the id (name its column with --id"),
        (["id", "time", "customer"], ColumnMapping(), "the event type (give it with --type"),
        (["id", "time", "customer"], ColumnMapping(type="t", id="ide"), 'Column "ide" is missing from the file.'),
        (["id"], ColumnMapping(time="a", skip=("b",)), 'Columns "a", "b" are missing'),
        (["id", "id", "time", "customer"], ColumnMapping(type="t"), '"id" is the name of more than one column'),
        (["", "id", "time", "customer"], ColumnMapping(type="t"), "Column 1 has no name"),
        (["id", "time", "customer", "x" * 300], ColumnMapping(type="t"), "at most 256 characters"),
        (["id", "time", "customer", "r"], ColumnMapping(type="t", properties=(("r", "1"),)), "both a fixed property"),
        (["id", "time", "customer"], ColumnMapping(type="t", timezone="Mars/Base"), '"Mars/Base" is no time zone'),
    ],
)
def test_a_mapping_that_does_not_fit_says_what_to_do(columns: list[str], mapping: ColumnMapping, said: str) -> None:
    with pytest.raises(MappingError) as caught:
        mapping.bind(columns)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"event_id": ""}, "required"),
        ({"event_id": "  "}, "blank"),
        ({"event_id": "x" * 257}, "too_long"),
        ({"customer": ""}, "required"),
        ({"timestamp": ""}, "invalid_time"),
        ({"timestamp": "yesterday"}, "invalid_time"),
        ({"timestamp": "0000-01-01T00:00:00Z"}, "invalid_time"),
        ({"timestamp": "1969-12-31T23:59:59Z"}, "too_early"),
        ({"timestamp": "9999-12-31T23:59:59Z"}, "too_far_ahead"),
        ({"timestamp": "1767607200"}, "invalid_time"),
        ({"model": "a\0b"}, "null_character"),
        ({"event_id": "a\0b"}, "null_character"),
        ({"model": "\ud800"}, "lone_surrogate"),
        ({"event_id": "\ud800"}, "lone_surrogate"),
    ],
)
def test_what_an_event_cannot_be(change: dict[str, str], code: str) -> None:
    assert refused({**ROW, **change}, ColumnMapping(type="llm")).code == code


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("2026-01-05T10:00:00Z", BERLIN, "2026-01-05T10:00:00+00:00"),
        ("2026-01-05T10:00:00+02:00", BERLIN, "2026-01-05T08:00:00+00:00"),
        ("2026-01-05T10:00:00", BERLIN, "2026-01-05T09:00:00+00:00"),
        ("2026-07-05 10:00:00", BERLIN, "2026-07-05T08:00:00+00:00"),
        ("2026-07-05", BERLIN, "2026-07-04T22:00:00+00:00"),
        ("2023-11-16 18:15:46.6805900", ZoneInfo("UTC"), "2023-11-16T18:15:46.680590+00:00"),
        ("2023-11-16 18:15:46.680590 UTC", BERLIN, "2023-11-16T18:15:46.680590+00:00"),
        ("2023-11-16 18:15:46+00", BERLIN, "2023-11-16T18:15:46+00:00"),
        ("2023-11-16T18:15:46.123456789Z", BERLIN, "2023-11-16T18:15:46.123457+00:00"),
    ],
)
def test_times_as_files_write_them(text: str, zone: ZoneInfo, instant: str) -> None:
    assert read_time(text, Clock.ISO, zone).astimezone(UTC).isoformat() == instant


@pytest.mark.parametrize(
    ("given", "clock"),
    [
        ("1767607200.5", Clock.SECONDS),
        ("1767607200500", Clock.MILLISECONDS),
        (1767607200500000, Clock.MICROSECONDS),
        (Decimal(1767607200500000000), Clock.NANOSECONDS),
    ],
)
def test_times_counted_since_1970(given: object, clock: Clock) -> None:
    assert read_time(given, clock, BERLIN) == datetime(2026, 1, 5, 10, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "pattern", "instant"),
    [
        ("01/31/2026", "%m/%d/%Y", "2026-01-30T23:00:00+00:00"),
        (" 31.01.2026 23:59 ", "%d.%m.%Y %H:%M", "2026-01-31T22:59:00+00:00"),
        ("31/Jan/2026:23:59:58 -0500", "%d/%b/%Y:%H:%M:%S %z", "2026-02-01T04:59:58+00:00"),
        ("01/31/2026 11:59:58.5 PM", "%m/%d/%Y %I:%M:%S.%f %p", "2026-01-31T22:59:58.500000+00:00"),
        ("01/31/2026 23:59:58.9799604", "%m/%d/%Y %H:%M:%S.%f", "2026-01-31T22:59:58.979960+00:00"),
        ("01/31/2026 23:59:59.9999995", "%m/%d/%Y %H:%M:%S.%f", "2026-01-31T23:00:00+00:00"),
        (20260131, "%Y%m%d", "2026-01-30T23:00:00+00:00"),
    ],
)
def test_times_by_a_pattern(text: object, pattern: str, instant: str) -> None:
    assert known_format(pattern) == pattern
    assert read_time(text, pattern, BERLIN).astimezone(UTC).isoformat() == instant


@pytest.mark.parametrize("text", ["31/01/2026", "02/30/2026", "01/31/26", "01/31/0000", "01/31/2026 x", "x", 1])
def test_what_does_not_follow_its_pattern(text: object) -> None:
    with pytest.raises(ValueError, match=f'The time "{text}" is not written like %m/%d/%Y'):
        read_time(text, "%m/%d/%Y", BERLIN)


@pytest.mark.parametrize("text", ["", "MM/DD/YYYY", "%m/%d", "%H:%M", "%Q", "%Y-%m-%d %Z", "%", "%Y-%m-%d\0"])
def test_what_is_no_time_format(text: str) -> None:
    with pytest.raises(ValueError, match="is no time format: give iso, s, ms, us or ns, or a pattern"):
        known_format(text)


def test_dotted_paths_name_what_lies_in_an_object() -> None:
    row = {
        "request": {"id": Decimal(7), "at": "2026-01-05T10:00:00Z", "by": {"org": "acme"}}, "user.id": "u", "n": 1,
        "user": {"id": "not this"},
    }  # fmt: skip
    mapping = ColumnMapping(type="t", id="request.id", time="request.at", customer="request.by.org")
    event = read(row, mapping, from_text=False)
    assert (event.id, event.customer) == ("7", "acme")
    assert read(row, replace(mapping, customer="user.id"), from_text=False).customer == "u"
    for bad in ({"request": {"id": "7"}}, {"request": None}, {"request": "7"}):
        assert refused_json({**row, **bad}, mapping).path in {"time", "request.at"}
    with pytest.raises(MappingError, match=r'Column "nobody\.id" is missing'):
        read(row, replace(mapping, customer="nobody.id"), from_text=False)
    with pytest.raises(MappingError, match=r'Column "n\.id" is missing'):
        ColumnMapping(type="t", customer="n.id").bind(["id", "time", "n"], from_text=True, flat=True)


def refused_json(row: dict[str, Any], mapping: ColumnMapping) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read(row, mapping, from_text=False)
    return caught.value


@pytest.mark.parametrize("given", ["x", "1e400", "9" * 30, "NaN", True])
def test_what_is_no_time(given: object) -> None:
    with pytest.raises(ValueError, match="is not a number of s since 1970"):
        read_time(given, Clock.SECONDS, BERLIN)


@pytest.mark.parametrize("change", [{}, {"tokens": "0.1"}, {"model": "ü\\u"}, {"customer": "a" * 256}])
def test_the_quick_way_and_the_careful_way_agree(change: dict[str, str]) -> None:
    row = {**ROW, **change}
    mapping = ColumnMapping(type="llm", source="s")
    quick = mapping.bind(list(row), from_text=True, flat=True).event(row, 2, LATEST)
    assert quick == mapping.bind(list(row), from_text=True, flat=False).event(row, 2, LATEST)
