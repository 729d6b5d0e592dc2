"""Simulations: each scenario alone, the database as it was, one that fails in the place of its result."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import yaml
from django.contrib.postgres import signals
from django.core.management import CommandError, call_command
from django.db import connection, connections

from billing_project import scratch
from billing_project.errors import RuleError
from contracts.models import Customer
from invoicing.models import Invoice
from meters.models import Event, Subject
from tests.factories import day, sell, send


def scenario(name: str, units: int = 10, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "as_of": "2026-02-10T00:00:00Z",
        "meters": [{"key": "calls", "event_type": "call", "property": "n"}],
        "products": [{"key": "calls", "meter": "calls"}],
        "rate_cards": [
            {
                "key": "card",
                "currency": "USD",
                "rates": [{"product": "calls", "price": {"model": "per_unit", "unit_amount": "0.50"}}],
            }
        ],
        "customers": [{"key": "acme"}],
        "contracts": [{"key": "c", "customer": "acme", "rate_card": "card", "starting_at": "2026-01-01"}],
        "events": [
            {"id": "e", "customer": "acme", "type": "call", "time": "2026-01-02T00:00:00Z", "properties": {"n": units}}
        ],
        **more,
    }


def saved(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "scenarios.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def simulate(path: Path, *, fails: bool = False, **options: Any) -> list[dict[str, Any]]:
    out = StringIO()
    if fails:
        with pytest.raises(CommandError, match="scenarios failed"):
            call_command("simulate", str(path), json=True, stdout=out, **options)
    else:
        call_command("simulate", str(path), json=True, stdout=out, **options)
    found: list[dict[str, Any]] = json.loads(out.getvalue())["results"]
    return found


def databases() -> set[str]:
    """The scratch databases of this test's own database: other processes of the run have theirs."""
    own = str(connection.settings_dict["NAME"]).partition("_scratch_")[0][:22]
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", ["%scratch%"])
        return {name for (name,) in cursor.fetchall() if name.startswith(own)}


@pytest.mark.django_db
class TestIsolation:
    def test_the_database_is_as_it_was(self, tmp_path: Path) -> None:
        sell()
        before = connections["default"], databases()
        (result,) = simulate(saved(tmp_path, scenario("one")))
        assert [row["total"] for row in result["invoices"]] == ["5.00", "0.00"]
        assert (connections["default"], databases()) == before
        assert Customer.objects.count() == 1
        assert not Invoice.objects.exists()
        assert not Subject.objects.filter(key="acme").exists()

    def test_what_this_process_knows_of_events_is_of_its_own_database(self, tmp_path: Path) -> None:
        simulate(saved(tmp_path, scenario("one")))
        send("acme", 3, day(2), event_type="call")
        assert Event.objects.get().subject.key == "acme"

    def test_one_scenario_sees_nothing_of_another(self, tmp_path: Path) -> None:
        empty = scenario("empty", events=[], contracts=[], customers=[])
        first, second, third = simulate(saved(tmp_path, [scenario("one"), empty, scenario("one", units=7)]))
        assert first["invoices"][0]["total"] == "5.00"
        assert (second["invoices"], second["usage"], second["unclaimed"]) == ([], [], [])
        assert third["invoices"][0]["total"] == "3.50"
        assert third["usage"][0]["quantity"] == "7"

    def test_an_error_leaves_nothing_behind(self) -> None:
        before = databases()

        def stopped() -> None:
            with scratch.scratch_database():
                assert len(databases()) == len(before) + 1
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert databases() == before

    def test_two_at_once(self) -> None:
        together = Barrier(2, timeout=60)

        def one(key: str) -> list[str]:
            try:
                with scratch.scratch_database():
                    Customer.objects.create(key=key, name=key)
                    together.wait()
                    return list(Customer.objects.values_list("key", flat=True))
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(one, ["a", "b"])) == [["a"], ["b"]]

    def test_a_user_who_may_make_no_database_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = scratch._execute

        def modestly(maker: Any, statement: str, *names: str) -> None:
            with maker.cursor() as cursor:
                cursor.execute("SET ROLE pg_monitor")
            try:
                real(maker, statement, *names)
            finally:
                with maker.cursor() as cursor:
                    cursor.execute("RESET ROLE")

        monkeypatch.setattr(scratch, "_execute", modestly)
        with pytest.raises(RuleError, match="CREATEDB"), scratch.scratch_database():
            pass


