"""Commits and credits: the order they are used in, how lines split, what a balance can never do."""

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.balances import Balance, balances_of
from contracts.deal import Scope
from contracts.drawdown import burn_down_order
from contracts.products import ProductTerms
from tests.contracts.worked import FEBRUARY, JANUARY, D, bill, day, inputs, rate, table, unit

YEAR = {"starting_at": "2026-01-01", "ending_before": "2027-01-01"}


def credit(key: str, amount: str, **more: Any) -> dict[str, Any]:
    window = {name: more.pop(name) for name in ("starting_at", "ending_before") if name in more} or YEAR
    return {"key": key, "access": [{"amount": amount, **window}], **more}


def commit(key: str, amount: str, **more: Any) -> dict[str, Any]:
    return {"kind": "prepaid", **credit(key, amount, **more)}


CALLS = {"calls": unit("2")}


def test_a_line_splits_into_covered_part_draw_and_rest() -> None:
    statement = bill(CALLS, {"credits": [credit("trial", "30")]}, ("calls", day(5), "20"))
    assert table(statement) == [
        "usage calls 01.01-01.02 15.00 30.00 [trial]",
        "usage calls 01.01-01.02 5.00 10.00",
        "draw calls 01.01-01.02 -30.00 [trial]",
    ]
    assert (statement.subtotal, statement.credits_applied, statement.total) == (D("40.00"), D("30.00"), D("10.00"))
    assert [(draw.balance, draw.amount, draw.position) for draw in statement.draws] == [("trial", D("30"), 3)]


def test_a_line_paid_whole_is_not_split_and_nothing_left_draws_nothing() -> None:
    deal = {"credits": [credit("a", "40"), credit("b", "40")]}
    statement = bill(CALLS, deal, ("calls", day(5), "20"))
    assert table(statement) == ["usage calls 01.01-01.02 20.00 40.00 [a]", "draw calls 01.01-01.02 -40.00 [a]"]
    assert statement.total == 0
    spent = bill(CALLS, deal, ("calls", day(5), "20"), drawn={("a", "0"): D(40), ("b", "0"): D(40)})
    assert table(spent) == ["usage calls 01.01-01.02 20.00 40.00"]


def test_usage_draws_only_from_balances_open_in_its_slice() -> None:
    deal = {"credits": [credit("late", "100", starting_at="2026-01-11", ending_before="2026-01-21")]}
    statement = bill(CALLS, deal, ("calls", day(5), "1"), ("calls", day(15), "2"), ("calls", day(25), "4"))
    assert table(statement) == [
        "usage calls 01.01-11.01 1.00 2.00",
        "usage calls 11.01-21.01 2.00 4.00 [late]",
        "usage calls 21.01-01.02 4.00 8.00",
        "draw calls 11.01-21.01 -4.00 [late]",
    ]


def test_a_commit_rate_applies_while_the_commit_pays_and_tiers_carry_on() -> None:
    tiers = [{"up_to": "10", "unit_amount": "4"}, {"unit_amount": "2"}]
    half = [{"up_to": "10", "unit_amount": "2"}, {"unit_amount": "1"}]
    rates = [rate("calls", {"model": "graduated", "tiers": tiers}, commit_price={"model": "graduated", "tiers": half})]
    statement = bill(rates, {"commits": [commit("y1", "24", rate="commit")]}, ("calls", day(5), "30"))
    assert table(statement) == [
        "usage calls 01.01-01.02 14.00 24.00 [y1]",  # 10 at 2 and 4 at 1
        "usage calls 01.01-01.02 16.00 32.00",  # the rest at 2: the list's first tier is used up
        "draw calls 01.01-01.02 -24.00 [y1]",
    ]


