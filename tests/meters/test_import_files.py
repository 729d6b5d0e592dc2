"""Files into events: every format, exact to the digit, and every way a file can be bad."""

import gzip
import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from meters.ingest import ingest_events
from meters.models import Conflict, Event, ImportedFile, ImportRun, RejectedEvent
from meters.sources import lines, rows
from meters.sources.cells import TextShape
from meters.sources.mapping import ColumnMapping
from tests.meters.files import HEADER, TYPED, counts, import_file, rows_of, stored, write_parquet
from tests.meters.making import event, make_meter, usage

pytestmark = pytest.mark.usefixtures("committed")


def failed(path: Path | str, mapping: ColumnMapping = TYPED, **more: Any) -> str:
    run = import_file(path, mapping, **more)
    assert run.state == ImportRun.State.FAILED
    return run.message


def codes() -> list[str]:
    return sorted(RejectedEvent.objects.values_list("code", flat=True))


def raw_properties() -> list[str]:
    """As the database writes them: no number has passed through Python."""
    return list(Event.objects.order_by("time").extra(select={"p": "properties::text"}).values_list("p", flat=True))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet", "a.parquet.gz"])
def test_the_same_rows_in_every_format_are_the_same_events(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    plain = tmp_path / name.removesuffix(".gz")
    number = 50
    if ".csv" in name:
        plain.write_text(HEADER + rows_of(number))
    elif ".jsonl" in name:
        records = [line.split(",") for line in rows_of(number).splitlines()]
        plain.write_text(
            "".join(json.dumps({"id": i, "time": t, "customer": c, "tokens": int(n)}) + "\n" for i, t, c, n in records)
        )
    else:
        records = [line.split(",") for line in rows_of(number).splitlines()]
        times = [datetime.fromisoformat(t) for _, t, _, _ in records]
        ids, customers = [r[0] for r in records], [r[2] for r in records]
        write_parquet(plain, {"id": ids, "time": times, "customer": customers, "tokens": range(number)}, group=7)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    assert counts(import_file(path)) == (number, 0, 0, 0)
    assert stored() == [{"tokens": n} for n in range(number)]
    csv = tmp_path / "again" / "b.csv"
    csv.parent.mkdir()
    csv.write_text(HEADER + rows_of(number))
    assert counts(import_file(csv)) == (0, number, 0, 0)


def test_events_that_were_posted_are_known(tmp_path: Path) -> None:
    ingest_events([event("e1", source="", tokens=3), event("e2", source="", tokens=4)])
    path = tmp_path / "a.csv"
    path.write_text(HEADER + "e1,2026-01-05T10:00:00Z,acme,3\ne2,2026-01-05T10:00:00Z,acme,5\n")
    assert counts(import_file(path)) == (0, 1, 1, 0)
    assert Conflict.objects.get().event_id == "e2"


def test_rows_in_the_shape_of_cloudevents_need_no_mapping(tmp_path: Path) -> None:
    shared = {"specversion": "1.0", "source": "s", "type": "llm", "subject": "acme", "time": "2026-01-05T10:00:00Z"}
    good = [json.dumps({**shared, "id": f"e{n}", "data": {"tokens": n}}) for n in range(3)]
    bad = ['{"id": "x"', "[1]", json.dumps({**shared, "id": ""}), '{"id":"a","id":"b"}', '{"id":"y"}, {"id":"z"}']
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([good[0], *bad, "", good[1], good[2]]) + "\n")
    assert counts(import_file(path, ColumnMapping())) == (3, 0, 0, 5)
    assert codes() == ["blank", "malformed_json", "malformed_json", "not_an_object", "repeated_key"]
    assert all(f"{path}, line " in message for message in RejectedEvent.objects.values_list("message", flat=True))


def test_numbers_of_json_lines_stay_exact(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id":"a","time":"2026-01-05T10:00:00Z","customer":"c","x":0.1000000000000000055,"y":1e2,"z":1e400}\n'
    )
    assert counts(import_file(path)) == (0, 0, 0, 1)
    path.write_text('{"id":"a","time":"2026-01-05T10:00:00Z","customer":"c","x":0.1000000000000000055,"y":[1.10]}\n')
    assert counts(import_file(path)) == (1, 0, 0, 0)
    assert raw_properties() == ['{"x": 0.1000000000000000055, "y": [1.10]}']


