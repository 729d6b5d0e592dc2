"""Balance thresholds through the whole path of `simulate`: what is bought when, and what that leaves."""

from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.scenarios.building import Written, differences, per_unit, run_all, scenario

ONE = per_unit("1")
AT_5: Written = {"amount": "5", "recharge_to": "30"}
FIRST: Written = {
    "key": "first",
    "access": [{"amount": "20", "starting_at": "2026-01-01"}],
    "invoices": [{"amount": "20", "at": "2026-01-01"}],
}


def bought(amount: str, at: str, **more: Any) -> Written:
    return {"kind": "scheduled", "issue_at": at, "status": "paid", "total": amount, **more}


def used(drawn: str, total: str, **more: Any) -> Written:
    return {"kind": "usage", "credits_applied": drawn, "total": total, **more}


def left(balance: str, remaining: str) -> Written:
    return {"balance": balance, "remaining": remaining}


PURCHASE: Written = {"kind": "scheduled", "total": "20.00", "status": "in_review"}

CASES: dict[str, tuple[Written, list[Written], list[Written]]] = {
    # 20 - 14 = 6, then 5 left: 25 are bought. 30 - 26 = 4 left: 26 more, so 30.
    "once for each crossing": (
        scenario(
            ONE,
            *[("2026-01-05T10:00:00Z", 14), ("2026-01-06T10:00:00Z", 1), ("2026-01-20T10:00:00Z", 26)],
            as_of="2026-01-25",
            commits=[FIRST],
            balance_threshold=AT_5,
        ),
        [
            used("41.00", "0.00", status="draft"),
            {**PURCHASE, "issue_at": "2026-01-01T00:00:00+00:00"},
            bought("25.00", "2026-01-06T10:00:00.000001+00:00"),
            bought("26.00", "2026-01-20T10:00:00.000001+00:00"),
        ],
        [left("first", "0.00"), left("recharge-1", "4.00"), left("recharge-2", "26.00")],
    ),
    "not reached": (
        scenario(ONE, ("2026-01-05", 14), as_of="2026-01-25", commits=[FIRST], balance_threshold=AT_5),
        [used("14.00", "0.00"), PURCHASE],
        [left("first", "6.00")],
    ),
    # 50 against 20: nothing is left, 30 are usage. What is bought after it does not pay for it.
    "usage past the balance is billed": (
        scenario(
            ONE, ("2026-01-05", 50), ("2026-01-06", 10), as_of="2026-01-25", commits=[FIRST], balance_threshold=AT_5
        ),
        [used("30.00", "30.00"), PURCHASE, bought("30.00", "2026-01-05T00:00:00.000001+00:00")],
        [left("first", "0.00"), left("recharge-1", "20.00")],
    ),
    "a contract that begins with nothing": (
        scenario(ONE, ("2026-01-05", 10), as_of="2026-01-25", balance_threshold=AT_5),
        [used("10.00", "0.00"), bought("30.00", "2026-01-01T00:00:00.000001+00:00")],
        [left("recharge-1", "20.00")],
    ),
    # The credit ends on 10 January with 30 left; nothing is used on that day.
    "a balance that ends": (
        scenario(
            ONE,
            ("2026-01-05", 10),
            as_of="2026-01-25",
            credits=[{"key": "trial", "access": [{"amount": "40", "ending_before": "2026-01-10"}]}],
            balance_threshold=AT_5,
        ),
        [used("10.00", "0.00"), bought("30.00", "2026-01-10T00:00:00.000001+00:00")],
        [left("recharge-1", "30.00"), left("trial", "0.00")],
    ),
    # What January's draft draws is gone in February: 20 - 12 = 8, 8 - 4 = 4.
    "over the end of a period": (
        scenario(
            ONE,
            ("2026-01-20", 12),
            ("2026-02-02", 4),
            as_of="2026-02-20",
            commits=[FIRST],
            balance_threshold={"amount": "5", "recharge_to": "20"},
        ),
        [
            used("12.00", "0.00", status="in_review"),
            PURCHASE,
            used("4.00", "0.00", status="draft"),
            bought("16.00", "2026-02-02T00:00:00.000001+00:00"),
        ],
        [left("first", "4.00"), left("recharge-1", "16.00")],
    ),
    # Paid at once, so it can be used at once: 20 - 16 = 4, 30 - 26 = 4.
    "usable when paid": (
        scenario(
            ONE,
            ("2026-01-05", 16),
            ("2026-01-06", 26),
            as_of="2026-01-25",
            commits=[FIRST],
            balance_threshold={**AT_5, "usable": "when_paid"},
        ),
        [
            used("42.00", "0.00"),
            PURCHASE,
            bought("26.00", "2026-01-05T00:00:00.000001+00:00"),
            bought("26.00", "2026-01-06T00:00:00.000001+00:00"),
        ],
        [left("first", "0.00"), left("recharge-1", "4.00"), left("recharge-2", "26.00")],
    ),
    # 4 of 10 are left in units that cost 0.10: 96 are bought for 9.60, of which 80% are charged.
    "in a pricing unit, part of it charged": (
        scenario(
            None,
            ("2026-01-05", 6),
            as_of="2026-01-25",
            rates=[{"product": "calls", "unit": "credit", "price": ONE}],
            card={"pricing_units": [{"key": "credit", "rate": "0.10"}]},
            credits=[{"key": "trial", "unit": "credit", "access": [{"amount": "10"}]}],
            balance_threshold={"amount": "5", "recharge_to": "100", "unit": "credit", "paid_fraction": "0.8"},
        ),
        [used("0.00", "0.00"), bought("7.68", "2026-01-05T00:00:00.000001+00:00")],
        [left("recharge-1", "96"), left("trial", "4")],
    ),
    # Both at 40: the balance is filled up, and what it does not pay reaches the spend threshold on the third day.
    "beside a spend threshold": (
        scenario(
            ONE,
            *[("2026-01-02", 60), ("2026-01-03", 70), ("2026-01-04", 10)],
            as_of="2026-01-25",
            commits=[FIRST],
            balance_threshold=AT_5,
            spend_threshold={"amount": "80"},
        ),
        [
            {
                "kind": "threshold",
                "issue_at": "2026-01-03T00:00:00+00:00",
                "total": "80.00",
                "credits_applied": "50.00",
            },
            used("60.00", "0.00", already_invoiced="80.00"),
            PURCHASE,
            bought("30.00", "2026-01-02T00:00:00.000001+00:00"),
            bought("30.00", "2026-01-03T00:00:00.000001+00:00"),
        ],
        [left("first", "0.00"), left("recharge-1", "0.00"), left("recharge-2", "20.00")],
    ),
}


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> dict[str, Written]:
    folder = tmp_path_factory.mktemp("recharges")
    shuffled = {name: {**case[0], "events": case[0]["events"][::-1]} for name, case in CASES.items()}
    again = {f"{name}, shuffled": written for name, written in shuffled.items()}
    return run_all({name: case[0] for name, case in CASES.items()} | again, folder, django_db_blocker)


@pytest.mark.parametrize("name", CASES)
def test_balances_are_filled_up(name: str, results: dict[str, Written]) -> None:
    _, invoices, balances = CASES[name]
    found = results[name]
    assert "error" not in found, found["error"]
    by_kind = sorted(invoices, key=lambda each: str(each["kind"]))
    placed = sorted(found["invoices"], key=lambda each: (each["kind"], each["issue_at"]))
    assert differences({"invoices": by_kind, "balances": balances}, {**found, "invoices": placed}) == []


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_events_changes_nothing(name: str, results: dict[str, Written]) -> None:
    assert {**results[f"{name}, shuffled"], "name": name} == results[name]
