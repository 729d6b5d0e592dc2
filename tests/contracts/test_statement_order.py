"""The order of a statement: discounts, bounds of a line, credits, minimums, tax, what was invoiced already."""

from decimal import Decimal
from typing import Any

from contracts.deal import Scope
from contracts.products import ProductTerms
from contracts.units import UnitRate
from invoicing.taxation import Tax
from invoicing.totals import Earlier
from tests.contracts.worked import D, bill, day, inputs, rate, schedule, table, unit

CALLS = {"calls": unit("2")}
YEAR = {"starting_at": "2026-01-01", "ending_before": "2027-01-01"}


def credit(key: str, amount: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "access": [{"amount": amount, **YEAR}], **more}


def test_everything_in_its_order() -> None:
    deal = {
        "discounts": [{"amount": "5"}, {"percent": "10"}],
        "credits": [credit("trial", "30")],
        "minimums": [{"amount": "150"}],
    }
    statement = bill(
        CALLS,
        deal,
        ("calls", day(2), "50"),
        tax=Tax(D("0.19"), "VAT"),
        earlier=(Earlier("INV-7", D("20.00")),),
    )
    assert [(line.kind, line.name, line.amount) for line in statement.lines] == [
        ("usage", "calls", D("35.29")),
        ("usage", "calls", D("64.71")),
        ("discount", "Discount 10%", D("-3.53")),
        ("discount", "Discount", D("-1.76")),
        ("discount", "Discount 10%", D("-6.47")),
        ("discount", "Discount", D("-3.24")),
        ("draw", "trial", D("-30.00")),
        ("minimum", "Minimum", D("65.00")),  # 150 less 85 spent, what the credit paid included
        ("tax", "VAT 19%", D("22.80")),
        ("already_invoiced", "Already invoiced: INV-7", D("-20.00")),
    ]
    assert statement.subtotal == D("165.00")
    assert statement.discount == D("15.00")
    assert statement.credits_applied == D("30.00")
    assert statement.tax == D("22.80")
    assert statement.total == D("122.80")


def test_percentages_compound_in_order_before_amounts_and_never_below_zero() -> None:
    deal = {"discounts": [{"amount": "40"}, {"percent": "10"}, {"percent": "25"}]}
    assert bill(CALLS, deal, ("calls", day(2), "50")).total == D("27.50")  # 100 - 10 - 22.50 - 40
    assert bill(CALLS, deal, ("calls", day(2), "20")).total == D("0.00")
    assert bill(CALLS, {"discounts": [{"percent": "100"}]}, ("calls", day(2), "20")).total == 0


def test_a_discount_has_a_scope_and_dates_and_splits_by_largest_remainder() -> None:
    deal = {"discounts": [{"amount": "1", "scope": {"products": ["a", "b", "c"]}, "starting_at": "2026-01-11"}]}
    prices = {name: unit("1") for name in "abcd"}
    uses = [(name, day(15), "10") for name in "abcd"]
    statement = bill(prices, deal, *uses, ("a", day(2), "10"))
    discounts = [
        (line.product, line.period.starting_at, line.amount) for line in statement.lines if line.kind == "discount"
    ]
    assert discounts == [("a", day(11), D("-0.34")), ("b", day(11), D("-0.33")), ("c", day(11), D("-0.33"))]


def test_bounds_of_a_line_come_after_discounts() -> None:
    prices = {"calls": unit("2", minimum="50", maximum="70")}
    deal = {"discounts": [{"percent": "50"}]}
    assert table(bill(prices, deal, ("calls", day(2), "40"))) == [
        "usage calls 01.01-01.02 40.00 80.00",
        "minimum calls 01.01-01.02 10.00",
        "discount calls 01.01-01.02 -40.00",
    ]
    assert bill(prices, deal, ("calls", day(2), "40")).total == D("50.00")
    assert bill(prices, deal, ("calls", day(2), "100")).total == D("70.00")
    assert table(bill(prices)) == ["minimum calls 01.01-01.02 50.00"]