def test_parquet_stays_exact(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "id": pa.array([1]),
        "time": pa.array([1767607200123456789], pa.timestamp("ns", "Europe/Berlin")),
        "customer": pa.array(["acme"]).dictionary_encode(),
        "dec": pa.array([Decimal("12345678901234567890.123456789000000001")], pa.decimal128(38, 18)),
        "big": pa.array([2**63 + 1], pa.uint64()),
        "double": pa.array([0.1]),
        "single": pa.array([0.1], pa.float32()),
        "whole": pa.array([374.0]),
        "huge": pa.array([1e300]),
        "missing": pa.array([float("nan")]),
        "none": pa.array([None], pa.int64()),
        "flag": pa.array([True]),
        "day": pa.array([date(2026, 1, 5)]),
        "seen": pa.array([1767607200123456789], pa.timestamp("ns")),
        "nested": pa.array([{"a": [0.1, 2.0], "b": "x", "c": None}]),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
        "text": pa.array(["007"]),
    }
    write_parquet(tmp_path / "a.parquet", columns)
    assert counts(import_file(tmp_path / "a.parquet")) == (1, 0, 0, 0)
    properties = json.loads(raw_properties()[0], parse_float=str, parse_int=str)
    assert properties.pop("huge") == "1" + "0" * 300
    assert properties == {
        "dec": "12345678901234567890.123456789000000001",
        "big": str(2**63 + 1),
        "double": "0.1",
        "single": "0.1",
        "whole": "374",
        "flag": True,
        "day": "2026-01-05",
        "seen": "2026-01-05T10:00:00.123456789",
        "nested": {"a": ["0.1", "2"], "b": "x"},
        "map": {"k": "1"},
        "text": "007",
    }
    assert Event.objects.get().time == datetime(2026, 1, 5, 10, 0, 0, 123457, tzinfo=UTC)


def test_parquet_values_that_are_no_event(tmp_path: Path) -> None:
    times = pa.array([2**62, 1767607200000000, None, 1767607200000001], pa.timestamp("us", "UTC"))
    columns = {"id": ["a", "b", "c", "d"], "time": times, "customer": ["x"] * 4, "v": [1.0, float("inf"), 1.0, 1.0]}
    write_parquet(tmp_path / "a.parquet", columns)
    assert counts(import_file(tmp_path / "a.parquet")) == (1, 0, 0, 3)
    assert codes() == ["invalid_time", "invalid_time", "not_a_number"]
    assert RejectedEvent.objects.filter(message__contains="a.parquet, row 1)").exists()


def test_naive_times_are_local_to_the_stated_zone(tmp_path: Path) -> None:
    mapping = ColumnMapping(type="llm", timezone="Europe/Berlin")
    naive = pa.array([datetime(2026, 7, 5, 10)], pa.timestamp("us"))  # noqa: DTZ001
    write_parquet(tmp_path / "a.parquet", {"id": ["a"], "time": naive, "customer": ["c"]})
    (tmp_path / "b.csv").write_text(HEADER + "b,2026-07-05 10:00:00,c,1\n")
    import_file(tmp_path, mapping)
    assert {each.time for each in Event.objects.all()} == {datetime(2026, 7, 5, 8, tzinfo=UTC)}


def test_bad_rows_are_kept_and_good_ones_count(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        HEADER.encode()
        + b"e1,2026-01-05T10:00:00Z,acme,1\n"  # line 2
        + b"e2,2026-01-05T10:00:00Z,acme\n"
        + b'e3,2026-01-05T10:00:00Z,"acme"x,1\n'
        + b'e4,2026-01-05T10:00:00Z,acme,"1\n'  # a quotation mark that is never closed
        + b"e5,2026-01-05T10:00:00Z,acme,5\n"
        + b"e6,2026-01-05T10:00:00Z,\xff\xfe,6\n"
        + b"e7,never,acme,7\n"
        + b"\n"
        + b'e8,2026-01-05T10:00:00Z,"ac\nme",8\n'
        + b"e9,2026-01-05T10:00:00Z,acme,9,9\n"
        + b"e10,2026-01-05T10:00:00Z,acme,10"
    )
    assert counts(import_file(path)) == (4, 0, 0, 6)
    assert sorted(each["tokens"] for each in stored()) == [1, 5, 8, 10]
    found = {row.code: row for row in RejectedEvent.objects.all()}
    assert codes() == [
        "invalid_time", "malformed_row", "malformed_row", "unreadable_line", "wrong_number_of_cells",
        "wrong_number_of_cells",
    ]  # fmt: skip
    assert found["invalid_time"].message.endswith(f"({path}, line 8)")
    assert json.loads(found["invalid_time"].body)["properties"] == {"tokens": 7}
    assert "UTF-8" in found["unreadable_line"].message
    assert found["invalid_time"].sender == "file"