@pytest.mark.django_db
class TestMany:
    def test_hundreds_in_a_minute(self, tmp_path: Path) -> None:
        """300 in a minute on two cores leave 0.4 seconds of CPU time for each, the database's part included."""
        count, before = 30, os.times()
        results = simulate(saved(tmp_path, [scenario(f"s{n}", units=n) for n in range(1, count + 1)]))
        assert [row["invoices"][0]["subtotal"] for row in results] == [f"{n / 2:.2f}" for n in range(1, count + 1)]
        assert sum(os.times()[:4]) - sum(before[:4]) < count * 0.3

    @pytest.mark.parametrize("processes", [1, 2])
    def test_several_processes_answer_as_one_does(
        self, tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("billing_project.side_by_side.threading.active_count", lambda: 1)
        broken = scenario("broken", products=[{"key": "calls", "meter": "nowhere"}])
        many = [scenario("a"), broken, *(scenario(f"s{n}", units=n) for n in range(3))]
        before = connections["default"], databases()
        results = simulate(saved(tmp_path, many), fails=True, processes=processes)
        assert [row["name"] for row in results] == ["a", "broken", "s0", "s1", "s2"]
        assert results[1]["error"]["path"] == "products[0].meter"
        assert [results[n]["invoices"][0]["total"] for n in (0, 2, 3, 4)] == ["5.00", "0.00", "0.50", "1.00"]
        assert (connections["default"], databases()) == before

    def test_several_who_may_make_no_database_say_so_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("billing_project.side_by_side.threading.active_count", lambda: 1)

        def refused(maker: Any, name: str, template: str) -> None:
            raise RuleError("may not: CREATEDB", code="no_createdb")

        monkeypatch.setattr(scratch, "_make", refused)
        with pytest.raises(CommandError, match="CREATEDB"):
            call_command("simulate", str(saved(tmp_path, [scenario("a"), scenario("b")])), processes=2)

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_lists_and_documents(self, tmp_path: Path, wrapped: bool) -> None:
        many = [scenario("a"), scenario("b")]
        path = saved(tmp_path, {"scenarios": many} if wrapped else many)
        assert [row["name"] for row in simulate(path)] == ["a", "b"]
        path.write_text(yaml.safe_dump_all(many))
        assert [row["name"] for row in simulate(path)] == ["a", "b"]


@pytest.mark.django_db
class TestFailures:
    def test_one_that_fails_stands_in_its_place(self, tmp_path: Path) -> None:
        broken = scenario("broken", products=[{"key": "calls", "meter": "nowhere"}])
        first, second, third = simulate(saved(tmp_path, [scenario("a"), broken, scenario("c")]), fails=True)
        assert (first["name"], third["invoices"][0]["total"]) == ("a", "5.00")
        assert second["name"] == "broken"
        assert second["error"]["path"] == "products[0].meter"
        assert second["error"]["code"] == "unknown"

    @pytest.mark.parametrize(
        ("events", "path"),
        [
            ([{"id": "e", "customer": "a", "type": "call", "time": "yesterday"}], "events[0].time"),
            ([{"id": "e", "customer": "a", "type": "call", "time": "2026-02-30"}], "events[0].time"),
            ([{"id": "e", "customer": "", "type": "call", "time": "2026-01-01T00:00:00Z"}], "events[0].customer"),
            ([{"id": "e", "customer": "a", "type": "call", "time": "2026-01-01", "colour": "red"}], "events[0].colour"),
            ([{"id": "e", "type": "call", "time": "2026-01-01"}], "events[0].customer"),
            ("many", "events"),
        ],
    )
    def test_a_broken_event_is_named(self, tmp_path: Path, events: Any, path: str) -> None:
        (result,) = simulate(saved(tmp_path, scenario("a", events=events)), fails=True)
        assert result["error"]["path"] == path

    def test_a_file_of_events_that_is_not_there(self, tmp_path: Path) -> None:
        files = [{"path": "none.csv", "type": "call"}]
        (result,) = simulate(saved(tmp_path, scenario("a", event_files=files)), fails=True)
        assert result["error"]["path"] == "event_files[0].path"

    def test_a_broken_row_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text("id,time,customer,n\n1,never,acme,5\n")
        files = [{"path": "rows.csv", "type": "call"}]
        (result,) = simulate(saved(tmp_path, scenario("a", event_files=files)), fails=True)
        assert result["error"]["path"] == "event_files[0]"
        assert "line 2" in result["error"]["message"]

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.yaml"
        path.write_text(f"{yaml.safe_dump(scenario('a'))}\n---\na: [1\n")
        first, second = simulate(path, fails=True)
        assert first["invoices"][0]["total"] == "5.00"
        assert second["error"]["code"] == "unreadable"
        (result,) = simulate(tmp_path / "none.yaml", fails=True)
        assert result["error"]["code"] == "unreadable"


@pytest.mark.django_db
class TestAsOf:
    def test_what_comes_after_has_not_happened(self, tmp_path: Path) -> None:
        events = [
            {"id": f"e{n}", "customer": "acme", "type": "call", "time": at, "properties": {"n": 10}}
            for n, at in enumerate(
                ["2026-01-02T00:00:00Z", "2026-02-10T00:00:00Z", "2026-02-10T00:00:00.1Z", "2026-09-01"]
            )
        ]
        (result,) = simulate(saved(tmp_path, scenario("a", events=events)))
        assert [row["total"] for row in result["invoices"]] == ["5.00", "5.00"]
        assert result["events"]["accepted"] == 2

    def test_retries_and_shuffles_change_nothing(self, tmp_path: Path) -> None:
        events = [
            {"id": f"e{n}", "customer": "acme", "type": "call", "time": f"2026-01-0{n}", "properties": {"n": n}}
            for n in range(1, 6)
        ]
        plain, shuffled = simulate(
            saved(tmp_path, [scenario("a", events=events), scenario("a", events=[*events[::-1], *events])])
        )
        del plain["events"], shuffled["events"]
        assert plain == shuffled

    def test_numbers_of_events_stay_exact(self, tmp_path: Path) -> None:
        path = saved(tmp_path, scenario("a"))
        path.write_text(path.read_text().replace("n: 10", "n: 12345678901234567890.123456789012345678"))
        (result,) = simulate(path)
        assert result["usage"][0]["quantity"] == "12345678901234567890.123456789012345678"

    def test_a_bare_date_is_midnight_where_the_customer_is(self, tmp_path: Path) -> None:
        events = [{"id": "e", "customer": "acme", "type": "call", "time": "2026-02-01", "properties": {"n": 10}}]
        where = [{"key": "acme", "timezone": "Asia/Kolkata"}]
        (result,) = simulate(saved(tmp_path, scenario("a", events=events, customers=where)))
        assert [row["total"] for row in result["invoices"]] == ["0.00", "5.00"]
        assert result["invoices"][1]["period"]["starting_at"] == "2026-01-31T18:30:00+00:00"


@pytest.mark.django_db
def test_people_read_columns(tmp_path: Path) -> None:
    credit = [{"key": "c", "customer": "acme", "rate_card": "card", "starting_at": "2026-01-01",
               "credits": [{"key": "gift", "access": [{"amount": "2"}]}]}]  # fmt: skip
    out = StringIO()
    call_command("simulate", str(saved(tmp_path, scenario("shown", contracts=credit))), stdout=out)
    text = out.getvalue()
    assert text.startswith("shown\n\n  c, usage, 2026-01-01 to 2026-02-01, in_review\n")
    assert "    calls            4  0.50   2.00\n" in text
    assert "    c, gift              0.00 USD\n" in text


@pytest.mark.django_db
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_scenario_that_cannot_be_read_leaves_the_others(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scenarios{suffix}"
    good = json.dumps(scenario("good"))
    path.write_text(f'[{{"name": "twice", "as_of": "2026-01-01", "as_of": "2026-01-02"}}, {good}]')
    bad, last = simulate(path, fails=True)
    assert (bad["error"]["code"], bad["error"]["path"]) == ("repeated", "as_of")
    assert (last["name"], last["invoices"][0]["total"]) == ("good", "5.00")


@pytest.mark.django_db
def test_a_simulation_needs_the_server_alone() -> None:
    """In a new process, which knows no types yet and has no connection."""
    for oids in (signals.get_hstore_oids, signals.get_citext_oids):
        oids.cache_clear()  # type: ignore[attr-defined]
    real = connections["default"]
    absent = real.copy()
    absent.settings_dict["NAME"] = "not_made_yet"
    connections["default"] = absent
    try:
        maker = scratch.maker_of_databases()
        assert connections["default"] is absent
        assert maker.settings_dict["NAME"] == "postgres"
        maker.close()
    finally:
        connections["default"] = real


@pytest.mark.django_db
def test_without_a_server_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    with pytest.raises(RuleError, match=r"Connection refused.*correct DATABASE_URL"):
        scratch.maker_of_databases()
