"""Reading billing files, applying them, and their JSON Schema."""

import copy
import json
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.core.management import CommandError, call_command

from catalog.models import Product, Rate, RateCard
from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod, Contract, Customer, CustomerKey, LedgerEntry
from invoicing.billing_file.reading import Written, read_documents, read_one
from invoicing.billing_file.schema import json_schema
from meters.models import Meter
from tests.factories import day

SCENARIOS = Path(__file__).parents[1] / "scenarios"
EXAMPLE = SCENARIOS / "everything.yaml"


def written(tmp_path: Path, text: str, name: str = "file.yaml") -> list[Written]:
    path = tmp_path / name
    path.write_text(text)
    return read_documents(path)


def fault(tmp_path: Path, text: str, name: str = "file.yaml") -> tuple[str, str]:
    (found,) = written(tmp_path, text, name)[-1].faults
    return found.path, found.code


def apply(*paths: Path, **options: Any) -> str:
    out = StringIO()
    call_command("apply", *map(str, paths), stdout=out, **options)
    return out.getvalue()


def refusal(*paths: Path) -> str:
    with pytest.raises(CommandError) as caught:
        apply(*paths)
    return str(caught.value)


class TestReading:
    def test_numbers_keep_every_digit_and_instants_stay_text(self, tmp_path: Path) -> None:
        (document,) = written(tmp_path, "a: 0.10\nb: 1e-7\nc: 12\nd: 2026-01-01\ne: no\nf: 12:30\ng: 007\nh: 1_000\n")
        assert document.value == {
            "a": Decimal("0.10"), "b": Decimal("1e-7"), "c": 12, "d": "2026-01-01", "e": "no", "f": "12:30",
            "g": "007", "h": "1_000",
        }  # fmt: skip
        assert str(document.value["a"]) == "0.10"

    def test_objects_take_over_the_keys_of_others(self, tmp_path: Path) -> None:
        text = "a: &a {x: 1, y: 2}\nb: &b {z: 3, x: 4}\nc: {<<: *a, y: 5}\nd: {<<: [*b, *a]}\ne: {'<<': 6}"
        (document,) = written(tmp_path, text)
        assert document.value["c"] == {"x": 1, "y": 5}
        assert document.value["d"] == {"z": 3, "x": 4, "y": 2}
        assert document.value["e"] == {"<<": 6}
        assert fault(tmp_path, "a: {<<: 3}") == ("a.<<", "type")

    def test_json_reads_the_same(self, tmp_path: Path) -> None:
        (document,) = written(tmp_path, '{"a": 0.10, "b": [1, null, true]}', "file.json")
        assert document.value == {"a": Decimal("0.10"), "b": [1, None, True]}

    @pytest.mark.parametrize("name", ["file.yaml", "file.json"])
    def test_nothing_is_said_twice(self, tmp_path: Path, name: str) -> None:
        assert fault(tmp_path, '{"a": {"b": 1, "b": 2}}', name) == ("a.b", "repeated")

    @pytest.mark.parametrize(
        ("text", "path", "code"),
        [
            ("a: [1", "", "unreadable"),
            ("a: !!python/object:os.system x", "a", "tag"),
            ("a: !!int many", "a", "tag"),
            ("[1]: 2", "", "key"),
            ("a: &x [*x]", "a[0]", "aliases"),
            ('a: "\\0"', "a", "text"),
            ("", "", "empty"),
            ("a: " + "[" * 5000, "", "unreadable"),
        ],
    )
    def test_what_cannot_be_read_is_named(self, tmp_path: Path, text: str, path: str, code: str) -> None:
        assert fault(tmp_path, text) == (path, code)

    def test_json_may_hold_what_a_database_cannot(self, tmp_path: Path) -> None:
        assert fault(tmp_path, '{"a": "\\ud800"}', "file.json") == ("a", "text")
        assert fault(tmp_path, '{"a": NaN}', "file.json")[1] == "number"

    def test_aliases_cannot_stand_for_more_than_memory_holds(self, tmp_path: Path) -> None:
        layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        assert fault(tmp_path, "\n".join(layers))[1] == "aliases"

    def test_a_file_that_is_not_there_or_no_text(self, tmp_path: Path) -> None:
        assert read_documents(tmp_path / "none.yaml")[0].faults[0].code == "unreadable"
        (tmp_path / "latin.yaml").write_bytes(b"name: M\xfcller")
        assert read_documents(tmp_path / "latin.yaml")[0].faults[0].code == "unreadable"


