"""Seats and scheduled fees: advance and arrears, dated changes, exact proration, trials, commit purchases."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from contracts.products import ProductTerms
from contracts.proration import Calendar
from invoicing.statement import build_statement
from invoicing.taxation import Tax
from meters.periods import CALENDAR_ANCHOR, Period
from tests.contracts.worked import FEBRUARY, JANUARY, ZONE, D, day, inputs, rate, schedule, table, unit

SEAT = ProductTerms("seat", "Seat", kind="subscription")
SETUP = ProductTerms("setup", "Setup", kind="fixed")


def made(deal: dict[str, Any], period: Period = JANUARY, price: Any = None, **more: Any) -> Any:
    return inputs([rate("seat", price or unit("31"))], deal, products=[SEAT, SETUP], period=period, **more)


def seats(**terms: Any) -> dict[str, Any]:
    return {"subscriptions": [{"key": "seats", "product": "seat", "quantity": "10", **terms}]}


def billed(deal: dict[str, Any], until: Any = None, **more: Any) -> list[tuple[str, list[str]]]:
    return [
        (f"{at:%d.%m}", table(statement)) for at, statement in schedule(made(deal, **more), until=until or day(2, 2))
    ]


def test_in_advance_at_the_start_of_each_period() -> None:
    assert billed(seats()) == [
        ("01.01", ["subscription seat 01.01-01.02 10.00 310.00"]),
        ("01.02", ["subscription seat 01.02-01.03 10.00 310.00"]),
    ]
    assert build_statement(made(seats())).lines == ()


def test_in_arrears_with_the_usage_of_the_period() -> None:
    assert table(build_statement(made(seats(billed="arrears")))) == ["subscription seat 01.01-01.02 10.00 310.00"]
    assert billed(seats(billed="arrears")) == []


def test_a_short_first_period_is_prorated_by_its_seconds() -> None:
    calendar = Calendar(ZONE, day(21))
    assert billed(seats(), calendar=calendar)[0] == ("21.01", ["subscription seat 21.01-01.02 10.00 110.00"])
    assert billed(seats(prorated=False), calendar=calendar)[0][1] == ["subscription seat 21.01-01.02 10.00 310.00"]


UP = {"changes": [{"at": "2026-01-11", "quantity": "14"}]}
DOWN = {"changes": [{"at": "2026-01-11", "quantity": "6"}]}


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (
            UP,
            [
                ("01.01", ["subscription seat 01.01-01.02 10.00 310.00"]),
                ("11.01", ["subscription seat 11.01-01.02 4.00 84.00"]),
                ("01.02", ["subscription seat 01.02-01.03 14.00 434.00"]),
            ],
        ),
        (
            {**UP, "increases": "next_invoice"},
            [
                ("01.01", ["subscription seat 01.01-01.02 10.00 310.00"]),
                ("01.02", ["subscription seat 11.01-01.02 4.00 84.00", "subscription seat 01.02-01.03 14.00 434.00"]),
            ],
        ),
        (
            DOWN,
            [
                ("01.01", ["subscription seat 01.01-01.02 10.00 310.00"]),
                ("01.02", ["subscription seat 01.02-01.03 6.00 186.00"]),
            ],
        ),
        (
            {**DOWN, "decreases": "at_once"},
            [
                ("01.01", ["subscription seat 01.01-01.02 10.00 310.00"]),
                ("01.02", ["subscription seat 11.01-01.02 -4.00 -84.00", "subscription seat 01.02-01.03 6.00 186.00"]),
            ],
        ),
    ],
)
def test_changes_in_advance(terms: dict[str, Any], expected: list[tuple[str, list[str]]]) -> None:
    assert billed(seats(**terms)) == expected


def test_changes_in_arrears() -> None:
    assert table(build_statement(made(seats(billed="arrears", **UP)))) == [
        "subscription seat 01.01-01.02 10.00 310.00",
        "subscription seat 11.01-01.02 4.00 84.00",
    ]
    assert build_statement(made(seats(billed="arrears", **DOWN))).total == D("310.00")


def test_a_change_back_before_the_next_period_costs_nothing() -> None:
    changes = [{"at": "2026-01-11", "quantity": "6"}, {"at": "2026-01-21", "quantity": "10"}]
    assert [lines for _, lines in billed(seats(changes=changes))] == [
        ["subscription seat 01.01-01.02 10.00 310.00"],
        ["subscription seat 01.02-01.03 10.00 310.00"],
    ]


def test_more_seats_carry_on_in_the_tiers() -> None:
    price = {"model": "graduated", "tiers": [{"up_to": "12", "unit_amount": "31"}, {"unit_amount": "15.5"}]}
    # 2 at 31 and 2 at 15.50 for 21 of 31 days
    assert billed(seats(**UP), price=price)[1] == ("11.01", ["subscription seat 11.01-01.02 4.00 63.00"])


def test_one_rate_per_period_and_a_trial_of_whole_periods() -> None:
    trial = {"kind": "overwrite", "price": unit("0"), "scope": {"products": ["seat"]}, "ending_before": "2026-02-01"}
    assert billed({**seats(), "overrides": [trial]}) == [("01.02", ["subscription seat 01.02-01.03 10.00 310.00"])]
    raised = {**trial, "price": unit("62"), "starting_at": "2026-01-15", "ending_before": "2026-03-01"}
    assert [lines[0][-6:] for _, lines in billed({**seats(), "overrides": [raised]})] == ["310.00", "620.00"]


def test_a_yearly_fee_on_a_monthly_contract_runs_from_its_own_start() -> None:
    deal = seats(every="year", starting_at="2026-01-15")
    assert billed(deal) == [("15.01", ["subscription seat 15.01-15.01 10.00 310.00"])]


def test_a_zone_with_a_clock_change_has_a_shorter_month() -> None:
    berlin = Calendar(ZoneInfo("Europe/Berlin"), day(1, 1), None, "month", CALENDAR_ANCHOR)
    statement = schedule(made(seats(), FEBRUARY, calendar=berlin), until=day(28, 2))[0][1]
    # The contract starts at 1 January 00:00 UTC, one hour into the local month.
    assert statement.lines[0].amount_exact.quantize(D("0.0001")) == D("309.5833")


def test_everything_due_at_an_instant_is_one_invoice_and_commits_pay_seats() -> None:
    deal = {
        **seats(),
        "charges": [{"key": "setup", "product": "setup", "amount": "500", "at": "2026-01-01"}],
        "commits": [
            {
                "key": "y1",
                "access": [{"amount": "100"}],
                "invoices": [{"amount": "80", "at": "2026-01-01"}],
            }
        ],
        "discounts": [{"percent": "10"}],
    }
    (at, statement), *_ = schedule(made(deal, tax=Tax(D("0.1"))), until=day(1))
    assert at == day(1)
    assert [(line.kind, line.amount) for line in statement.lines] == [
        ("subscription", D("111.11")),
        ("subscription", D("198.89")),
        ("fixed", D("500.00")),
        ("commit_purchase", D("80.00")),
        ("discount", D("-11.11")),
        ("discount", D("-19.89")),
        ("draw", D("-100.00")),
        ("tax", D("75.90")),
    ]
    assert (statement.kind, statement.total) == ("scheduled", D("834.90"))


def test_recurring_charges_and_recurring_commits() -> None:
    deal = {
        "charges": [{"key": "fee", "product": "setup", "amount": "5", "at": "2026-01-01", "every": "month"}],
        "recurring_commits": [{"key": "pack", "amount": "100", "invoice_amount": "75", "every": "month"}],
    }
    assert billed(deal) == [
        ("01.01", ["fixed setup 01.01-01.02 1.00 5.00", "commit_purchase pack 01.01-01.02 1.00 75.00 [pack]"]),
        ("01.02", ["fixed setup 01.02-01.03 1.00 5.00", "commit_purchase pack 01.02-01.03 1.00 75.00 [pack]"]),
    ]


def test_a_seat_without_a_rate_is_shown_and_not_billed() -> None:
    statement = schedule(inputs([], seats(), products=[SEAT]), until=day(1))[0][1]
    assert [(row.product, row.quantity) for row in statement.unrated] == [("seat", D(10))]
