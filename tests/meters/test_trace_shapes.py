"""Traces and exports in the shapes in which they are published, each read by one mapping; without a database."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meters.events import Event, Rejection
from meters.exact_json import parse_stored
from meters.sources.cells import TextShape
from meters.sources.lines import UnreadableError
from meters.sources.mapping import ColumnMapping
from meters.sources.reading import EventReader, format_of
from meters.sources.rows import Mark

NOW = datetime(2026, 11, 1, tzinfo=UTC)
BARE = ColumnMapping(type="t", id_from_row=True, for_customer="acme")
NAMED = ColumnMapping(type="t")
USUAL = "id,time,customer,n\n"
MOMENT = 1767607200000000001  # 2026-01-05T10:00:00.000000001Z


def read(content: bytes | str, path: str, mapping: ColumnMapping) -> tuple[list[Event], list[Rejection]]:
    stream = BytesIO(content.encode() if isinstance(content, str) else content)
    batches = list(EventReader(stream, format_of(path), mapping, path).batches(Mark(), now=NOW))
    return [event for batch in batches for event in batch.events], [one for batch in batches for one in batch.rejected]


def seen(content: bytes | str, path: str, mapping: ColumnMapping) -> list[tuple[str, str, Any]]:
    """Customer, time in UTC and properties of each event; no row may be refused."""
    events, rejected = read(content, path, mapping)
    assert rejected == []
    assert len({event.id for event in events}) == len(events)
    return [
        (event.customer, event.time.astimezone(UTC).isoformat(), parse_stored(event.properties.decode()))
        for event in events
    ]


def refusal(content: bytes | str, mapping: ColumnMapping, path: str = "f.csv") -> str:
    with pytest.raises(UnreadableError) as caught:
        read(content, path, mapping)
    return caught.value.message


def parquet(**columns: Any) -> bytes:
    written = BytesIO()
    pq.write_table(pa.table(columns), written)
    return written.getvalue()


def test_seconds_from_the_start_of_a_trace() -> None:
    rows = "Timestamp,Session ID,Model,Request tokens,Log Type\n5.0,,ChatGPT,472,API log\n45,x,GPT-4,1087,API log\n"
    mapping = replace(BARE, clock="s", origin="2024-01-01T00:00:00+01:00")
    assert seen(rows, "BurstGPT_1.csv", mapping) == [
        ("acme", "2023-12-31T23:00:05+00:00", {"Model": "ChatGPT", "Request tokens": 472, "Log Type": "API log"}),
        (
            "acme",
            "2023-12-31T23:00:45+00:00",
            {"Session ID": "x", "Model": "GPT-4", "Request tokens": 1087, "Log Type": "API log"},
        ),
    ]


def test_milliseconds_from_a_local_origin_count_the_time_that_passes() -> None:
    """A day after noon in Berlin is 13:00 when summer time begins in between."""
    rows = '{"timestamp": 0, "input_length": 6758, "hash_ids": [0, 1]}\n{"timestamp": 86400000, "input_length": 7}\n'
    mapping = replace(
        BARE, clock="ms", origin="2024-03-30T12:00:00", timezone="Europe/Berlin", skip=("hash_ids",)
    )  # Mooncake's traces
    assert seen(rows, "conversation_trace.jsonl", mapping) == [
        ("acme", "2024-03-30T11:00:00+00:00", {"input_length": 6758}),
        ("acme", "2024-03-31T11:00:00+00:00", {"input_length": 7}),
    ]


def test_equal_rows_are_events_of_their_own() -> None:
    rows = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "2024-05-10 00:00:00.009930+00:00,2162,5\n" * 3
    assert len(seen(rows, "AzureLLMInferenceTrace_code_1week.csv", BARE)) == 3


def test_what_a_german_spreadsheet_writes() -> None:
    rows = 'Datum;Uhrzeit;Kunde;Menge, netto;Preis\r\n05.07.2026;10:00:00;Müller;1.234,5;"-0,50"\r\n;;;;\r\n'
    mapping = ColumnMapping(
        type="t",
        id_from_row=True,
        join=(("wann", ("Datum", "Uhrzeit")),),
        time="wann",
        customer="Kunde",
        clock="%d.%m.%Y %H:%M:%S",
        timezone="Europe/Berlin",
        skip=("Datum", "Uhrzeit"),
        decimal=",",
        thousands=".",
        shape=TextShape(encoding="cp1252"),
    )
    events, rejected = read(rows.encode("cp1252"), "export.csv", mapping)
    (event,) = events
    assert (event.customer, event.time.isoformat()) == ("Müller", "2026-07-05T10:00:00+02:00")
    assert event.properties.decode() == '{"Menge, netto":1234.5,"Preis":-0.50}'
    assert [one.message for one in rejected] == ["The time is missing. (export.csv, line 3)"]


@pytest.mark.parametrize(
    ("cell", "decimal", "thousands", "json"),
    [
        ("1,234", ".", ",", "1234"),
        ("1,234,567.25", ".", ",", "1234567.25"),
        ("1234.5", ".", ",", "1234.5"),
        ("-1,234.50", ".", ",", "-1234.50"),
        ("12,34", ".", ",", '"12,34"'),
        ("1,2345", ".", ",", '"1,2345"'),
        ("1 234,5", ",", " ", "1234.5"),
        ("1.5", ",", "", '"1.5"'),
        ("007", ",", "", "7"),
        ("1'000", ".", "'", "1000"),
        ("1,000,000 USD", ".", ",", '"1,000,000 USD"'),
    ],
)
def test_numbers_with_other_signs(cell: str, decimal: str, thousands: str, json: str) -> None:
    rows = f'{USUAL}e,2026-01-05,c,"{cell}"\n'
    ((event,), _) = read(rows, "f.csv", replace(NAMED, decimal=decimal, thousands=thousands))
    assert event.properties.decode() == f'{{"n":{json}}}'


def test_spaces_after_the_separators_are_none_of_the_cells() -> None:
    rows = 'id, time, customer, n, note\ne, 2026-01-05 10:00:00, acme, 5, "a, b"\n'
    assert seen(rows, "f.csv", NAMED) == [("acme", "2026-01-05T10:00:00+00:00", {"n": 5, "note": "a, b"})]


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        ("e,2026-01-05,acme,5\n", TextShape(columns=("id", "time", "customer", "n"))),
        ("made 2026\n\ufefftotal: 1\nid,time,customer,n\ne,2026-01-05,acme,5\n", TextShape(skip_lines=2)),
        ("id,x,y,z\ne,2026-01-05,acme,5\n", TextShape(columns=("id", "time", "customer", "n"), skip_lines=1)),
        ("id^time^customer^n\ne^2026-01-05^acme^5\n", TextShape(separator="^")),
        ("id\ttime\tcustomer\tn\ne\t2026-01-05\tacme\t5\n", TextShape(separator="tab")),
        ('id;time;customer;n\n"e";2026-01-05;acme;5\n', TextShape()),
        ('\ufeff"id"|"time"|"customer"|"n"\ne|2026-01-05|acme|5\n', TextShape()),
    ],
)
def test_texts_that_are_written_in_other_ways(rows: str, shape: TextShape) -> None:
    assert seen(rows, "f.csv", replace(NAMED, shape=shape)) == [("acme", "2026-01-05T00:00:00+00:00", {"n": 5})]


def test_a_comma_in_a_quoted_name_is_no_separator() -> None:
    rows = 'id;time;customer;"n, of all, and, more"\ne;2026-01-05;acme;5\n'
    assert seen(rows, "f.csv", NAMED)[0][2] == {"n, of all, and, more": 5}


def test_folders_as_hive_writes_them() -> None:
    content = parquet(time=[datetime(2026, 1, 5, 10)], n=[5], month=[1])  # noqa: DTZ001 - a file without a zone
    mapping = ColumnMapping(type="t", id_from_row=True, customer="org", folders=True)
    path = "/lake/org=ac%20me/month=07/day=05/team=__HIVE_DEFAULT_PARTITION__/part-0.snappy.parquet"
    assert seen(content, path, mapping) == [("ac me", "2026-01-05T10:00:00+00:00", {"n": 5, "month": 1, "day": 5})]
    with pytest.raises(UnreadableError, match='Column "org" is missing'):
        read(content, path, replace(mapping, folders=False))


def test_what_stands_for_nothing() -> None:
    rows = f"{USUAL}a,2026-01-05,acme,\\N\nb,2026-01-05,NULL,5\n"
    (event,), (rejected,) = read(rows, "f.csv", replace(NAMED, empty=("NULL", "\\N")))
    assert (event.id, event.properties) == ("a", b"{}")
    assert (rejected.id, rejected.code, rejected.path) == ("b", "required", "customer")


def test_an_id_of_several_columns() -> None:
    """Line items of AWS's cost and usage report are numbered anew in each interval."""
    rows = (
        "identity/LineItemId,identity/TimeInterval,lineItem/UsageAccountId,lineItem/UsageStartDate,lineItem/UsageAmount\n"
        "abc,2026-01-01T00/2026-01-01T01,012345678901,2026-01-01T00:00:00Z,0.0000000012\n"
        "abc,2026-01-01T01/2026-01-01T02,012345678901,2026-01-01T01:00:00Z,1.5\n"
    )
    mapping = ColumnMapping(
        type="cur",
        join=(("line", ("identity/LineItemId", "identity/TimeInterval")),),
        id="line",
        time="lineItem/UsageStartDate",
        customer="lineItem/UsageAccountId",
        skip=("identity/LineItemId", "identity/TimeInterval"),
    )
    assert seen(rows, "cur.csv", mapping) == [
        ("012345678901", "2026-01-01T00:00:00+00:00", {"lineItem/UsageAmount": Decimal("0.0000000012")}),
        ("012345678901", "2026-01-01T01:00:00+00:00", {"lineItem/UsageAmount": Decimal("1.5")}),
    ]