class TestSchema:
    def test_it_is_a_schema_and_the_examples_are_valid(self) -> None:
        out = StringIO()
        call_command("billing_schema", stdout=out)
        schema = json.loads(out.getvalue())
        jsonschema.Draft202012Validator.check_schema(schema)
        for path in SCENARIOS.glob("*.yaml"):
            for document in read_documents(path):
                as_json = json.loads(json.dumps(document.value, default=str))
                jsonschema.validate(as_json, schema)

    def test_it_refuses_what_the_reader_refuses(self) -> None:
        schema = json_schema()
        refused: list[object] = [
            {"metres": []},
            {"meters": [{"name": "no key"}]},
            {"as_of": 5},
            {"scenarios": [{"name": 5}]},
        ]
        for wrong in refused:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(wrong, schema)


@pytest.mark.django_db
class TestApply:
    def test_everything_lands_as_written(self) -> None:
        assert "20 to create" in apply(EXAMPLE)
        meter = Meter.objects.get(key="output-tokens")
        assert (meter.event_types, meter.value_property, meter.group_by) == (
            ["llm.completion"], "usage.output_tokens", ["model", "region"],
        )  # fmt: skip
        assert meter.filters[3] == {"property": "steps", "gt": "50"}
        product = Product.objects.get(key="output")
        assert (product.divide_by, product.rounding, product.tags) == (1_000_000, "up", ["tokens"])
        card = RateCard.objects.get(key="list-2026")
        assert card.pricing_units == [{"key": "credit", "rate": "0.1"}]
        rate = Rate.objects.get(product=product, starting_at=None)
        assert (rate.where, rate.ending_before) == ({"model": "gpt-4o"}, day(1, month=2))
        assert rate.commit_price == {"model": "per_unit", "unit_amount": "9"}
        customer = Customer.objects.get(key="acme")
        assert (customer.tax_rate, customer.tax_id, customer.email) == (Decimal("0.19"), "DE123", "ap@acme.test")
        assert set(customer.keys.values_list("key", flat=True)) == {"acme", "acme-prod", "acme-eu"}
        contract = Contract.objects.get(key="acme-2026")
        assert contract.starting_at.isoformat() == "2025-12-31T23:00:00+00:00"
        assert contract.deal["commits"][0]["access"][0]["amount"] == "10000"

    def test_a_second_run_changes_nothing(self) -> None:
        apply(EXAMPLE)
        before = Contract.pgh_event_model.objects.count()  # type: ignore[attr-defined]
        assert "0 to create, 0 to change, 20 unchanged." in apply(EXAMPLE)
        assert Contract.pgh_event_model.objects.count() == before  # type: ignore[attr-defined]

    def test_a_dry_run_shows_the_plan_and_changes_nothing(self) -> None:
        plan = apply(EXAMPLE, dry_run=True)
        assert "Dry run, nothing changed. 20 to create" in plan
        assert "create     rate       list-2026 seat" in plan
        assert not Meter.objects.exists()

    def test_several_files_build_one(self, tmp_path: Path) -> None:
        whole = read_one(EXAMPLE)
        halves = [["contracts", "customers", "templates"], ["meters", "products", "rate_cards", "tax_rates"]]
        for number, names in enumerate(halves):
            part = {name: whole[name] for name in names}
            (tmp_path / f"{number}.json").write_text(json.dumps(part, default=str))
        assert "20 to create" in apply(tmp_path / "0.json", tmp_path / "1.json")

    def test_faults_of_several_files_name_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("meters: [{key: a, event_type: x, aggregation: count}]")
        (tmp_path / "b.yaml").write_text("meters: [{key: a, event_type: x, aggregation: count}]")
        assert f"{tmp_path}/b.yaml: meters[0].key: a is also the key of" in refusal(
            tmp_path / "a.yaml", tmp_path / "b.yaml"
        )

    def test_what_changes_is_shown(self, tmp_path: Path) -> None:
        apply(EXAMPLE)
        changed = edited(tmp_path, ("rate_cards", 0, "name"), "Prices")
        assert "name: List prices 2026 → Prices" in apply(changed)
        apply(EXAMPLE)
        changed = edited(tmp_path, ("contracts", 0, "discounts"), [])
        plan = apply(changed)
        assert "discounts: [{" in plan
        assert "1 to change" in plan
        assert "discounts" not in Contract.objects.get().deal

    def test_rates_that_move_together(self, tmp_path: Path) -> None:
        apply(EXAMPLE)
        document = read_one(EXAMPLE)
        rates = document["rate_cards"][0]["rates"]
        rates[0]["ending_before"] = "2026-01-10"
        rates.append({**rates[1], "starting_at": "2026-01-10", "ending_before": "2026-02-01"})
        assert "1 to create, 1 to change" in apply(saved(tmp_path, document))
        spans = Rate.objects.filter(product__key="output").order_by("ending_before").values_list("ending_before")
        assert [end for (end,) in spans] == [day(10), day(1, month=2), None]

    def test_rates_and_aliases_the_file_leaves_out_stay(self, tmp_path: Path) -> None:
        apply(EXAMPLE)
        document = read_one(EXAMPLE)
        document["rate_cards"][0]["rates"] = []
        document["customers"][0]["aliases"] = ["acme-new"]
        assert "aliases: acme-new added" in apply(saved(tmp_path, document))
        assert Rate.objects.count() == 5
        assert CustomerKey.objects.count() == 4

    def test_a_contract_that_ends_makes_room_for_the_next(self, tmp_path: Path) -> None:
        simple = {"customer": "acme", "rate_card": "list-2026"}
        whole = read_one(EXAMPLE)
        whole["contracts"] = [{"key": "one", "starting_at": "2026-01-01", **simple}]
        apply(saved(tmp_path, whole))
        whole["contracts"] = [
            {"key": "two", "starting_at": "2026-05-15", **simple},
            {"key": "one", "starting_at": "2026-01-01", "ending_before": "2026-05-15", **simple},
        ]
        assert "1 to create, 1 to change" in apply(saved(tmp_path, whole))

    def test_open_periods_are_drawn_anew(self, tmp_path: Path) -> None:
        apply(EXAMPLE)
        write_periods(day(1, month=3))
        apply(edited(tmp_path, ("contracts", 0, "billing", "every"), "quarter"))
        first = BillingPeriod.objects.earliest("starting_at")
        assert first.ending_before.isoformat() == "2026-03-31T22:00:00+00:00"

    def test_scenarios_are_not_sent_to_the_books(self) -> None:
        assert "Left out, for simulations only: name, as_of, events, event_files." in apply(EXAMPLE)


