"""Rounding and splitting, by examples finance could sign, and by properties."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.money import add, divide, minor_unit, multiply, restored, round_amount, split

D = Decimal


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("0.005", "USD", "0.01"),
        ("-0.005", "USD", "-0.01"),
        ("0.0049999", "USD", "0.00"),
        ("223.125", "USD", "223.13"),
        ("99.5", "JPY", "100"),
        ("1.0005", "KWD", "1.001"),
    ],
)
def test_amounts_round_half_up_to_the_minor_unit(amount: str, currency: str, rounded: str) -> None:
    assert str(round_amount(D(amount), currency)) == rounded


def test_an_unknown_currency_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'XX' is not an ISO 4217"):
        minor_unit("XX")


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        ("100.00", ["1", "1", "1"], ["33.34", "33.33", "33.33"]),
        ("0.01", ["1", "1"], ["0.01", "0.00"]),
        ("-1.00", ["1", "2"], ["-0.33", "-0.67"]),
        ("10.00", ["0", "5"], ["0.00", "10.00"]),
    ],
)
def test_a_split_goes_by_largest_remainder(amount: str, weights: list[str], parts: list[str]) -> None:
    assert split(D(amount), [D(weight) for weight in weights], "USD") == [D(part) for part in parts]


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=20).filter(any),
    st.sampled_from(["USD", "JPY", "KWD"]),
)
def test_parts_always_add_up_to_the_whole(units: int, weights: list[int], currency: str) -> None:
    amount = units * minor_unit(currency)
    parts = split(amount, [D(weight) for weight in weights], currency)
    assert add(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - divide(amount * weight, D(sum(weights)))) <= minor_unit(currency)


def test_quotients_that_end_are_exact_and_others_stop_at_forty_places() -> None:
    assert divide(D("1329142814"), D(1_000_000)) == D("1329.142814")
    assert divide(D(1), D(3)) == D("0." + "3" * 40)


def test_a_quotient_costs_no_half_cent() -> None:
    hours = divide(D(160), D(3600))
    assert multiply(hours, D("0.1125")) < D("0.005")
    assert restored(multiply(hours, D("0.1125"))) == D("0.005")
    assert round_amount(multiply(hours, D("0.1125")), "USD") == D("0.01")
    assert restored(D("0.0049")) == D("0.0049")


def test_sums_keep_every_digit() -> None:
    assert add([D(10) ** 60, D("1e-40")]) == D("1" + "0" * 60 + "." + "0" * 39 + "1")
