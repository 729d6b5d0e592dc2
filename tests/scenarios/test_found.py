"""Numbers that once came out wrong, or nearly, through the whole path."""

import pytest
from pytest_django import DjangoDbBlocker

from tests.scenarios.building import Written, differences, per_unit, run_all, scenario

ONE = per_unit("1")
USED = ("2026-01-05", 100)
FEE = {"model": "flat", "amount": "20"}
IN_UNITS: Written = {"card": {"pricing_units": [{"key": "credit", "rate": "0.10"}]}}


def support(*rates: Written) -> list[Written]:
    return [{"product": "calls", "price": ONE}, *({"product": "support", **rate} for rate in rates)]


def with_support(written: Written) -> Written:
    return {**written, "products": [*written["products"], {"key": "support", "kind": "percent_of_spend"}]}


def percent(number: str, **more: str) -> Written:
    return {"model": "percentage", "percent": number, **more}


CASES: dict[str, tuple[Written, Written]] = {
    # Agreed in the contract alone, a flat fee is due without usage as well.
    "a flat fee the card has no rate for": (
        scenario(None, rates=[], overrides=[{"kind": "overwrite", "price": FEE, "scope": {"products": ["calls"]}}]),
        {"total": "20.00"},
    ),
    "the same with usage": (
        scenario(
            None, USED, rates=[], overrides=[{"kind": "overwrite", "price": FEE, "scope": {"products": ["calls"]}}]
        ),
        {"total": "20.00"},
    ),
    # 100 calls at 3 credits of 0.10 are 30.00; 10% of that is 3.00.
    "a share of spend in a pricing unit": (
        with_support(
            scenario(
                None,
                USED,
                rates=[
                    {"product": "calls", "unit": "credit", "price": per_unit("3")},
                    {"product": "support", "price": percent("10")},
                ],
                **IN_UNITS,
            )
        ),
        {"total": "33.00"},
    ),
    # At least 25 a month, whatever is spent.
    "a share of nothing has its minimum": (
        with_support(scenario(None, rates=support({"price": percent("10", minimum="25")}))),
        {"total": "25.00", "lines": [{"kind": "minimum", "amount": "25.00"}]},
    ),
    "a share below its minimum": (
        with_support(scenario(None, USED, rates=support({"price": percent("10", minimum="25")}))),
        {"total": "125.00"},
    ),
    # 100 at 10% and 100 at 20%: usage is cut where the percentage changes.
    "a percentage that changes within the period": (
        with_support(
            scenario(
                None,
                USED,
                ("2026-01-20", 100),
                rates=support(
                    {"price": percent("10"), "ending_before": "2026-01-15"},
                    {"price": percent("20"), "starting_at": "2026-01-15"},
                ),
            )
        ),
        {"total": "230.00"},
    ),
    # A threshold invoice bills what has accrued: the share of it, not the share's minimum.
    "a threshold leaves the minimum of a share for the end": (
        with_support(
            scenario(
                None,
                USED,
                as_of="2026-01-20",
                rates=support({"price": percent("10", minimum="25")}),
                spend_threshold={"amount": "100"},
            )
        ),
        {"kind": "threshold", "total": "110.00"},
    ),
}


@pytest.fixture(scope="module")
def results(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Written]:
    return run_all({name: case[0] for name, case in CASES.items()}, tmp_path_factory.mktemp("s"), django_db_blocker)


@pytest.mark.parametrize("name", CASES)
def test_the_first_invoice(results: dict[str, Written], name: str) -> None:
    assert differences(CASES[name][1], results[name]["invoices"][0]) == []
