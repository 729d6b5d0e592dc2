"""An invoice's lines as Stripe takes them: at most 250, in minor units, to the cent."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.money import add
from invoicing.stripe_items import LARGEST, MOST_ITEMS, Charged, from_minor, items, to_minor, total
from tests.factories import day


def charged(amount: str, product: str = "calls", kind: str = "usage") -> Charged:
    return Charged(product, kind, f"{product} {amount}", Decimal(amount), day(1), day(2))


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [("12.34", "USD", 1234), ("-0.01", "EUR", -1), ("500", "JPY", 500), ("1.230", "KWD", 1230), ("700", "ISK", 70000)],
)
def test_amounts_as_stripe_counts_them(amount: str, currency: str, units: int) -> None:
    assert to_minor(Decimal(amount), currency) == units
    assert from_minor(units, currency) == Decimal(amount)


@pytest.mark.parametrize(("amount", "currency"), [("0.001", "USD"), ("1.234", "KWD"), ("0.5", "JPY"), ("7.5", "ISK")])
def test_amounts_stripe_cannot_take(amount: str, currency: str) -> None:
    with pytest.raises(ValueError, match=f"{amount} {currency}"):
        to_minor(Decimal(amount), currency)


def test_as_many_as_fit_stay_as_they_are() -> None:
    made = items([charged(str(number)) for number in range(MOST_ITEMS)], "USD")
    assert [item.amount for item in made] == [number * 100 for number in range(MOST_ITEMS)]


def test_the_smallest_are_grouped_by_product_and_tax_is_not() -> None:
    """6 lines into 4: of the smallest, 1, 2 and 3, the calls become one line."""
    lines = [charged("9"), charged("1"), charged("2"), charged("8", "seats"), charged("3"), charged("0.50", "", "tax")]
    made = items(lines, "USD", most=4)
    grouped = "calls: 3 smaller lines, one by one on the invoice"
    assert [(item.words, item.amount) for item in made] == [
        ("calls 9", 900),
        ("seats 8", 800),
        (grouped, 600),
        (" 0.50", 50),
    ]


def test_an_amount_beyond_stripes_largest_is_split() -> None:
    made = items([charged("2500000.07")], "USD")
    assert [item.amount for item in made] == [99_999_990, 99_999_990, 50_000_027]
    assert made[0].words == "calls 2500000.07 (part 1 of 3)"


@given(
    amounts=st.lists(
        st.tuples(
            st.integers(-300_000_000, 300_000_000), st.sampled_from("abcdefgh"), st.sampled_from(["usage", "tax"])
        ),
        max_size=40,
    ),
    most=st.integers(12, 45),
)
def test_nothing_is_lost(amounts: list[tuple[int, str, str]], most: int) -> None:
    lines = [charged(str(Decimal(units).scaleb(-2)), product, kind) for units, product, kind in amounts]
    made = items(lines, "USD", most)
    assert total(made) == sum(units for units, _, _ in amounts)
    assert from_minor(total(made), "USD") == add(line.amount for line in lines)
    assert all(abs(item.amount) <= LARGEST for item in made)
    assert [item.position for item in made] == list(range(1, len(made) + 1))
    never = sum(kind == "tax" for _, _, kind in amounts)
    parts = sum(abs(units) // (LARGEST - LARGEST % 10) for units, _, _ in amounts)
    if len(lines) + parts <= most:
        assert sum("(part" not in item.words or "(part 1 of" in item.words for item in made) == len(lines)
    elif not never and not parts:
        assert len(made) <= most