def test_a_maximum_holds_for_the_period_not_for_each_slice() -> None:
    rates = [
        rate("calls", unit("2", maximum="30"), ending_before=day(11)),
        rate("calls", unit("2", maximum="30"), starting_at=day(11)),
    ]
    statement = bill(rates, None, ("calls", day(2), "10"), ("calls", day(12), "10"))
    assert [(line.kind, line.amount) for line in statement.lines] == [
        ("usage", D("20.00")),
        ("usage", D("20.00")),
        ("discount", D("-10.00")),
    ]


def test_minimums_with_a_scope_come_first_and_count_for_the_whole() -> None:
    deal = {"minimums": [{"amount": "100"}, {"amount": "60", "scope": {"products": ["a"]}}]}
    statement = bill({"a": unit("1"), "b": unit("1")}, deal, ("a", day(2), "10"), ("b", day(2), "20"))
    assert [line.amount for line in statement.lines] == [D("10.00"), D("20.00"), D("50.00"), D("20.00")]
    assert bill({"a": unit("1")}, deal).total == D("100.00")


def test_a_share_of_spend_is_priced_after_discounts_and_before_credits_and_paid_last() -> None:
    support = ProductTerms("support", "Support", kind="percent_of_spend", of=Scope(products=("calls",)))
    rates = [
        rate("calls", unit("2")),
        rate("other", unit("1")),
        rate("support", {"model": "percentage", "percent": "10"}),
    ]
    deal = {"discounts": [{"percent": "20", "scope": {"products": ["calls"]}}], "credits": [credit("a", "85")]}
    statement = bill(rates, deal, ("calls", day(2), "50"), products=[support])
    assert table(statement) == [
        "usage calls 01.01-01.02 50.00 100.00 [a]",
        "percent_of_spend support 01.01-01.02 50.00 5.00 [a]",
        "percent_of_spend support 01.01-01.02 30.00 3.00",
        "discount calls 01.01-01.02 -20.00",
        "draw calls 01.01-01.02 -80.00 [a]",
        "draw support 01.01-01.02 -5.00 [a]",
    ]


def test_pricing_units_convert_on_one_line_at_their_dated_rate() -> None:
    rates = [
        rate("calls", unit("3"), unit="credit"),
        rate("tokens", unit("0.125"), unit="credit"),
        rate("own", unit("1")),
    ]
    units = {"credit": (UnitRate(D("0.10"), None, day(11)), UnitRate(D("0.20"), day(11), None))}
    uses = [("calls", day(2), "10"), ("tokens", day(2), "3"), ("calls", day(12), "10"), ("own", day(2), "1")]
    deal = {"credits": [credit("gift", "4", unit="credit"), credit("cash", "2")]}
    assert table(bill(rates, deal, *uses, units=units)) == [
        "usage calls 01.01-11.01 1.33 4 credit [gift]",
        "usage calls 01.01-11.01 8.67 26 credit",
        "usage calls 11.01-01.02 10.00 30 credit",
        "usage own 01.01-01.02 1.00 1.00 [cash]",
        "usage tokens 01.01-11.01 3.00 0.375 credit",
        "conversion credit 01.01-11.01 10.00 1.00 [cash]",
        "conversion credit 01.01-11.01 16.38 1.64",
        "conversion credit 11.01-01.02 30.00 6.00",
        "draw calls 01.01-11.01 -4 credit [gift]",
        "draw own 01.01-01.02 -1.00 [cash]",
        "draw credit 01.01-11.01 -1.00 [cash]",
    ]


def test_a_balance_pays_for_usage_in_a_unit_while_it_is_open() -> None:
    deal = {"credits": [{"key": "top-up", "access": [{"amount": "5", "starting_at": "2026-01-15"}]}]}
    statement = bill(
        [rate("calls", unit("1"), unit="credit")],
        deal,
        ("calls", day(2), "10"),
        ("calls", day(20), "30"),
        units={"credit": (UnitRate(D("0.10")),)},
    )
    assert table(statement) == [
        "usage calls 01.01-15.01 10.00 10 credit",
        "usage calls 15.01-01.02 30.00 30 credit",
        "conversion credit 01.01-15.01 10.00 1.00",
        "conversion credit 15.01-01.02 30.00 3.00 [top-up]",
        "draw credit 15.01-01.02 -3.00 [top-up]",
    ]


