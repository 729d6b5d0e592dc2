"""Exports: what is new since, in files that are whole, once, however writers interleave and wherever it is killed."""

import csv
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import example, given
from hypothesis import strategies as st

from billing_project.errors import ConflictError, RuleError
from billing_project.locks import lock_number
from contracts.ledger import post
from contracts.models import CustomerKey
from invoicing import credit_notes, lifecycle, payments, voiding
from invoicing.exports import running
from invoicing.exports.columns import DIGITS, Kind, as_text, columns, fits
from invoicing.exports.files import parts, write
from invoicing.exports.running import export
from invoicing.models import Export, ExportRun, Invoice
from invoicing.revenue import RECEIVABLE
from meters import archive, archive_places, partitions
from meters.models import EventArchive, Meter
from tests.factories import MeterFactory, count_all, day, reviewed, sell, send, user
from tests.meters.making import settled
from tests.s3 import point_to, s3_server

D = Decimal
committed = pytest.mark.usefixtures("real_commits")


class TestFiles:
    @given(st.decimals(allow_nan=False, allow_infinity=False, min_value=D("-1e30"), max_value=D("1e30")))
    @example(D("12345678901234567890.123456789012345678"))
    @example(D("12345678901234567890.1234567890123456789"))
    @example(D("123456789012345678901.5"))
    def test_what_fits_is_held_digit_for_digit(self, value: Decimal) -> None:
        if fits(value, 18):
            assert pa.scalar(value, pa.decimal128(DIGITS, 18)).as_py() == value
        else:
            with pytest.raises(pa.ArrowInvalid):
                pa.scalar(value, pa.decimal128(DIGITS, 18))

    def test_a_decimal_that_does_not_fit_is_text(self, tmp_path: Path) -> None:
        tiny = D("0.00000000000000000000000000000000000001")
        rows = [(D("1.50"), day(1)), (tiny, None), (None, None)]
        written = write(tmp_path / "a.parquet", columns(price=Kind.EXACT, at=Kind.INSTANT), rows, lambda _: None)
        table = pq.read_table(tmp_path / "a.parquet")
        assert table["price"].to_pylist() == [D("1.5"), None, None]
        assert table["price_text"].to_pylist() == ["1.5", f"{tiny:f}", None]
        assert table["at"].to_pylist()[0] == day(1)
        assert written.rows == 3

    def test_csv_is_plain(self, tmp_path: Path) -> None:
        named = columns(a=Kind.EXACT, b=Kind.INSTANT, c=Kind.JSON, d=Kind.TEXT)
        written = write(
            tmp_path / "a.csv", named, [(D("5E-8"), day(2), {"x": None}, 'q"\n'), (None,) * 4], lambda _: None
        )
        text = (tmp_path / "a.csv").read_text()
        assert text == 'a,b,c,d\n0.00000005,2026-01-02T00:00:00Z,"{""x"":null}","q""\n"\n,,,\n'
        assert written.sha256 == hashlib.sha256(text.encode()).hexdigest()

    def test_money_that_does_not_fit_is_refused_not_rounded(self, tmp_path: Path) -> None:
        with pytest.raises(pa.ArrowInvalid):
            write(tmp_path / "a.parquet", columns(a=Kind.AMOUNT), [(D("0.0000001"),)], lambda _: None)

    @given(st.lists(st.integers(), max_size=20), st.integers(1, 5))
    def test_parts_lose_nothing(self, rows: list[int], most: int) -> None:
        found = [[each for (each,) in part] for part in parts(((row,) for row in rows), most)]
        assert [each for part in found for each in part] == rows
        assert all(0 < len(part) <= most for part in found)

    def test_nothing_is_empty_text(self) -> None:
        assert [as_text(each) for each in (None, "", 0, D("1.10"))] == ["", "", "0", "1.1"]


