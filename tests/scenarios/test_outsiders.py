"""Scenarios as somebody would write them who knows the format and the price pages of others, worked out by hand."""

from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.scenarios.building import Written, per_unit, run_all, scenario

DAY = "2026-01-05T10:00:00Z"


def percent(rate: str, **more: str) -> Written:
    return {"model": "percentage", "percent": rate, **more}


def times(*values: str) -> list[tuple[str, str]]:
    return [(f"2026-01-{number:02}T00:00:00Z", value) for number, value in enumerate(values, start=2)]


def tiers(*bands: tuple[str | None, str], model: str = "graduated") -> Written:
    return {"model": model, "tiers": [{"up_to": bound, "unit_amount": amount} for bound, amount in bands]}


def seats(price: str, **terms: Any) -> Written:
    """One seat product and no usage, to the middle of February."""
    written = scenario(None, as_of="2026-02-15T00:00:00Z", rates=[{"product": "seat", "price": per_unit(price)}])
    written["meters"], written["products"] = [], [{"key": "seat", "kind": "subscription"}]
    written["contracts"][0]["subscriptions"] = [{"key": "s", "product": "seat", **terms}]
    return written


S3 = tiers(("51200", "0.023"), ("512000", "0.022"), (None, "0.021"))
EGRESS = tiers(("100", "0"), ("10240", "0.09"), ("51200", "0.085"), (None, "0.07"))
COMMIT = {"key": "y", "access": [{"amount": "1000"}]}

# The totals of all invoices, in their order.
CASES: dict[str, tuple[Written, list[str]]] = {
    "three free events, then 1% and a fee": (
        scenario(percent("1", fixed_amount="5", free_events="3"), *times("10", "10", "10", "10")),
        ["5.10", "0.00"],
    ),
    "15 free, the event that crosses pays for its rest": (
        scenario(percent("1", fixed_amount="5", free_amount="15"), *times("4", "4", "4", "4", "10")),
        ["10.11", "0.00"],
    ),
    "whichever allowance ends first": (
        scenario(percent("1", fixed_amount="5", free_events="3", free_amount="15"), *times("10", "10", "10")),
        ["10.15", "0.00"],
    ),
    "each event within its bounds": (
        scenario(
            percent("1", fixed_amount="1", minimum_per_event="1.75", maximum_per_event="12"),
            *times("100", "10", "2000"),
        ),
        ["15.75", "0.00"],
    ),
    "a card fee": (scenario(percent("2.9", fixed_amount="0.30"), *times("100", "250", "46.55")), ["12.40", "0.00"]),
    "object storage, three bands": (scenario(S3, (DAY, "563200")), ["12390.40", "0.00"]),
    "egress, the first 100 free": (scenario(EGRESS, (DAY, "15648.7")), ["1372.34", "0.00"]),
    "gigabyte seconds by an expression": (
        scenario(
            per_unit("0.0000166667", free_units="400000"),
            (DAY, "0", {"ms": "1500000000", "mb": 1024}),
            aggregation="count",
            meter={"aggregation": "sum", "value": "ms / 1000 * mb / 1024"},
        ),
        ["18.33", "0.00"],
    ),
    "hours of seconds, half a cent": (
        scenario(per_unit("0.1125"), (DAY, "160"), product={"conversion": {"divide_by": "3600"}}),
        ["0.01", "0.00"],
    ),
    "a level that falls, over three months": (
        scenario(
            per_unit("1"),
            ("2026-01-01T00:00:00Z", "2500"),
            ("2026-02-08T00:00:00Z", "-2000"),
            aggregation="time_weighted",
            as_of="2026-03-02T00:00:00Z",
        ),
        ["2500.00", "1000.00", "500.00"],
    ),
    "half past five, a month ends at 18:30 UTC": (
        scenario(
            per_unit("1"),
            ("2025-12-31T18:29:59Z", "100"),
            ("2025-12-31T18:30:00Z", "3"),
            ("2026-01-31T18:29:59Z", "2"),
            ("2026-01-31T18:30:00Z", "7"),
            customer={"timezone": "Asia/Kolkata"},
        ),
        ["5.00", "7.00"],
    ),
    "a price for a commit from the 15th on": (
        scenario(
            per_unit("1"),
            ("2026-01-03T00:00:00Z", "600"),
            ("2026-01-20T00:00:00Z", "1000"),
            commits=[COMMIT],
            overrides=[{"kind": "multiplier", "multiplier": "0.5", "for_commits": ["y"], "starting_at": "2026-01-15"}],
        ),
        ["200.00", "0.00"],  # 600 at 1, 800 at 0.50, and 200 that the commit does not pay
    ),
    "billed on the way, twice": (
        scenario(per_unit("0.0002"), *times("1000000", "1000000", "10"), spend_threshold={"amount": "200"}),
        ["200.00", "200.00", "0.00", "0.00"],
    ),
    "billed on the way, then cheaper": (
        scenario(
            tiers(("100", "1"), (None, "0.9"), model="volume"), *times("100", "10"), spend_threshold={"amount": "100"}
        ),
        ["100.00", "-1.00", "0.00"],
    ),
    "a minimum that a credit pays for in part": (
        scenario(
            per_unit("1"),
            (DAY, "60"),
            minimums=[{"amount": "100"}],
            credits=[{"key": "c", "access": [{"amount": "60"}]}],
        ),
        ["40.00", "100.00"],
    ),
    "seats from the 11th on": (
        seats("31", quantity="10", changes=[{"at": "2026-01-11", "quantity": "14"}]),
        ["310.00", "0.00", "84.00", "434.00", "0.00"],
    ),
    "seats given back at once": (
        seats("31", quantity="10", decreases="at_once", changes=[{"at": "2026-01-11", "quantity": "6"}]),
        ["310.00", "0.00", "102.00", "0.00"],  # 186 less 84
    ),
}


@pytest.fixture(scope="module")
def results(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Written]:
    scenarios = {name: written for name, (written, _) in CASES.items()}
    return run_all(scenarios, tmp_path_factory.mktemp("outsiders"), django_db_blocker)


@pytest.mark.parametrize("name", CASES)
def test_totals(results: dict[str, Written], name: str) -> None:
    assert "error" not in results[name], results[name]["error"]
    assert [invoice["total"] for invoice in results[name]["invoices"]] == CASES[name][1]
