"""Spend thresholds through the whole path: invoices at once, and what the end of the period still bills."""

from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.scenarios.building import Written, differences, per_unit, run_all, scenario

ONE = per_unit("1")
AT_100: Written = {"spend_threshold": {"amount": "100"}}
# 60 every third day: 60, 120 (reached), 180, 240 (120 more: reached), 300.
SIXTIES = [(f"2026-01-{day:02}T00:00:00Z", 60) for day in (2, 5, 8, 11, 14)]
IN_TIERS = {"model": "graduated", "tiers": [{"up_to": "100", "unit_amount": "1"}, {"unit_amount": "0.5"}]}
CHEAPER = {"model": "volume", "tiers": [{"up_to": "10000", "unit_amount": "0.50"}, {"unit_amount": "0.40"}]}
EACH_EVENT = {"model": "percentage", "percent": "10", "minimum_per_event": "7"}


def due(kind: str, subtotal: str, earlier: str, total: str, **more: Any) -> Written:
    status = {"status": "issued"} if kind == "threshold" else {}
    return {"kind": kind, "subtotal": subtotal, "already_invoiced": earlier, "total": total, **status, **more}


FIRST = due("threshold", "120.00", "0.00", "120.00", issue_at="2026-01-05T00:00:00+00:00")
SECOND = due("threshold", "240.00", "120.00", "120.00", issue_at="2026-01-11T00:00:00+00:00")
NOTHING = due("usage", "0.00", "0.00", "0.00", status="draft")

CASES: dict[str, tuple[Written, list[Written]]] = {
    "twice in a period, the rest at its end": (
        scenario(ONE, *SIXTIES, **AT_100),
        [FIRST, SECOND, due("usage", "300.00", "240.00", "60.00", status="in_review"), NOTHING],
    ),
    "in the running period": (
        scenario(ONE, *SIXTIES, as_of="2026-01-09T00:00:00Z", **AT_100),
        [FIRST, due("usage", "180.00", "120.00", "60.00", status="draft")],
    ),
    "not reached": (
        scenario(ONE, SIXTIES[0], as_of="2026-01-09T00:00:00Z", spend_threshold={}),
        [due("usage", "60.00", "0.00", "60.00", status="draft")],
    ),
    # 120 * 1.19 = 142.80; the threshold is about spend before tax: 240 - 120 reaches it again, 240 - 142.80 would not.
    "tax does not count towards it": (
        scenario(ONE, *SIXTIES, as_of="2026-01-20T00:00:00Z", customer={"tax": {"rate": "0.19"}}, **AT_100),
        [
            due("threshold", "120.00", "0.00", "142.80"),
            due("threshold", "240.00", "142.80", "142.80"),
            due("usage", "300.00", "285.60", "71.40"),
        ],
    ),
    # 100 + 20 * 0.5 = 110; the whole month is 100 + 200 * 0.5 = 200.
    "tiers carry on": (
        scenario(IN_TIERS, *SIXTIES, as_of="2026-01-20T00:00:00Z", **AT_100),
        [due("threshold", "110.00", "0.00", "110.00"), due("usage", "200.00", "110.00", "90.00")],
    ),
    # Stripe's published example: 10,001 units at 0.40 are 4,000.40, 5,000 were billed, 999.60 are owed back.
    "a volume that became cheaper": (
        scenario(
            CHEAPER, ("2026-01-02", 10000), ("2026-01-03", 1), as_of="2026-01-20", spend_threshold={"amount": "5000"}
        ),
        [due("threshold", "5000.00", "0.00", "5000.00"), due("usage", "4000.40", "5000.00", "-999.60")],
    ),
    # The credit pays the first 100, so 240 of usage are 140 of spend.
    "what a credit pays is not spend": (
        scenario(ONE, *SIXTIES, credits=[{"key": "a", "access": [{"amount": "100"}]}], **AT_100),
        [due("threshold", "240.00", "0.00", "140.00"), due("usage", "300.00", "140.00", "60.00"), NOTHING],
    ),
    "a minimum waits for the end": (
        scenario(ONE, *SIXTIES, as_of="2026-01-20", minimums=[{"amount": "500"}], **AT_100),
        [FIRST, SECOND, due("usage", "500.00", "240.00", "260.00")],
    ),
    # At least 7 an event: 21 after three, 42 after six.
    "prices that look at each event": (
        scenario(
            EACH_EVENT,
            *[(f"2026-01-0{day}", 60) for day in range(1, 8)],
            as_of="2026-01-20",
            spend_threshold={"amount": "20"},
        ),
        [
            due("threshold", "21.00", "0.00", "21.00", issue_at="2026-01-03T00:00:00+00:00"),
            due("threshold", "42.00", "21.00", "21.00", issue_at="2026-01-06T00:00:00+00:00"),
            due("usage", "49.00", "42.00", "7.00"),
        ],
    ),
    "a largest value": (
        scenario(
            ONE, ("2026-01-02", 50), ("2026-01-03", 120), ("2026-01-04", 90), aggregation="max", as_of="2026-01-20",
            **AT_100,
        ),
        [due("threshold", "120.00", "0.00", "120.00"), due("usage", "120.00", "120.00", "0.00")],
    ),
    "more events than are looked at at once": (
        scenario(
            ONE,
            *[(f"2026-01-02T{n // 60:02}:{n % 60:02}:00Z", 1) for n in range(250)],
            as_of="2026-01-20",
            **AT_100,
        ),
        [
            due("threshold", "100.00", "0.00", "100.00", issue_at="2026-01-02T01:39:00+00:00"),
            due("threshold", "200.00", "100.00", "100.00", issue_at="2026-01-02T03:19:00+00:00"),
            due("usage", "250.00", "200.00", "50.00"),
        ],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def results(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Written]:
    return run_all({name: case[0] for name, case in CASES.items()}, tmp_path_factory.mktemp("s"), django_db_blocker)


@pytest.mark.parametrize("name", CASES)
def test_threshold_invoices(results: dict[str, Written], name: str) -> None:
    assert differences({"invoices": CASES[name][1]}, results[name]) == []


def test_the_subtraction_is_a_line_that_names_the_invoice(results: dict[str, Written]) -> None:
    invoice = results["in the running period"]["invoices"][1]
    assert [(line["kind"], line["amount"], line["source"]) for line in invoice["lines"]] == [
        ("usage", "180.00", "rate card card"),
        ("already_invoiced", "-120.00", "INV-000001"),
    ]


def test_the_credit_is_drawn_once(results: dict[str, Written]) -> None:
    (balance,) = results["what a credit pays is not spend"]["balances"]
    assert (balance["remaining"], [entry["amount"] for entry in balance["ledger"]]) == ("0.00", ["100.00", "-100.00"])