def test_a_billing_export_with_objects_in_it() -> None:
    row = '{"project":{"id":"p1"},"usage_start_time":"2026-01-01 00:00:00 UTC","usage":{"amount":1.25}}\n'
    mapping = ColumnMapping(type="t", id_from_row=True, time="usage_start_time", customer="project.id")
    assert seen(row, "gcp.json", mapping) == [
        ("p1", "2026-01-01T00:00:00+00:00", {"project": {"id": "p1"}, "usage": {"amount": Decimal("1.25")}})
    ]


def test_nanoseconds_wherever_they_lie_in_parquet() -> None:
    content = parquet(
        time=pa.array([MOMENT], pa.timestamp("ns")),
        span=pa.array([MOMENT % 1000 + 5_000_000_000], pa.duration("ns")),
        s=pa.array([{"at": MOMENT, "of": "x"}], pa.struct([("at", pa.timestamp("ns", "UTC")), ("of", pa.string())])),
        l=pa.array([[{"at": MOMENT}]], pa.list_(pa.struct([("at", pa.timestamp("ns"))]))),
        m=pa.array([[("k", MOMENT)]], pa.map_(pa.string(), pa.timestamp("ns"))),
    )
    nested = {"at": "2026-01-05T10:00:00+00:00", "of": "x"}
    local = "2026-01-05T10:00:00"
    found = {"span": "0:00:05", "s": nested, "l": [{"at": local}], "m": {"k": local}}
    assert seen(content, "f.parquet", BARE) == [("acme", "2026-01-05T10:00:00+00:00", found)]
    ((_, moment, _),) = seen(content, "f.parquet", replace(BARE, time="s.at"))
    assert moment == "2026-01-05T10:00:00+00:00"