def test_what_excel_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfid;time;customer;tokens\r\ne1;2026-01-05T10:00:00Z;acme;1\r\n")
    assert counts(import_file(path)) == (1, 0, 0, 0)
    path.write_bytes((HEADER + rows_of(1)).encode("utf-16"))
    assert "UTF-16: save it as UTF-8" in failed(path)
    path.write_bytes(HEADER.replace("\n", "\r").encode() + b"e1,2026-01-05T10:00:00Z,acme,1\r")
    assert "lines end in CR alone" in failed(path)


def test_a_line_without_end_costs_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1000)
    path = tmp_path / "a.csv"
    path.write_text(HEADER + rows_of(1) + "x" * 5000 + "\n" + rows_of(2, 1))
    assert counts(import_file(path)) == (3, 0, 0, 1)
    row = RejectedEvent.objects.get()
    assert "this one has 5,001" in row.message
    assert len(row.body) == 1000


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "The file is empty"),
        ("a.csv", b"when,who\n1,2\n", "No column was found for the id (name its column with --id"),
        ("a.jsonl", b"id,time\n1,2\n", "None of the first 100 lines is a JSON object"),
        ("a.jsonl", b'{"when": 1}\n', "No column was found for the id"),
        ("a.parquet", b"", "no whole Parquet file"),
        ("a.parquet", b"PAR1 and then nothing", "no whole Parquet file"),
        ("a.csv.gz", gzip.compress(HEADER.encode() * 1000, mtime=0)[:-20], "gzip stream is broken or cut off"),
        ("a.csv.gz", b"\x1f\x8bnonsense", "gzip stream is broken"),
        ("a.parquet.gz", gzip.compress(b"PAR1" * 1000, mtime=0)[:-20], "gzip stream is broken or cut off"),
        ("a.xlsx", b"PK", "no file is called like one of events"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in failed(tmp_path / name)
    assert ImportRun.objects.get().ended_at


def test_rows_of_json_need_not_have_the_same_members(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = '{"id":"0","time":"2026-01-05T10:00:00Z"}\n'
    path.write_text(first + '{"id":"1","time":"2026-01-05T10:00:00Z","customer":"c","debug":{"a":1},"n":1}\n')
    assert counts(import_file(path, ColumnMapping(type="llm", skip=("debug", "trace")))) == (1, 0, 0, 1)
    assert stored() == [{"n": 1}]
    assert codes() == ["required"]


def test_a_header_that_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,\xff\n1,2\n")
    assert "In the line of column names: The text is not UTF-8" in failed(path)
    path.write_bytes(b"id," * 500_000)
    assert "A line holds at most" in failed(path)
    path.write_bytes(b"id," * 100_000)
    assert "is the name of more than one column" in failed(path)


def test_an_empty_export_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "b.csv").write_text(HEADER)
    write_parquet(
        tmp_path / "c.parquet",
        {"id": pa.array([], pa.string()), "time": pa.array([], pa.string()), "customer": pa.array([], pa.string())},
    )
    run = import_file(tmp_path)
    assert (run.state, run.files, counts(run)) == ("done", 3, (0, 0, 0, 0))


def test_a_parquet_file_cut_in_half(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(
        path, {"id": [str(n) for n in range(1000)], "time": ["2026-01-05T10:00:00Z"] * 1000, "customer": ["c"] * 1000}
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "cut off, still being written, or broken" in failed(path)
    path.write_bytes(whole)
    assert counts(import_file(path)) == (1000, 0, 0, 0)


def test_what_was_read_of_a_broken_gzip_stays_and_the_whole_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    whole = gzip.compress((HEADER + rows_of(5000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    message = failed(path, batch=100)
    kept = ImportedFile.objects.get()
    assert f"{kept.line:,} rows before that are kept" in message
    assert 0 < kept.accepted < 5000
    assert Event.objects.count() == kept.accepted
    path.write_bytes(whole)
    assert import_file(path).accepted == 5000 - kept.accepted


def test_a_folder_is_read_whole_and_one_bad_file_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b.csv").write_text(HEADER + rows_of(3))
    (tmp_path / "a.parquet").write_bytes(b"half")
    (tmp_path / "readme.txt").write_text("hello")
    for hidden in ("_SUCCESS", ".a.csv.crc", "_tmp.csv"):
        (tmp_path / hidden).write_text("x")
    run = import_file(tmp_path)
    assert (run.state, run.files, run.failed, run.accepted) == ("failed", 1, 1, 3)
    assert "readme.txt: left out, its name tells no format" in run.message
    assert ImportedFile.objects.get(path__endswith="a.parquet").error
    assert "No column was found" in failed(tmp_path / "readme.txt", file_format="csv")


def test_a_pattern_names_files(tmp_path: Path) -> None:
    for place, name in enumerate(("2026-01.csv", "2026-02.csv", "2025-12.csv", "2026-notes.txt")):
        (tmp_path / name).write_text(HEADER + rows_of(1, place))
    (tmp_path / "[1].csv").write_text(HEADER + rows_of(1, 7))
    run = import_file(tmp_path / "2026-*")
    assert counts(run) == (2, 0, 0, 0)
    assert "2026-notes.txt: left out, its name tells no format." in run.message
    assert counts(import_file(tmp_path / "[1].csv")) == (1, 0, 0, 0)
    assert "no file is called so" in import_file(tmp_path / "2027-*").message


def test_places_that_are_not_there(tmp_path: Path) -> None:
    assert "there is no such file or folder" in failed(tmp_path / "nowhere")
    assert "the folder is empty" in failed(tmp_path)


def test_a_file_is_left_out_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER + rows_of(3))
    assert import_file(path).files == 1
    again = import_file(path)
    assert (again.files, again.skipped) == (0, 1)
    assert counts(import_file(path, again=True)) == (0, 3, 0, 0)
    path.write_text(HEADER + rows_of(4))
    os.utime(path, (0, 0))
    assert counts(import_file(path)) == (1, 3, 0, 0)
    assert ImportedFile.objects.get().accepted == 1


def test_another_mapping_reads_the_file_again(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER + rows_of(3))
    import_file(path)
    assert counts(import_file(path, ColumnMapping(type="other"))) == (0, 0, 3, 0)


def test_a_file_that_changes_while_it_is_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER + rows_of(3))
    unhurried = rows.CsvRows.__init__

    def grow(self: rows.CsvRows, stream: Any, shape: TextShape) -> None:
        unhurried(self, stream, shape)
        with path.open("a") as file:
            file.write(rows_of(1, 3))

    monkeypatch.setattr(rows.CsvRows, "__init__", grow)
    assert "changed while it was read: repeat when it is complete" in failed(path)
    monkeypatch.undo()
    assert counts(import_file(path)) == (0, 4, 0, 0)


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_any_split_into_batches_gives_the_same_usage(tmp_path: Path, batch: int) -> None:
    meter = make_meter()
    (tmp_path / "a.csv").write_text(HEADER + rows_of(20) + "\n" + rows_of(20))
    write_parquet(
        tmp_path / "b.parquet",
        {
            "id": [f"p{n}" for n in range(20)],
            "time": ["2026-01-05T10:00:00Z"] * 20,
            "customer": ["c1"] * 20,
            "tokens": range(20),
        },
        group=6,
    )
    run = import_file(tmp_path, batch=batch)
    assert counts(run) == (40, 20, 0, 0)
    assert usage(meter, [f"c{n}" for n in range(7)]) == {(): (Decimal(2 * sum(range(20))), 40)}


def test_parquet_goes_on_within_a_row_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(
        path,
        {"id": [f"p{n}" for n in range(20)], "time": ["2026-01-05T10:00:00Z"] * 20, "customer": ["c"] * 20},
        group=8,
    )
    import_file(path, batch=5)
    ImportedFile.objects.update(finished_at=None, part=1, position=3, line=11)
    assert counts(import_file(path, batch=5)) == (0, 9, 0, 0)
    assert pq.ParquetFile(path).num_row_groups == 3