def test_a_share_of_spend_in_a_unit_is_of_the_spend_in_that_unit() -> None:
    support = ProductTerms("support", "support", kind="percent_of_spend", of=Scope(products=("calls", "own")))
    rates = [rate("calls", unit("1"), unit="credit"), rate("own", unit("1"))]
    rates += [rate("support", {"model": "percentage", "percent": "10"}, unit="credit")]
    uses = [("calls", day(3), "100"), ("own", day(3), "40")]
    statement = bill(rates, None, *uses, products=[support], units={"credit": (UnitRate(D("0.10")),)})
    # 10.00 and 40.00 are 100 and 400 credits, a tenth of them 50 credits: 5.00.
    assert table(statement) == [
        "usage calls 01.01-01.02 100.00 100 credit",
        "usage own 01.01-01.02 40.00 40.00",
        "percent_of_spend support 01.01-01.02 500.00 50 credit",
        "conversion credit 01.01-01.02 150.00 15.00",
    ]


def test_fees_in_advance_in_a_unit_are_converted_on_their_own_invoice() -> None:
    deal: dict[str, Any] = {"subscriptions": [{"key": "s", "product": "seat", "quantity": "2"}]}
    deal["credits"] = [credit("gift", "50", unit="credit"), credit("cash", "4")]
    made = inputs([rate("seat", unit("100"), unit="credit")], deal, units={"credit": (UnitRate(D("0.10")),)})
    ((_, statement),) = schedule(made, until=day(1))
    assert table(statement) == [
        "subscription seat 01.01-01.02 0.50 50 credit [gift]",
        "subscription seat 01.01-01.02 1.50 150 credit",
        "conversion credit 01.01-01.02 40.00 4.00 [cash]",
        "conversion credit 01.01-01.02 110.00 11.00",
        "draw seat 01.01-01.02 -50 credit [gift]",
        "draw credit 01.01-01.02 -4.00 [cash]",
    ]
    assert statement.total == D("11.00")


def test_a_minimum_counts_usage_in_a_unit_at_its_rate_past_a_commit_too() -> None:
    commit = {"key": "y", "access": [{"amount": "1"}], "overage_multiplier": "2"}
    statement = bill(
        [rate("calls", unit("1"), unit="credit")],
        {"commits": [commit], "minimums": [{"amount": "20"}]},
        ("calls", day(2), "30"),
        units={"credit": (UnitRate(D("0.10")),)},
    )
    # 3.00 of usage: 1.00 paid by the commit, 2.00 at twice the price. 5.00 are charged, 15.00 are missing.
    assert table(statement) == [
        "usage calls 01.01-01.02 30.00 30 credit",
        "conversion credit 01.01-01.02 10.00 1.00 [y]",
        "conversion credit 01.01-01.02 20.00 4.00",
        "draw credit 01.01-01.02 -1.00 [y]",
        "minimum 01.01-01.02 15.00",
    ]


def test_what_falls_below_nothing_in_a_unit_is_credited_like_a_line_in_the_currency() -> None:
    level = ProductTerms("level", "level", "m", "latest")
    rates = [rate("level", unit("1"), starting_at=day(1), ending_before=day(11), unit="credit")]
    rates += [rate("level", unit("2"), starting_at=day(11), unit="credit")]
    statement = bill(
        rates,
        {"credits": [credit("gift", "40", unit="credit")], "minimums": [{"amount": "3"}]},
        ("level", day(2), "40"),
        ("level", day(15), "30"),
        products=[level],
        units={"credit": (UnitRate(D("0.10")),)},
    )
    assert [line.amount for line in statement.lines if line.kind in ("conversion", "minimum")] == [
        D("-2.00"),
        D("1.00"),
    ]


def test_usage_in_a_unit_without_a_rate_is_shown_and_not_billed() -> None:
    statement = bill([rate("calls", unit("3"), unit="credit")], None, ("calls", day(2), "10"))
    assert statement.total == Decimal(0)
    assert [(row.product, row.quantity) for row in statement.unrated] == [("credit", D(30))]


def test_a_line_larger_than_an_invoice_can_hold_is_usage_without_a_price() -> None:
    statement = bill(
        {"calls": unit("1"), "others": unit("1")}, None, ("calls", day(2), "1e30"), ("others", day(2), "5")
    )
    assert [(row.product, row.quantity) for row in statement.unrated] == [("calls", D("1e30"))]
    assert statement.total == D(5)
