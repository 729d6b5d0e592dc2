"""Worked examples through the whole path: a file in, invoices and balances out."""

import json
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from tests.cases import worked_example

FOLDER = Path(__file__).parent
Results = dict[str, dict[str, Any]]


def simulated(name: str, blocker: DjangoDbBlocker) -> Results:
    out = StringIO()
    with blocker.unblock():
        call_command("simulate", str(FOLDER / name), json=True, stdout=out)
    return {result["name"]: result for result in json.loads(out.getvalue())["results"]}


@pytest.fixture(scope="module")
def worked(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Results:
    return simulated("worked.yaml", django_db_blocker)


@pytest.fixture(scope="module")
def everything(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> dict[str, Any]:
    return simulated("everything.yaml", django_db_blocker)["everything"]


def totals(result: dict[str, Any]) -> list[str]:
    return [invoice["total"] for invoice in result["invoices"]]


def lines(result: dict[str, Any], kind: str | None = None) -> list[dict[str, Any]]:
    """The lines of the first invoice."""
    return [line for line in result["invoices"][0]["lines"] if kind in (None, line["kind"])]


def ledger(result: dict[str, Any]) -> list[tuple[str, str]]:
    (balance,) = result["balances"]
    return [(entry["kind"], entry["amount"]) for entry in balance["ledger"]]


@pytest.mark.parametrize(
    "name",
    [
        "stripe_volume_tiers_with_flat_amounts",
        "stripe_tiers_zero_quantity_bills_first_flat",
        "stripe_package_transform_quantity_round_up",
        "orb_bulk_is_volume_pricing",
        "orb_percentage_discount",
        "metronome_latest_rate_change_down_negative_line",
        "metronome_credit_from_mid_period",
    ],
)
def test_published_totals(worked: Results, name: str) -> None:
    assert totals(worked[name])[0] == worked_example(name)["expected"]["total"]


def test_an_allowance_and_what_is_past_it(worked: Results) -> None:
    name = "stripe_flat_fee_with_included_units_and_overage"
    assert totals(worked[name])[:2] == list(worked_example(name)["expected"]["totals"].values())


def test_a_minimum(worked: Results) -> None:
    name = "orb_minimum_commitment_running_total"
    expected = worked_example(name)["expected"]["usage_and_billed"]
    assert totals(worked[name])[:5] == [month["billed"] for month in expected.values()]


def test_a_credit_that_covers_a_part(worked: Results) -> None:
    name = "stripe_credit_grant_partial_cover"
    result, expected = worked[name], worked_example(name)["expected"]
    invoice = result["invoices"][0]
    assert (invoice["subtotal"], invoice["credits_applied"], invoice["total"]) == (
        expected["subtotal"], expected["credits_applied"], expected["amount_due_before_tax"],
    )  # fmt: skip
    assert result["balances"][0]["remaining"] == expected["grant_balance_after"]


def test_a_pack_with_a_bonus(worked: Results) -> None:
    result = worked["stripe_prepaid_pack_bonus"]
    inputs = worked_example("stripe_prepaid_pack_bonus")["inputs"]
    scheduled, running = result["invoices"]
    assert (scheduled["kind"], scheduled["total"]) == ("scheduled", inputs["customer_pays"])
    assert (running["kind"], running["status"], running["lines"]) == ("usage", "draft", [])
    assert result["balances"][0]["remaining"] == inputs["granted_usage_value"]


def test_what_is_left_of_a_credit_expires(worked: Results) -> None:
    expected = worked_example("metronome_ledger_expiration")["expected"]
    result = worked["metronome_ledger_expiration"]
    assert ledger(result) == list(zip(["start", "draw", "expiration"], expected["ledger"], strict=True))
    assert result["balances"][0]["remaining"] == expected["balance_after_expiry"]


def test_a_credit_does_not_look_ahead(worked: Results) -> None:
    usage = lines(worked["metronome_latest_credit_does_not_look_ahead"], "usage")
    assert [(line["quantity"][:5], line["amount"]) for line in usage] == [
        ("33.33", "100.00"), ("6.666", "20.00"), ("-10", "-40.00"),
    ]  # fmt: skip
    assert lines(worked["metronome_latest_credit_does_not_look_ahead"], "draw")[0]["amount"] == "-100.00"


def test_a_multiplier_by_tiers(worked: Results) -> None:
    name = "metronome_tiered_multiplier_override"
    assert totals(worked[name])[:2] == list(worked_example(name)["expected"]["totals"].values())


def test_a_prepayment_drawn_down(worked: Results) -> None:
    result, expected = worked["m3ter_prepayment_month_1"], worked_example("m3ter_prepayment_month_1")["expected"]
    usage = next(invoice for invoice in result["invoices"] if invoice["kind"] == "usage")
    assert (usage["subtotal"], usage["credits_applied"]) == (
        expected["month_1_usage_charge"], expected["month_1_drawdown"],
    )  # fmt: skip
    assert result["balances"][0]["remaining"] == expected["prepayment_left_after_month_1"]
    assert result["invoices"][0]["total"] == expected["month_1_bill_total"]


def test_a_shadow_is_beside_the_contract_in_force(worked: Results) -> None:
    result = worked["a shadow beside the contract in force"]
    shown = [(row["contract"], row["status"], row["shadow"], row["total"]) for row in result["invoices"]]
    assert shown == [
        ("c", "in_review", False, "20.00"),
        ("c", "draft", False, "0.00"),
        ("c-new", "shadow", True, "10.00"),
        ("c-new", "shadow", True, "0.00"),
    ]
    assert len(result["usage"]) == 1


class TestEverySection:
    def test_balances_are_the_sums_of_their_entries_and_never_below_zero(self, everything: dict[str, Any]) -> None:
        assert {row["balance"] for row in everything["balances"]} == {"y1", "trial", "monthly", "pack"}
        for row in everything["balances"]:
            left: dict[str, Decimal] = {}
            for entry in row["ledger"]:
                left[entry["segment"]] = left.get(entry["segment"], Decimal(0)) + Decimal(entry["amount"])
                assert left[entry["segment"]] >= 0, row
            assert sum(left.values(), Decimal(0)) == Decimal(row["remaining"])
            assert [entry["at"] for entry in row["ledger"]] == sorted(entry["at"] for entry in row["ledger"])

    def test_invoices_in_order_with_their_sums(self, everything: dict[str, Any]) -> None:
        invoices = everything["invoices"]
        places = [(row["contract"], row["period"]["starting_at"], row["period"]["ending_before"], row["kind"])
                  for row in invoices]  # fmt: skip
        assert places == sorted(places)
        assert [row["status"] for row in invoices].count("draft") == 1
        for row in invoices:
            in_currency = [Decimal(line["amount"]) for line in row["lines"] if line["unit"] == "USD"]
            assert sum(in_currency, Decimal(0)) == Decimal(row["total"])

    def test_usage_by_customer_meter_period_and_group(self, everything: dict[str, Any]) -> None:
        rows = [row for row in everything["usage"] if row["meter"] == "output-tokens"]
        assert [(row["group"], row["quantity"]) for row in rows] == [
            ({"model": "gpt-4o", "region": "eu"}, "1200000"),
            ({"model": "gpt-4o", "region": "eu"}, "2500000"),
        ]
        calls = [row["quantity"] for row in everything["usage"] if row["meter"] == "calls"]
        assert calls == ["2", "1"]

    def test_retries_count_once_and_the_future_has_not_happened(self, everything: dict[str, Any]) -> None:
        assert everything["events"] == {"accepted": 4, "duplicates": 1, "conflicts": 0, "rejected": 0}
        assert everything["unclaimed"] == [{"customer": "nobody", "events": 1}]
