"""Statements by worked examples, without a database."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.group_values import Group, group_key
from catalog.price_format import parse_price
from catalog.pricing import Conversion
from contracts.terms import ProductTerms, Rate
from invoicing.statement import SliceUsage, Statement, StatementInputs, build_statement
from meters.periods import Period, cut
from meters.slices import measured_periods

D = Decimal


def day(number: int, month: int = 1) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


JANUARY = Period(day(1), day(1, 2))
TOKENS = ProductTerms("tokens", "Tokens", "tokens", "sum", pricing_keys=("model",), presentation_keys=("region",))
PLAIN = ProductTerms("calls", "Calls", "calls", "count")
PER_UNIT = {"model": "per_unit", "unit_amount": "0.002"}
GRADUATED = {
    "model": "graduated",
    "tiers": [{"up_to": "100", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}],
}
FEE = {
    "model": "graduated",
    "tiers": [{"up_to": "100", "unit_amount": "1", "flat_amount": "10"}, {"up_to": None, "unit_amount": "0.5"}],
}


def rate(product: str, price: dict[str, Any], where: dict[str, str] | None = None, **dates: datetime | None) -> Rate:
    return Rate(
        product=product,
        where=group_key(where or {}),
        starting_at=dates.get("starting_at"),
        ending_before=dates.get("ending_before"),
        price=parse_price(price),
        source="rate card list",
        reference=f"rate:{product}:{dates.get('starting_at')}",
    )


def used(product: str, quantity: str, part: Period = JANUARY, group: Group = (), events: int = 1) -> SliceUsage:
    return SliceUsage(product, part, group, D(quantity), events)


def statement(*usage: SliceUsage, products: list[ProductTerms], rates: list[Rate], currency: str = "USD") -> Statement:
    by_product = {product.key: [rate for rate in rates if rate.product == product.key] for product in products}
    return build_statement(StatementInputs("c1", "acme", currency, JANUARY, tuple(products), by_product, usage))


def table(built: Statement) -> list[tuple[Any, ...]]:
    """Product, group, from, to, quantity, unit price, amount: a statement as finance would read it."""
    return [
        (
            line.product,
            group_key(line.group),
            line.period.starting_at.day,
            line.period.ending_before.day,
            str(line.quantity),
            None if line.unit_amount is None else str(line.unit_amount),
            str(line.amount),
        )
        for line in built.lines
    ]


def test_one_line_per_product_and_group_rounded_and_then_added() -> None:
    built = statement(
        used("tokens", "2", group=(("model", "a"), ("region", "eu"))),
        used("tokens", "3", group=(("model", "a"), ("region", "us"))),
        used("tokens", "1000", group=(("model", "b"), ("region", "us"))),
        products=[TOKENS],
        rates=[rate("tokens", PER_UNIT, {"model": "a"}), rate("tokens", PER_UNIT, {"model": "b"})],
    )
    assert table(built) == [
        ("tokens", '{"model":"a","region":"eu"}', 1, 1, "2", "0.002", "0.00"),
        ("tokens", '{"model":"a","region":"us"}', 1, 1, "3", "0.002", "0.01"),
        ("tokens", '{"model":"b","region":"us"}', 1, 1, "1000", "0.002", "2.00"),
    ]
    assert built.total == D("2.01")
    assert built.lines[1].amount_exact == D("0.006")


def test_a_new_rate_cuts_the_line_and_tiers_carry_on() -> None:
    rates = [
        rate("calls", GRADUATED, ending_before=day(11)),
        rate("calls", {"model": "per_unit", "unit_amount": "2"}, starting_at=day(11), ending_before=day(21)),
        rate("calls", GRADUATED, starting_at=day(21)),
    ]
    built = statement(
        used("calls", "60", Period(day(1), day(11))),
        used("calls", "30", Period(day(11), day(21))),
        used("calls", "40", Period(day(21), day(1, 2))),
        products=[PLAIN],
        rates=rates,
    )
    assert table(built) == [
        ("calls", "", 1, 11, "60", "1", "60.00"),
        ("calls", "", 11, 21, "30", "2", "60.00"),
        ("calls", "", 21, 1, "40", None, "25.00"),  # 10 left in the first tier at 1, then 30 at 0.5
    ]


def test_a_cut_made_for_another_group_leaves_one_line() -> None:
    rates = [
        rate("tokens", PER_UNIT, {"model": "a"}),
        rate("tokens", PER_UNIT, {"model": "b"}, starting_at=day(11)),
    ]
    built = statement(
        used("tokens", "2", Period(day(1), day(11)), (("model", "a"), ("region", "eu"))),
        used("tokens", "1", Period(day(11), day(1, 2)), (("model", "a"), ("region", "eu"))),
        products=[TOKENS],
        rates=rates,
    )
    assert table(built) == [("tokens", '{"model":"a","region":"eu"}', 1, 1, "3", "0.002", "0.01")]


def test_usage_without_a_rate_is_shown_and_not_priced() -> None:
    built = statement(
        used("tokens", "5", group=(("model", None), ("region", "eu"))),
        products=[TOKENS],
        rates=[rate("tokens", PER_UNIT, {"model": "a"})],
    )
    assert built.lines == ()
    assert [(row.product, dict(row.group), row.quantity) for row in built.unrated] == [
        ("tokens", {"model": None, "region": "eu"}, D(5))
    ]


def test_a_maximum_is_priced_by_its_increments() -> None:
    peak = replace(PLAIN, aggregation="max")
    rates = [
        rate("calls", {"model": "per_unit", "unit_amount": "1"}, ending_before=day(11)),
        rate("calls", {"model": "per_unit", "unit_amount": "10"}, starting_at=day(11)),
    ]
    built = statement(
        used("calls", "7", Period(day(1), day(11)), events=3),
        used("calls", "9", Period(day(11), day(1, 2)), events=5),
        products=[peak],
        rates=rates,
    )
    assert [(line.quantity, line.amount, line.events) for line in built.lines] == [
        (D(7), D("7.00"), 3),
        (D(2), D("20.00"), 2),
    ]


def test_a_flat_fee_in_the_first_tier_is_due_once_with_or_without_usage() -> None:
    halves = [rate("calls", FEE, ending_before=day(11)), rate("calls", FEE, starting_at=day(11))]
    assert statement(products=[PLAIN], rates=halves).total == D("10.00")
    early, late = Period(day(1), day(11)), Period(day(11), day(1, 2))
    assert statement(used("calls", "5", late), products=[PLAIN], rates=halves).total == D("15.00")
    assert statement(used("calls", "5", early), used("calls", "5", late), products=[PLAIN], rates=halves).total == D(
        "20.00"
    )


def test_no_usage_and_no_fee_is_an_empty_statement() -> None:
    built = statement(products=[PLAIN], rates=[rate("calls", PER_UNIT)])
    assert (built.lines, built.total) == ((), D(0))


def test_converted_quantities_are_rounded_over_the_whole_period() -> None:
    thousands = replace(PLAIN, conversion=Conversion(divide_by=D(1000), rounding="up"))
    rates = [
        rate("calls", {"model": "per_unit", "unit_amount": "1"}, ending_before=day(11)),
        rate("calls", {"model": "per_unit", "unit_amount": "1"}, starting_at=day(11)),
    ]
    built = statement(
        used("calls", "1500", Period(day(1), day(11))),
        used("calls", "400", Period(day(11), day(1, 2))),
        products=[thousands],
        rates=rates,
    )
    assert [(line.billed_quantity, line.amount) for line in built.lines] == [(D(2), D("2.00")), (D(0), D("0.00"))]


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "1"), ("USD", "0.50"), ("KWD", "0.500")])
def test_lines_round_to_the_minor_unit_of_the_currency(currency: str, amount: str) -> None:
    built = statement(
        used("calls", "1"),
        products=[PLAIN],
        rates=[rate("calls", {"model": "per_unit", "unit_amount": "0.5"})],
        currency=currency,
    )
    assert str(built.lines[0].amount) == amount


quantities = st.decimals(0, 500, places=3, allow_nan=False, allow_infinity=False)


@given(
    st.sampled_from(["sum", "max"]),
    st.sampled_from([PER_UNIT, GRADUATED, FEE]),
    st.dictionaries(st.integers(2, 31), quantities, max_size=5),
    quantities,
)
def test_splitting_a_period_at_any_instants_changes_no_total(
    aggregation: str, price: dict[str, Any], later: dict[int, Decimal], first: Decimal
) -> None:
    """The same usage measured whole and in slices, under a rate renewed at every cut with the same price."""
    product = replace(PLAIN, aggregation=aggregation)
    use = {1: first, **later}

    def combine(values: list[Decimal]) -> Decimal:
        return sum(values, D(0)) if aggregation == "sum" else max(values, default=D(0))

    def measured(part: Period, over: Period) -> SliceUsage:
        inside = [quantity for number, quantity in use.items() if day(number) in over]
        return SliceUsage("calls", part, (), combine(inside), len(inside))

    slices = cut(JANUARY, [day(number) for number in later])
    rates = [rate("calls", price, starting_at=part.starting_at, ending_before=part.ending_before) for part in slices]
    rows = [row for part, over in measured_periods(aggregation, slices) if (row := measured(part, over)).events]
    whole = statement(measured(JANUARY, JANUARY), products=[product], rates=[rate("calls", price)])
    sliced = statement(*rows, products=[product], rates=rates)
    assert sum(line.amount_exact for line in sliced.lines) == sum(line.amount_exact for line in whole.lines)