def test_usage_past_a_commit_costs_its_overage_multiplier() -> None:
    deal = {"commits": [commit("y1", "10", overage_multiplier="1.5")]}
    assert table(bill(CALLS, deal, ("calls", day(5), "7"))) == [
        "usage calls 01.01-01.02 5.00 10.00 [y1]",
        "usage calls 01.01-01.02 2.00 6.00",
        "draw calls 01.01-01.02 -10.00 [y1]",
    ]
    assert bill(CALLS, deal, ("calls", day(5), "7"), drawn={("y1", "0"): D(10)}).total == D("21.00")


@pytest.mark.parametrize("kind", ["package", "volume"])
def test_prices_that_are_no_sum_of_units_split_by_amount(kind: str) -> None:
    price = {
        "package": {"model": "package", "size": "10", "amount": "5"},
        "volume": {"model": "volume", "tiers": [{"up_to": "5", "unit_amount": "3"}, {"unit_amount": "0.6"}]},
    }[kind]
    statement = bill({"calls": price}, {"credits": [credit("a", "4")]}, ("calls", day(5), "25"))
    assert [(line.kind, line.amount) for line in statement.lines] == [
        ("usage", D("4")),
        ("usage", D("11.00")),
        ("draw", D("-4")),
    ]


def test_a_cheaper_price_that_is_no_sum_of_units_covers_a_share() -> None:
    rates = [rate("calls", {"model": "flat", "amount": "100"}, commit_price={"model": "flat", "amount": "80"})]
    statement = bill(rates, {"commits": [commit("y1", "20", rate="commit")]}, ("calls", day(5), "1"))
    assert [(line.kind, line.amount) for line in statement.lines] == [
        ("usage", D("20.00")),  # a quarter of 80
        ("usage", D("75.00")),  # three quarters of 100
        ("draw", D("-20")),
    ]


def test_draws_are_taken_from_what_is_left_after_discounts() -> None:
    deal = {"credits": [credit("a", "45")], "discounts": [{"percent": "10"}]}
    statement = bill(CALLS, deal, ("calls", day(5), "50"))
    assert table(statement) == [
        "usage calls 01.01-01.02 25.00 50.00 [a]",
        "usage calls 01.01-01.02 25.00 50.00",
        "discount calls 01.01-01.02 -5.00",
        "discount calls 01.01-01.02 -5.00",
        "draw calls 01.01-01.02 -45.00 [a]",
    ]
    assert statement.total == D("45.00")


def test_a_postpaid_commit_counts_usage_and_bills_what_is_missing_at_the_end() -> None:
    deal = {
        "commits": [{"kind": "postpaid", **credit("post", "100", starting_at="2026-01-01", ending_before="2026-03-01")}]
    }
    january = bill(CALLS, deal, ("calls", day(5), "20"))
    assert table(january) == ["usage calls 01.01-01.02 20.00 40.00 [post]"]
    assert [(draw.kind, draw.amount, draw.position) for draw in january.draws] == [("postpaid_commit", D(40), 1)]
    february = bill(CALLS, deal, ("calls", day(5, 2), "10"), period=FEBRUARY, drawn={("post", "0"): D(40)})
    assert table(february) == ["usage calls 01.02-01.03 10.00 20.00 [post]", "true_up post 01.02-01.03 40.00 [post]"]
    over = bill(CALLS, deal, ("calls", day(5, 2), "50"), period=FEBRUARY, drawn={("post", "0"): D(40)})
    assert over.total == D("100.00")


def test_a_balance_in_scope_only_pays_for_that() -> None:
    tokens = ProductTerms("tokens", "tokens", "m", "sum", pricing_keys=("model",), tags=("ai",))
    rates = [rate("tokens", unit("1"), where={"model": name}) for name in ("a", "b")] + [rate("calls", unit("1"))]
    uses = [("tokens", day(2), "5", {"model": "a"}), ("tokens", day(2), "5", {"model": "b"}), ("calls", day(2), "5")]
    for scope, paid in [
        ({"products": ["calls"]}, 5),
        ({"tags": ["ai"]}, 10),
        ({"tags": ["ai"], "where": {"model": "b"}}, 5),
        ({"products": ["calls"], "tags": ["ai"]}, 15),
        ({}, 15),
    ]:
        statement = bill(rates, {"credits": [credit("a", "100", scope=scope)]}, *uses, products=[tokens])
        assert statement.credits_applied == paid, scope


