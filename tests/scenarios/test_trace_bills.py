"""Traces in foreign shapes, billed from the files of a scenario and counted by import_events, as recounted plainly."""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import call_command

from meters.periods import Period
from tests.invoicing.test_billing_file_simulate import saved, simulate
from tests.meters.making import make_meter, usage

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 1, 31, 22, 58, tzinfo=UTC)  # an hour and a minute before February in Berlin is UTC's month still
END = START + timedelta(days=1)
PRICE = Decimal("0.0137")
Row = tuple[int, str, str, int]  # seconds from the start, customer, model, tokens


def rows(seed: int, customers: list[str]) -> list[Row]:
    chosen = random.Random(seed)  # noqa: S311
    made = [
        (chosen.randrange(240), chosen.choice(customers), chosen.choice(["GPT-4", "ChatGPT"]), chosen.randrange(3000))
        for _ in range(300)
    ]
    return made + made[:20]  # rows that are alike all count


def write_seconds(folder: Path, made: list[Row]) -> None:
    """Relative seconds, no customer, no id, flattened names."""
    lines = [f'{second}.0,{model},"{tokens:,}",\\N' for second, _, model, tokens in made]
    (folder / "burst.csv").write_text("\n".join(["Timestamp,usage.model,usage.total tokens,Session ID", *lines]))


def write_milliseconds(folder: Path, made: list[Row]) -> None:
    rows = [
        {"timestamp": second * 1000, "org": {"id": org}, "usage": {"model": model, "total tokens": tokens}}
        for second, org, model, tokens in made
    ]
    (folder / "moon.jsonl").write_text("\n".join(map(json.dumps, rows)))


def write_hive(folder: Path, made: list[Row]) -> None:
    """A folder for each customer, each with a file of the same name; and one that is none of events."""
    for org in {customer for _, customer, _, _ in made}:
        mine = [row for row in made if row[1] == org]
        below = folder / "lake" / f"org={org}"
        below.mkdir(parents=True)
        (below / "README.md").write_text("about")
        at = pa.array([(START + timedelta(seconds=row[0])).replace(tzinfo=None) for row in mine], pa.timestamp("ns"))
        inner = pa.struct([("model", pa.string()), ("total tokens", pa.decimal128(20, 4))])
        used = [{"model": model, "total tokens": Decimal(tokens)} for _, _, model, tokens in mine]
        pq.write_table(pa.table({"at": at, "usage": pa.array(used, inner)}), below / "part-0.parquet")


FILES: list[dict[str, Any]] = [
    {
        "path": "burst.csv",
        "for_customer": "acme",
        "time_format": "s",
        "time_origin": START.isoformat(),
        "thousands": ",",
        "empty": ["\\N"],
    },
    {
        "path": "moon.jsonl",
        "customer": "org.id",
        "time": "timestamp",
        "time_format": "ms",
        "time_origin": "2026-01-31T23:58:00",
        "timezone": "Europe/Berlin",
    },
    {"path": "lake", "customer": "org", "time": "at", "folder_columns": True},
]


def scenario() -> dict[str, Any]:
    return {
        "name": "traces",
        "as_of": "2026-03-10T00:00:00Z",
        "meters": [
            {
                "key": "tokens",
                "event_type": "llm",
                "property": "usage.total tokens",
                "group_by": ["usage.model"],
            }
        ],
        "products": [{"key": "tokens", "meter": "tokens", "presentation_keys": ["usage.model"]}],
        "rate_cards": [
            {
                "key": "card",
                "currency": "USD",
                "rates": [{"product": "tokens", "price": {"model": "per_unit", "unit_amount": str(PRICE)}}],
            }
        ],
        "customers": [{"key": key, "timezone": "Europe/Berlin"} for key in ("acme", "globex")],
        "contracts": [
            {"key": f"{key}-1", "customer": key, "rate_card": "card", "starting_at": "2026-01-01"}
            for key in ("acme", "globex")
        ],
        "event_files": [{"type": "llm", "id_from_row": True, **each} for each in FILES],
    }


def command_line(given: dict[str, Any], folder: Path) -> list[str]:
    """The same file for import_events: each field is the option of its name."""
    options = ["import_events", str(folder / given["path"]), "--type", "llm", "--id-from-row", "-v", "0"]
    for name, value in given.items():
        if name != "path":
            flag = f"--{name.replace('_', '-')}"
            options += [flag] if value is True else [flag, *(value if isinstance(value, list) else [value])]
    return options