def test_columns_of_parquet_are_joined_and_counted_from_an_origin() -> None:
    content = parquet(day=[date(2026, 1, 5)], clock=[time(10, 30, 0, 5)], user=[12.0], offset=[2.5])
    mapping = ColumnMapping(type="t", id_from_row=True, customer="user", skip=("day", "clock", "offset"))
    joined = replace(mapping, join=(("at", ("day", "clock")),), time="at", timezone="Europe/Berlin")
    counted = replace(mapping, time="offset", clock="s", origin="2026-01-05")
    assert seen(content, "f.parquet", joined) == [("12", "2026-01-05T09:30:00.000005+00:00", {})]
    assert seen(content, "f.parquet", counted) == [("12", "2026-01-05T00:00:02.500000+00:00", {})]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        (replace(NAMED, origin="2026-01-05"), "A time origin is for times that count something"),
        (replace(NAMED, clock="s", origin="Monday"), 'The time "Monday" is not written like'),
        (replace(NAMED, decimal=";"), '";" is no decimal sign'),
        (replace(NAMED, decimal=",", thousands=","), '"," is no sign between thousands'),
        (replace(NAMED, thousands="x"), '"x" is no sign between thousands'),
        (replace(NAMED, join=(("n", ("id", "time")),)), '"n" is a column of the file'),
        (replace(NAMED, join=(("x", ("id", "day")),)), '"day", of the joined column "x", is missing'),
        (replace(NAMED, shape=TextShape(separator="ab")), '"ab" is no separator'),
        (replace(NAMED, shape=TextShape(separator='"')), "is no separator"),
        (replace(NAMED, shape=TextShape(encoding="utf-16")), 'The encoding "utf-16" cannot be read'),
        (replace(NAMED, shape=TextShape(encoding="klingon")), 'The encoding "klingon" cannot be read'),
        (replace(NAMED, shape=TextShape(columns=("a", "a", "b", "c"))), "name all columns with --columns"),
    ],
)
def test_what_a_mapping_may_not_say(mapping: ColumnMapping, said: str) -> None:
    assert said in refusal(f"{USUAL}e,2026-01-05,acme,5\n", mapping)


def test_a_row_in_another_encoding_says_how_to_name_it() -> None:
    _, (rejected,) = read(f"{USUAL}e,2026-01-05,Müller,5\n".encode("cp1252"), "f.csv", NAMED)
    assert "name what it is with --encoding" in rejected.message