def test_lines_are_paid_by_kind_then_slice_then_price_then_name() -> None:
    rates = {"cheap": unit("1"), "dear": unit("3"), "alpha": unit("1")}
    uses = [("cheap", day(2), "10"), ("dear", day(2), "10"), ("alpha", day(2), "10")]
    statement = bill(rates, {"credits": [credit("a", "45")]}, *uses)
    assert [(line.product, line.amount) for line in statement.lines if line.kind == "draw"] == [
        ("dear", D(-30)),
        ("alpha", D(-10)),
        ("cheap", D(-5)),
    ]


def test_what_is_missing_to_a_lines_minimum_is_paid_after_its_usage() -> None:
    statement = bill({"calls": unit("1", minimum="50")}, {"credits": [credit("a", "30")]}, ("calls", day(5), "10"))
    assert table(statement) == [
        "usage calls 01.01-01.02 10.00 10.00 [a]",
        "minimum calls 01.01-01.02 20.00 [a]",
        "minimum calls 01.01-01.02 20.00",
        "draw calls 01.01-01.02 -10.00 [a]",
        "draw calls 01.01-01.02 -20.00 [a]",
    ]


BASE = Balance("base", "0", "credit", "base", D(10), day(1), day(1, 6))


@pytest.mark.parametrize(
    ("why", "first", "second"),
    [
        ("rollover before any", {"rolls_from": "0", "priority": 200}, {"priority": 1}),
        (
            "prepaid before postpaid, whatever the priority",
            {"priority": 100},
            {"kind": "postpaid_commit", "priority": 1},
        ),
        ("lower priority number", {"priority": 5}, {"priority": 10}),
        ("free before paid", {}, {"cost_basis": D("0.8")}),
        ("fewest products", {"scope": Scope(products=("a",))}, {"scope": Scope(products=("a", "b"))}),
        ("all products last", {"scope": Scope(products=("a", "b"))}, {}),
        ("fewest group values", {"scope": Scope(where={"m": "a"})}, {"scope": Scope(where={"m": "a", "r": "b"})}),
        ("earlier end", {"ending_before": day(1, 3)}, {"ending_before": day(1, 4)}),
        ("an end before none", {}, {"ending_before": None}),
        ("earlier start", {"starting_at": day(1)}, {"starting_at": day(2)}),
        ("fewest contracts", {"contracts": 1}, {"contracts": 2}),
        ("the contract's own before the customer's", {}, {"shared": True}),
        ("key", {"key": "a"}, {"key": "b"}),
    ],
)
def test_burn_down_order(why: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    assert burn_down_order(replace(BASE, **first)) < burn_down_order(replace(BASE, **second)), why


def test_recurring_credits_make_one_child_per_period_and_roll_over() -> None:
    deal = {
        "recurring_credits": [{"key": "monthly", "amount": "100", "every": "month", "rollover": {"fraction": "0.5"}}]
    }
    terms: dict[str, Any] = {"period": FEBRUARY, "drawn": {("monthly", "0"): D(30)}}
    # 70 are left of January: half of the original 100 rolls over, 20 expire.
    statement = bill(CALLS, deal, ("calls", day(5, 2), "100"), **terms)
    assert [(draw.segment, draw.amount) for draw in statement.draws] == [("0-rolled", D(50)), ("1", D(100))]
    assert statement.total == D("50.00")


def test_what_rolls_over_within_a_statement_is_known_when_its_window_ends() -> None:
    deal = {
        "recurring_credits": [
            {"key": "weekly", "amount": "10", "every": "week", "proration": "none", "rollover": {"fraction": "1"}}
        ]
    }
    # 1 January 2026 is a Thursday: windows end on the 5th, 12th, ... The first child leaves 4, the next pays 4 + 10.
    statement = bill(CALLS, deal, ("calls", day(2), "3"), ("calls", day(6), "20"))
    assert [(draw.segment, draw.amount) for draw in statement.draws] == [("0", D(6)), ("0-rolled", D(4)), ("1", D(10))]


@pytest.mark.parametrize(
    ("proration", "amounts"),
    [
        ("none", ["30", "30"]),
        ("first", ["16.45", "30"]),
        ("last", ["30", "19.29"]),
        ("first_and_last", ["16.45", "19.29"]),
    ],
)
def test_short_periods_of_a_recurring_credit_are_prorated(proration: str, amounts: list[str]) -> None:
    window = {"starting_at": "2026-01-15", "ending_before": "2026-02-19"}
    recurring = {"key": "m", "amount": "30", "every": "month", "proration": proration, **window}
    made = inputs(CALLS, {"recurring_credits": [recurring]}, period=FEBRUARY)
    assert [each.amount for each in made.balances] == [D(amount) for amount in amounts]


def test_a_recurring_credit_per_seat_follows_the_seats_at_the_start_of_each_period() -> None:
    deal = {
        "subscriptions": [
            {"key": "seats", "product": "calls", "quantity": "4", "changes": [{"at": "2026-01-20", "quantity": "6"}]}
        ],
        "recurring_credits": [{"key": "pool", "amount": "100", "per_seat_of": "seats", "periods": 2}],
    }
    made = inputs(CALLS, deal, period=FEBRUARY)
    assert [(each.amount, each.ending_before) for each in made.balances] == [(D(400), day(1, 3)), (D(600), day(1, 4))]


def test_balances_past_the_statement_are_not_made() -> None:
    made = inputs(CALLS, {"credits": [credit("later", "5", starting_at="2026-06-01")]})
    assert made.balances == ()
    assert made.calendar is not None
    assert len(balances_of(made.deal, made.calendar, "USD", day(1, 7))) == 1


def test_a_falling_quantity_draws_nothing_and_gives_nothing_back() -> None:
    level = ProductTerms("level", "level", "m", "latest")
    rates = [rate("level", unit("3"), ending_before=day(11)), rate("level", unit("4"), starting_at=day(11))]
    uses = [("level", day(2), "40"), ("level", day(15), "30")]
    statement = bill(rates, {"credits": [credit("a", "100")]}, *uses, products=[level])
    assert table(statement) == [
        "usage level 01.01-11.01 33.33 100.00 [a]",
        "usage level 01.01-11.01 6.67 20.00",
        "usage level 11.01-01.02 -10.00 -40.00",
        "draw level 01.01-11.01 -100.00 [a]",
    ]
    assert statement.total == Decimal("-20.00")
    assert JANUARY.starting_at == statement.period.starting_at


def test_a_slice_that_costs_less_than_nothing_at_the_commits_price_gives_nothing_back() -> None:
    # 10 units at 2, then 10 more that bring all 20 to 0.50: 10 - 20 = -10 at the commit's price, 10 at the list's.
    tiers = [{"up_to": "10", "unit_amount": "2"}, {"unit_amount": "0.50"}]
    card = rate("calls", unit("1"), commit_price={"model": "volume", "tiers": tiers})
    window = {"starting_at": "2026-01-01T00:00:00Z", "ending_before": "2026-02-01T00:00:00Z"}
    commit = {"key": "c", "rate": "commit", "access": [{"amount": "100", **window}]}
    half = {"kind": "multiplier", "multiplier": "0.5", "starting_at": "2026-01-10T00:00:00Z"}
    deal = {"commits": [commit], "overrides": [half]}
    statement = bill([card], deal, ("calls", day(2), "10"), ("calls", day(12), "10"))
    assert [draw.amount for draw in statement.draws] == [D(20)]
    assert statement.total == D(-10)