def told(folder: Path, dataset: str) -> list[dict[str, str]]:
    """The rows of every file a manifest names, in order; the files are as the manifests say."""
    rows: list[dict[str, str]] = []
    for manifest in sorted(folder.glob(f"{dataset}-*.json")):
        given = json.loads(manifest.read_text())
        before = len(rows)
        for file in given["files"]:
            content = (folder / file["name"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"])
            rows += csv.DictReader(io.StringIO(content.decode()))
        assert len(rows) - before == given["rows"]
    return rows


def run(place: Path | str, *datasets: str, **more: Any) -> dict[str, int]:
    settled()
    found = {name: export(name, str(place), **more) for name in datasets}
    return {name: each.rows if each else 0 for name, each in found.items()}


def issued(**terms: Any) -> Invoice:
    finance = User.objects.filter(username="finance").first() or user("Finance")
    invoice = reviewed(**terms)
    lifecycle.approve(invoice.pk, finance)
    return lifecycle.issue(invoice.pk, finance)


@pytest.fixture
def empty_months(real_commits: None) -> Iterator[None]:
    yield
    EventArchive.objects.all().delete()
    partitions.forget()


@committed
class TestWhatIsExported:
    def test_changes_and_voids_are_rows(self, tmp_path: Path) -> None:
        """An invoice of 5.00, paid in two parts; another one, credited by 1.00; a third, voided and billed anew."""
        first, second, third = issued(), issued(), issued()
        finance = User.objects.get(username="finance")
        assert run(tmp_path, "invoices", "lines", "journal") == {"invoices": 3, "lines": 3, "journal": 12}
        for number, amount in enumerate(("2", "3")):
            payments.record_payment(first.pk, payments.Received(D(amount), day(9, 2), f"hand:{number}"), finance)
        other = user("Finance", "other")
        note = credit_notes.request_credit_note(second.pk, {1: D(1)}, "outage", finance)
        credit_notes.issue_credit_note(note.pk, other)
        voiding.void(third.pk, finance, "wrong customer")
        assert run(tmp_path, "invoices", "lines") == {"invoices": 4, "lines": 2}
        assert run(tmp_path, "invoices", "lines") == {"invoices": 0, "lines": 0}

        invoices = told(tmp_path, "invoices")
        changes = [
            (row["status"], row["paid"], row["credited"], row["open"])
            for row in invoices
            if row["invoice"] == str(first.pk)
        ]
        assert changes == [("issued", "0", "0", "5"), ("issued", "2", "0", "3"), ("paid", "5", "0", "0")]
        last = {row["invoice"]: row for row in sorted(invoices, key=lambda row: int(row["change"]))}
        for invoice in Invoice.objects.exclude(number=None):
            row = last[str(invoice.pk)]
            assert (row["number"], row["status"], D(row["open"])) == (
                invoice.number,
                invoice.status,
                invoice.open_amount,
            )

        net: dict[str, Decimal] = defaultdict(Decimal)
        for row in told(tmp_path, "lines"):
            net[row["number"]] += D(row["amount"])
        assert net == {first.number: 5, second.number: 4, third.number: 0}
        assert sorted(row["event"] for row in told(tmp_path, "lines")) == [
            "credited",
            "issued",
            "issued",
            "issued",
            "void",
        ]
        run(tmp_path, "journal")
        owed = sum(D(row["amount"]) for row in told(tmp_path, "journal") if row["account"] == RECEIVABLE)
        assert owed == sum(invoice.open_amount for invoice in Invoice.objects.filter(status="issued")) == 4

    @pytest.mark.books_unchecked
    def test_the_ledger(self, tmp_path: Path) -> None:
        (contract,) = sell()
        post(contract, "c1", "start", D("100.123456789012345678901"), day(1), "test:1", "w")
        assert run(tmp_path, "ledger") == {"ledger": 1}
        post(contract, "c1", "draw", D(-4), day(2), "test:2", "w")
        assert run(tmp_path, "ledger") == {"ledger": 1}
        start, draw = told(tmp_path, "ledger")
        assert (start["amount"], draw["amount"]) == ("100.123456789012345678901", "-4")
        assert start["contract"] == contract.key

    def test_usage_is_told_again_when_events_of_the_day_came(self, tmp_path: Path) -> None:
        (contract,) = sell(used=(10,))
        customer = contract.customer.key
        send("nobody", 3, day(10))
        assert run(tmp_path, "usage") == {"usage": 2}
        send(customer, 5, day(10), event_id="late")
        send(customer, 1, day(11))
        assert run(tmp_path, "usage") == {"usage": 2}
        latest = {(row["day"], row["customer_key"]): row for row in told(tmp_path, "usage")}
        assert {key: row["quantity"] for key, row in latest.items()} == {
            ("2026-01-10", customer): "15",
            ("2026-01-10", "nobody"): "3",
            ("2026-01-11", customer): "1",
        }
        assert latest["2026-01-10", "nobody"]["customer"] == ""
        assert CustomerKey.objects.get(key=customer).customer.key == latest["2026-01-11", customer]["customer"]

    def test_archived_months_are_told_from_their_buckets(self, tmp_path: Path, empty_months: None) -> None:
        """January's events lie in a file before the first export; February's leave between two exports, with an event
        that none has told yet.
        """
        (contract,) = sell(used=(10,))
        customer = contract.customer.key
        place = tmp_path / "archive"
        place.mkdir()
        count_all()
        settled()
        archive.drop(archive.export(day(1), str(place)))
        send(customer, 4, day(3, month=2))
        assert run(tmp_path, "usage") == {"usage": 2}
        assert run(tmp_path, "usage") == {"usage": 0}
        send(customer, 5, day(3, month=2), event_id="late")
        count_all()
        settled()
        archive.drop(archive.export(day(1, month=2), str(place)))
        assert run(tmp_path, "usage") == {"usage": 1}
        assert run(tmp_path, "usage") == {"usage": 0}
        found = {row["day"]: (row["quantity"], row["customer"]) for row in told(tmp_path, "usage")}
        assert found == {"2026-01-10": ("10", customer), "2026-02-03": ("9", customer)}

    def test_what_a_late_meter_cannot_tell_is_named(self, tmp_path: Path, empty_months: None) -> None:
        sell(used=(10,))
        place = tmp_path / "archive"
        place.mkdir()
        count_all()
        settled()
        archive.drop(archive.export(day(1), str(place)))
        MeterFactory.create(key="calls", aggregation="count")
        out = io.StringIO()
        call_command("export", "usage", "--to", str(tmp_path), stdout=out, stderr=io.StringIO())
        assert "usage: 1 rows in 1 file." in out.getvalue()
        assert (
            "Left out: calls in 2026-01. The meter was made after that month's events were archived" in out.getvalue()
        )
        manifest = json.loads((tmp_path / "usage-000001.json").read_text())
        assert manifest["left_out"] == [{"meter": "calls", "month": "2026-01"}]
        assert [row["meter"] for row in told(tmp_path, "usage")] != ["calls"]

    def test_revenue_by_day(self, tmp_path: Path) -> None:
        invoice = issued()
        assert run(tmp_path, "revenue") == {"revenue": 1}
        voiding.void(invoice.pk, User.objects.get(username="finance"), "wrong customer")
        assert run(tmp_path, "revenue") == {"revenue": 1}
        rows = told(tmp_path, "revenue")
        assert [(row["day"], row["booked"], row["amount"]) for row in rows] == [
            ("2026-01-10", "2026-01-31", "5"),
            ("2026-01-10", "2026-01-31", "-5"),
        ]

    def test_a_meter_made_later_tells_its_history(self, tmp_path: Path) -> None:
        (contract,) = sell(used=(10,))
        run(tmp_path, "usage")
        MeterFactory.create(key="calls", aggregation="count")
        assert run(tmp_path, "usage") == {"usage": 1}
        assert told(tmp_path, "usage")[-1]["meter"] == "calls"
        assert Meter.objects.count() == 2
        assert run(tmp_path, "usage") == {"usage": 0}
        assert contract.customer.key == told(tmp_path, "usage")[-1]["customer_key"]


@committed
class TestOnceAndAll:
    def test_what_commits_late_is_not_missed(self, tmp_path: Path) -> None:
        """One entry is written first and committed last."""
        (contract,) = sell()
        statement = (
            "INSERT INTO contracts_ledgerentry (customer_id, balance, segment, kind, amount, at, source, created_at) "
            "VALUES (%s, 'c1', '', 'start', 1, now(), %s, now())"
        )
        with psycopg.connect(**_database()) as slow:
            slow.execute(statement, [contract.customer_id, "slow"])
            with psycopg.connect(**_database(), autocommit=True) as fast:
                fast.execute(statement, [contract.customer_id, "fast"])
            # Held back with what may still come before it.
            assert export("ledger", str(tmp_path)) is None
            slow.commit()
        assert run(tmp_path, "ledger") == {"ledger": 2}
        assert {row["source"] for row in told(tmp_path, "ledger")} == {"slow", "fast"}

    @pytest.mark.parametrize("moment", range(7))
    def test_killed_anywhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
        """Five entries in files of two; the run dies at one of its seven steps, more is written, it is called again."""
        (contract,) = sell()
        for number in range(5):
            post(contract, "c1", "start", D(1), day(1), f"a{number}")
        settled()
        steps = _dying_at(moment, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            export("ledger", str(tmp_path), most_rows=2)
        assert steps.taken == moment + 1
        monkeypatch.undo()
        post(contract, "c1", "start", D(1), day(1), "b")
        found = run(tmp_path, "ledger", most_rows=2)
        assert found == {"ledger": 5 if moment else 6}
        run(tmp_path, "ledger", most_rows=2)
        assert [row["source"] for row in told(tmp_path, "ledger")] == ["a0", "a1", "a2", "a3", "a4", "b"]
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    def test_two_at_once(self, tmp_path: Path) -> None:
        (contract,) = sell()
        post(contract, "c1", "start", D(1), day(1), "a")
        settled()
        with psycopg.connect(**_database(), autocommit=True) as other:
            number = lock_number("export", "ledger", str(tmp_path), "csv")
            other.execute("SELECT pg_advisory_lock(%s)", [number])
            with pytest.raises(ConflictError, match="is being exported already"):
                export("ledger", str(tmp_path))
            other.execute("SELECT pg_advisory_unlock(%s)", [number])
        assert export("ledger", str(tmp_path))

    def test_each_place_and_format_has_its_own(self, tmp_path: Path) -> None:
        (contract,) = sell()
        post(contract, "c1", "start", D(1), day(1), "a")
        assert run(tmp_path / "a", "ledger") == {"ledger": 1}
        assert run(tmp_path / "b", "ledger") == {"ledger": 1}
        assert run(tmp_path / "a", "ledger", format_name="parquet") == {"ledger": 1}
        assert run(tmp_path / "a", "ledger") == {"ledger": 0}
        assert Export.objects.count() == 3

    def test_a_database_restored_elsewhere_starts_over(self, tmp_path: Path) -> None:
        (contract,) = sell()
        post(contract, "c1", "start", D(1), day(1), "a")
        run(tmp_path, "ledger")
        Export.objects.update(system_identifier=1)
        with pytest.raises(ConflictError, match="restored on another server"):
            export("ledger", str(tmp_path))
        assert run(tmp_path, "ledger", start_over=True) == {"ledger": 1}
        manifest = json.loads((tmp_path / "ledger-000002.json").read_text())
        assert manifest["from_the_beginning"] is True
        assert run(tmp_path, "ledger") == {"ledger": 0}


class _Steps:
    taken = 0


def _dying_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> _Steps:
    """Raise where a kill would end it: before and after each of three files, the manifest, and the commit."""
    steps, put, finish, plan = _Steps(), archive_places.put, running._finish, running._planned

    def step() -> None:
        steps.taken += 1
        if steps.taken == moment + 1:
            raise KeyboardInterrupt

    def planned(*args: Any, **more: Any) -> ExportRun:
        step()
        found = plan(*args, **more)
        step()
        return found

    def dying_put(*args: Any) -> None:
        put(*args)
        step()

    def dying_finish(*args: Any) -> None:
        step()
        finish(*args)

    monkeypatch.setattr(running, "_planned", planned)
    monkeypatch.setattr(running, "put", dying_put)
    monkeypatch.setattr(running, "_finish", dying_finish)
    return steps


def _database() -> dict[str, Any]:
    given = connection.get_connection_params()
    return {name: given[name] for name in ("dbname", "user", "password", "host", "port") if given.get(name)}


@committed
def test_to_s3_as_parquet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with s3_server() as address:
        client = point_to(address, monkeypatch, tmp_path)
        client.create_bucket(Bucket="warehouse")
        invoice = issued()
        settled()
        out = io.StringIO()
        given = ["--to", "s3://warehouse/books", "--format", "parquet"]
        call_command("export", *given, stdout=out, stderr=io.StringIO())
        assert "lines: 1 rows in 1 file." in out.getvalue()
        keys = [each["Key"] for each in client.list_objects_v2(Bucket="warehouse")["Contents"]]
        assert [key for key in keys if "lines" in key] == ["books/lines-000001-0001.parquet", "books/lines-000001.json"]
        content = client.get_object(Bucket="warehouse", Key="books/lines-000001-0001.parquet")["Body"].read()
        (row,) = pq.read_table(io.BytesIO(content)).to_pylist()
        assert (row["number"], row["amount"], row["quantity"], row["quantity_text"]) == (invoice.number, 5, 10, "10")
        out = io.StringIO()
        call_command("export", "lines", *given, stdout=out, stderr=io.StringIO())
        assert out.getvalue() == "lines: nothing new.\n"


@pytest.mark.django_db
class TestRefusals:
    def test_by_name(self, tmp_path: Path) -> None:
        with pytest.raises(RuleError, match="There is no events: choose invoices, lines"):
            export("events", str(tmp_path))
        with pytest.raises(RuleError, match="csv, parquet"):
            export("lines", str(tmp_path), "xlsx")
        with pytest.raises(CommandError, match="There is no events"):
            call_command("export", "events", "--to", str(tmp_path))

    def test_the_list_of_runs(self, client: Any, roles: None, tmp_path: Path) -> None:
        made = Export.objects.create(dataset="lines", place=str(tmp_path), format="csv", system_identifier=1)
        ExportRun.objects.create(export=made, number=1, start=0, end=9, rows=3)
        client.force_login(user("Auditor"))
        page = client.get("/admin/invoicing/exportrun/").content.decode()
        assert "Under way or stopped" in page
        assert str(tmp_path) in page
