"""Numbers that once came out wrong, or nearly, through the whole path."""

from typing import Any

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


def in_credits(*rows: tuple[Any, ...], **contract: Any) -> Written:
    """Calls at 3 credits of 0.10."""
    rates = [{"product": "calls", "unit": "credit", "price": per_unit("3")}]
    return scenario(None, *rows, rates=rates, **IN_UNITS, **contract)


def dearer(*rows: tuple[Any, ...]) -> Written:
    """A flat price of 20 until 10 January, of 30 from then on."""
    rates = [
        {"product": "calls", "price": FEE, "ending_before": "2026-01-10"},
        {"product": "calls", "price": {**FEE, "amount": "30"}, "starting_at": "2026-01-10"},
    ]
    return scenario(None, *rows, rates=rates)


HALF_PAST_TEN: Written = {
    "kind": "tiered",
    "tiers": [{"up_to": "10", "multiplier": "1"}, {"up_to": None, "multiplier": "0.5"}],
}

CASES: dict[str, tuple[Written, Written]] = {
    # 1,000 calls are 3,000 credits, 300.00: above a minimum of 87 for calls and of 87 for everything.
    "a minimum counts spend in a pricing unit": (
        in_credits(
            ("2026-01-05", 1000), minimums=[{"amount": "87", "scope": {"products": ["calls"]}}, {"amount": "87"}]
        ),
        {"total": "300.00"},
    ),
    # 30 credits of 300 are paid by a balance in credits: 30.00 were spent, 3.00 of it are paid, 57.00 are missing.
    "a minimum counts what a balance in credits pays": (
        in_credits(
            ("2026-01-05", 100),
            minimums=[{"amount": "87"}],
            credits=[{"key": "gift", "unit": "credit", "access": [{"amount": "30"}]}],
        ),
        {"total": "84.00", "subtotal": "84.00"},
    ),
    # 50.00 off are 500 credits off.
    "an amount off usage in a pricing unit": (
        in_credits(("2026-01-05", 1000), discounts=[{"amount": "50"}]),
        {"total": "250.00"},
    ),
    # 300.00 in credits and 100.00 in dollars: 10.00 off is split three to one.
    "an amount off usage in credits and in dollars": (
        {
            **scenario(
                None,
                ("2026-01-05", 100),
                rates=[
                    {"product": "calls", "unit": "credit", "price": per_unit("30")},
                    {"product": "more", "price": ONE},
                ],
                discounts=[{"amount": "10"}],
                **IN_UNITS,
            ),
            "products": [{"key": "calls", "meter": "calls"}, {"key": "more", "meter": "calls"}],
        },
        {"total": "390.00", "discount": "2.50", "subtotal": "392.50"},
    ),
    # Without a rate a unit is only paid by balances in it.
    "a pricing unit without a rate": (
        scenario(
            None,
            USED,
            rates=[{"product": "calls", "unit": "credit", "price": per_unit("3")}],
            card={"pricing_units": [{"key": "credit"}]},
            credits=[{"key": "gift", "unit": "credit", "access": [{"amount": "1000"}]}],
        ),
        {"total": "0.00", "unrated": []},
    ),
    # A flat price is a recurring fee: one rate for the billing period, whenever it is used.
    "a flat price that rises within the period": (dearer(("2026-01-05", 1), ("2026-01-20", 1)), {"total": "20.00"}),
    "the same used late": (dearer(("2026-01-20", 1)), {"total": "20.00"}),
    "the same not used": (dearer(), {"total": "20.00"}),
    # Two events worth nothing, at least 1 each.
    "a least amount for events worth nothing": (
        scenario(percent("10", minimum_per_event="1"), ("2026-01-05", 0), ("2026-01-06", 0)),
        {"total": "2.00"},
    ),
    # The first event is free, the second is worth nothing and has its fee.
    "a fee past the free events": (
        scenario(percent("10", fixed_amount="1", free_events="1"), ("2026-01-05", 50), ("2026-01-06", 0)),
        {"total": "1.00"},
    ),
    # 3 + 1 for the sale, -3 + 1 for the return.
    "an event below zero": (
        scenario(percent("10", fixed_amount="1", maximum_per_event="5"), ("2026-01-05", 30), ("2026-01-06", -30)),
        {"total": "2.00"},
    ),
    # 1 for the first 10; 3 for the next 30, at half.
    "a tiered override of events priced one by one": (
        scenario(
            percent("10", maximum_per_event="5"), ("2026-01-05", 10), ("2026-01-06", 30), overrides=[HALF_PAST_TEN]
        ),
        {"total": "2.50"},
    ),
    # 40 in one event: 10 of it at 1, 30 at a half, so 4 at 0.625.
    "an event that crosses the bound of a tiered override": (
        scenario(percent("10", maximum_per_event="5"), ("2026-01-05", 40), overrides=[HALF_PAST_TEN]),
        {"total": "2.50"},
    ),
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
