"""Tax: which rate holds, rounding once per rate, prices that include it, and what credit notes take back."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.money import add, round_amount
from contracts.lines import Line
from invoicing.taxation import (
    NO_TAX,
    Credited,
    CreditedBefore,
    Tax,
    Taxed,
    TaxRules,
    TaxTotal,
    credited_taxes,
    read_taxes,
    tax_of,
    taxed,
    written_taxes,
)
from meters.periods import Period
from tests.factories import day

D = Decimal
JANUARY = Period(day(1), day(1, month=2))
VAT = Tax(D("0.19"), "VAT", "de-19", country="DE")
BOOKS = Tax(D("0.07"), "VAT", "de-7", country="DE", product_category="books")


def line(amount: str, product: str = "calls", kind: str = "usage", **more: Any) -> Line:
    return Line(kind, product, product, (), JANUARY, amount=D(amount), amount_exact=D(amount), **more)


def tax(lines: list[Line], *rates: Tax, currency: str = "EUR", one: Tax | None = None) -> Taxed:
    rules = TaxRules(one, rates, expected=one is None)
    return taxed(lines, rules, {"novel": "books"}, JANUARY, currency)


def due(found: Taxed) -> list[tuple[str, str, str]]:
    return [(total.key, str(total.base), str(total.amount)) for total in found.totals]


def test_without_rules_nothing_is_touched() -> None:
    lines = [line("1")]
    assert taxed(lines, NO_TAX, {}, JANUARY, "EUR") == Taxed(lines, [], (), untaxed=False)


def test_tax_is_rounded_once_per_rate_half_up() -> None:
    """0.03 and 0.03: 19% of 0.06 is 0.0114, not twice 0.0057; 7% of 0.50 is 0.035, half up."""
    found = tax([line("0.03"), line("0.50", "novel"), line("0.03")], VAT, BOOKS)
    assert due(found) == [("de-19", "0.06", "0.01"), ("de-7", "0.50", "0.04")]
    assert [(each.name, each.amount, each.tax_key) for each in found.tax_lines] == [
        ("VAT 19%", D("0.01"), "de-19"),
        ("VAT 7%", D("0.04"), "de-7"),
    ]
    assert [each.tax_key for each in found.lines] == ["de-19", "de-7", "de-19"]


def test_discounts_and_draws_lower_the_base_of_what_they_are_for() -> None:
    lines = [line("100"), line("50", "novel"), line("-10", kind="discount"), line("-50", "novel", "draw")]
    assert due(tax(lines, VAT, BOOKS)) == [("de-19", "90", "17.10"), ("de-7", "0", "0.00")]


def test_the_rate_of_the_day_the_service_ends_holds() -> None:
    old = Tax(D("0.16"), key="old", ending_before=day(1, month=2))
    new = Tax(D("0.19"), key="new", starting_at=day(1, month=2))
    rules = TaxRules(rates=(old, new))
    found = [
        tax_of(Line("usage", "", "", (), period), rules, "") for period in (JANUARY, Period(day(20), day(2, month=2)))
    ]
    assert found == [old, new]


def test_a_region_comes_before_its_country_and_a_category_before_both() -> None:
    region = Tax(D("0.10"), key="region", region="BY")
    books = Tax(D("0.07"), key="books", product_category="books")
    rules = TaxRules(rates=(VAT, region, books))
    assert tax_of(line("1"), rules, "") == region
    assert tax_of(line("1"), rules, "books") == books
    assert tax_of(line("1"), TaxRules(rates=(books,)), "") is None


def test_reverse_charge_charges_nothing_and_says_why() -> None:
    reverse = Tax(D(0), "Reverse charge", "reverse_charge", "AE", note="The recipient owes the tax.")
    found = tax([line("100"), line("7", "novel")], VAT, one=reverse)
    assert found.tax_lines == []
    assert found.totals == (
        TaxTotal("reverse_charge", "Reverse charge", "AE", D(0), D(107), D(0), note="The recipient owes the tax."),
    )


def test_a_line_no_rate_covers_is_noticed() -> None:
    assert tax([line("1")], BOOKS).untaxed
    assert not tax([line("1")], VAT).untaxed
    assert not tax([line("0")], BOOKS).untaxed
    assert not tax([line("1", unit="credits")], BOOKS).untaxed


def test_included_tax_is_taken_out_and_the_whole_stays_the_same() -> None:
    """Three lines of 10.00 hold 30 / 1.19 = 25.21 before tax: 8.40, 8.41 and 8.40, and 4.79 tax."""
    found = tax([line("10"), line("10"), line("10")], Tax(D("0.19"), "VAT", "de", inclusive=True))
    assert [each.amount for each in found.lines] == [D("8.40"), D("8.41"), D("8.40")]
    assert [each.gross_amount for each in found.lines] == [D(10)] * 3
    assert due(found) == [("de", "25.21", "4.79")]


def test_a_line_by_hand_is_before_tax_even_where_prices_include_it() -> None:
    found = tax([line("11.90"), line("100", kind="manual")], Tax(D("0.19"), "VAT", "de", inclusive=True))
    assert [each.amount for each in found.lines] == [D("10.00"), D(100)]
    assert due(found) == [("de", "110.00", "20.90")]


money = st.decimals(-10_000, 10_000, places=2)
percents = st.sampled_from([D("0.05"), D("0.07"), D("0.19"), D("0.25"), D("0.081")])


@given(st.lists(money, min_size=1, max_size=60), percents)
def test_included_tax_never_changes_what_is_paid(amounts: list[Decimal], rate: Decimal) -> None:
    lines = [line(str(amount)) for amount in amounts]
    found = tax(lines, Tax(rate, "VAT", "vat", inclusive=True))
    (total,) = found.totals
    assert add([total.base, total.amount]) == add(amounts)
    assert add(each.amount for each in found.lines) == total.base
    # Of every line, and of the tax, no more than a cent is rounding.
    for each in found.lines:
        assert abs(each.amount - each.amount_exact) <= D("0.01")
    assert abs(total.amount - round_amount(total.base * rate, "EUR")) <= D("0.01")


@given(st.lists(money, min_size=1, max_size=60), percents, st.sampled_from(["EUR", "JPY", "KWD"]))
def test_tax_on_top_is_exact_to_half_a_minor_unit(amounts: list[Decimal], rate: Decimal, currency: str) -> None:
    rounded = [round_amount(amount, currency) for amount in amounts]
    found = tax([line(str(amount)) for amount in rounded], Tax(rate, "VAT", "vat"), currency=currency)
    assert found.totals[0].base == add(rounded)
    assert found.totals[0].amount == round_amount(add(rounded) * rate, currency)


@given(st.lists(st.decimals("0.01", 500, places=2), min_size=1, max_size=12), percents, st.data())
def test_credit_notes_over_everything_take_all_tax_back(
    amounts: list[Decimal], rate: Decimal, data: st.DataObject
) -> None:
    """Credited line by line, in any order and in parts, the tax that comes back is the tax that was charged."""
    lines = [line(str(amount)) for amount in amounts]
    totals = tax(lines, Tax(rate, "VAT", "vat")).totals
    parts = [
        part
        for amount in data.draw(st.permutations(amounts))
        for first in [data.draw(st.decimals(0, amount, places=2))]
        for part in (first, amount - first)
        if part
    ]
    base, back = D(0), D(0)
    for part in parts:
        before = CreditedBefore({"vat": base}, {"vat": back})
        (credited,) = credited_taxes([Credited("vat", part)], totals, before, "EUR")
        assert abs(credited.amount - part * rate) <= D("0.02")
        base, back = add([base, part]), add([back, credited.amount])
    assert (base, back) == (totals[0].base, totals[0].amount)


def test_a_credit_note_takes_back_each_rate_of_its_lines() -> None:
    totals = tax([line("100"), line("50", "novel")], VAT, BOOKS).totals
    parts = [Credited("de-19", D(10)), Credited("de-7", D(20)), Credited("de-19", D(5))]
    found = credited_taxes(parts, totals, CreditedBefore(), "EUR")
    assert [(each.key, each.base, each.amount) for each in found] == [
        ("de-19", D(15), D("2.85")),
        ("de-7", D(20), D("1.40")),
    ]


def test_taxes_are_read_as_they_were_written() -> None:
    totals = tax([line("100"), line("50", "novel")], VAT, BOOKS).totals
    assert read_taxes(written_taxes(totals)) == totals


@pytest.mark.parametrize("rate", ["0", "0.19"])
def test_one_rate_for_everything_as_before(rate: str) -> None:
    found = tax([line("5")], one=Tax(D(rate)))
    assert [each.name for each in found.tax_lines] == ([] if rate == "0" else ["Tax 19%"])