@pytest.mark.usefixtures("real_commits")
def test_foreign_traces_are_billed_to_the_cent(tmp_path: Path) -> None:
    one, two, three = rows(1, ["acme"]), rows(2, ["acme", "globex"]), rows(3, ["acme", "globex", "nobody"])
    write_seconds(tmp_path, one)
    write_milliseconds(tmp_path, two)
    write_hive(tmp_path, three)
    sums: Counter[tuple[str, str, int]] = Counter()
    for second, customer, model, tokens in [*one, *two, *three]:
        sums[customer, model, (START + timedelta(seconds=second)).astimezone(BERLIN).month] += tokens

    (result,) = simulate(saved(tmp_path, scenario()))
    assert result["events"] == {"accepted": 960, "duplicates": 0, "conflicts": 0, "rejected": 0}
    assert result["unclaimed"] == [{"customer": "nobody", "events": sum(row[1] == "nobody" for row in three)}]
    billed = {
        (
            invoice["customer"],
            line["group"]["usage.model"],
            datetime.fromisoformat(invoice["period"]["starting_at"]).astimezone(BERLIN).month,
        ): (line["quantity"], line["amount"])
        for invoice in result["invoices"]
        for line in invoice["lines"]
        if line["kind"] == "usage"
    }
    assert billed == {
        place: (str(total), str((total * PRICE).quantize(Decimal("0.01"), ROUND_HALF_UP)))
        for place, total in sums.items()
        if place[0] != "nobody"
    }

    meter = make_meter("sum", "usage.total tokens", key="tokens", group_by=["usage.model"])
    for each in FILES:
        call_command(*command_line(each, tmp_path))
        call_command(*command_line(each, tmp_path), "--again")
    for customer in ("acme", "globex", "nobody"):
        found = {group: quantity for group, (quantity, _) in usage(meter, (customer,), Period(START, END)).items()}
        assert found == {
            (model,): sum(sums[customer, model, month] for month in (1, 2)) for model in ("GPT-4", "ChatGPT")
        }


@pytest.mark.django_db
def test_rows_that_are_no_events_are_left_out_where_the_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,time,customer,n\n1,never,acme,5\n2,2026-01-31T22:59:00Z,acme,5\nsum,,,10\n")
    given = {"type": "call", "path": "rows.csv"}
    plain = {**scenario(), "meters": [], "products": [], "rate_cards": [], "contracts": [], "customers": []}
    (refused,) = simulate(saved(tmp_path, {**plain, "event_files": [given]}), fails=True)
    assert "`bad_rows: leave_out`" in refused["error"]["message"]
    (result,) = simulate(saved(tmp_path, {**plain, "event_files": [{**given, "bad_rows": "leave_out"}]}))
    assert result["events"] == {"accepted": 1, "duplicates": 0, "conflicts": 0, "rejected": 2}


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"time_format": "MM/DD"}, "event_files[0].time_format", "is no time format"),
    ({"separator": "ab"}, "event_files[0].separator", "is no separator"),
    ({"encoding": "klingon"}, "event_files[0].encoding", "cannot be read"),
    ({"time": "day"}, "event_files[0].path", 'Column "day" is missing'),
    ({"skip_lines": 1}, "event_files[0].path", "name its column with id, or make ids from row numbers with id_from"),
    ({"format": "parquet"}, "event_files[0].path", "no whole Parquet file"),
    ({"path": "notes.txt"}, "event_files[0].format", "tells no format"),
]


@pytest.mark.django_db
def test_what_is_wrong_with_a_file_is_said_by_field(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,time,customer,n\n1,2026-01-05,acme,5\n")
    (tmp_path / "notes.txt").write_text("id,time,customer,n\n")
    scenarios = [
        {"name": path, "event_files": [{"type": "llm", "path": "rows.csv", **given}]} for given, path, _ in FAULTS
    ]
    for result, (_, path, said) in zip(simulate(saved(tmp_path, scenarios), fails=True), FAULTS, strict=True):
        assert result["error"]["path"] == path
        assert said in result["error"]["message"]