@pytest.mark.django_db
class TestFrozen:
    def test_a_meter_keeps_its_meaning(self, tmp_path: Path) -> None:
        apply(EXAMPLE)
        message = refusal(edited(tmp_path, ("meters", 0, "property"), "usage.input_tokens"))
        assert "meters[0].property: The meaning of a meter never changes" in message
        assert "meters[0].group_by: " in refusal(edited(tmp_path, ("meters", 0, "group_by"), ["model"]))

    def test_closed_periods_stay_as_they_were(self, tmp_path: Path) -> None:
        apply(EXAMPLE)
        write_periods(day(1, month=3))
        BillingPeriod.objects.filter(ending_before__lte=day(1, month=3)).update(closed_at=day(1, month=3))
        message = refusal(edited(tmp_path, ("contracts", 0, "billing", "every"), "quarter"))
        assert "contracts[0].billing.every: Periods of this contract are closed already" in message
        message = refusal(edited(tmp_path, ("contracts", 0, "ending_before"), "2026-02-01"))
        assert "contracts[0].ending_before: The period up to" in message

    def test_a_commit_drawn_from_keeps_its_amounts(self, tmp_path: Path) -> None:
        apply(EXAMPLE)
        contract = Contract.objects.get()
        LedgerEntry.objects.create(
            contract=contract,
            customer=contract.customer,
            balance="y1",
            segment="0",
            kind="start",
            amount=1,
            at=day(1),
            source="test",
        )
        place = ("contracts", 0, "commits", 0, "access", 0, "amount")
        assert "contracts[0].commits[0].access[0].amount: y1 is billed" in refusal(edited(tmp_path, place, "1"))
        assert "contracts[0].commits: y1 is billed" in refusal(edited(tmp_path, ("contracts", 0, "commits"), [], 1))
        more = [
            *read_one(EXAMPLE)["contracts"][0]["commits"][0]["access"],
            {"amount": "5", "starting_at": "2027-01-01"},
        ]
        assert "1 to change" in apply(edited(tmp_path, ("contracts", 0, "commits", 0, "access"), more))
        assert "1 to change" in apply(edited(tmp_path, ("contracts", 0, "commits", 0, "priority"), 5, 2))


def saved(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "edited.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(document, default=str))))
    return path


def edited(tmp_path: Path, place: tuple[str | int, ...], value: Any, overrides: int = 0) -> Path:
    """The example with one field changed; `overrides`: without those of commits (1), or with more access (2)."""
    document = copy.deepcopy(read_one(EXAMPLE))
    contract = document["contracts"][0]
    if overrides == 1:
        del contract["overrides"][0]["for_commits"]
        contract["entitlements"] = [each for each in contract["entitlements"] if "balances" not in each]
    if overrides == 2:
        contract["commits"][0]["access"].append({"amount": "5", "starting_at": "2027-01-01"})
    inner = document
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    return saved(tmp_path, document)
