"""Prices as people type them, and as they read them."""

from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.http import QueryDict

from catalog.group_values import group_text, read_group
from catalog.price_field import PriceField, PriceWidget
from catalog.price_format import parse_price
from catalog.price_text import amount_text, exact_text, price_text, unit_price_text

GRADUATED = {
    "model": "graduated",
    "tiers": [
        {"up_to": "1000", "unit_amount": "0.00000005"},
        {"up_to": "5000", "unit_amount": "0.2", "flat_amount": "10"},
        {"unit_amount": "3", "size": "100"},
    ],
}
PRICES: list[dict[str, Any]] = [
    {"model": "per_unit", "unit_amount": "0.00000005", "free_units": "100"},
    {"model": "package", "size": "1000", "amount": "5", "maximum": "3000"},
    GRADUATED,
    {"model": "volume", "tiers": [{"unit_amount": "2"}]},
    {"model": "flat", "amount": "20"},
    {"model": "percentage", "percent": "2.9", "fixed_amount": "0.3", "maximum_per_event": "5"},
    {"model": "graduated_percentage", "tiers": [{"up_to": "100", "percent": "3"}, {"percent": "2"}]},
    {"model": "dynamic", "multiplier": "1.2"},
]


def typed(price: dict[str, Any], name: str = "price") -> QueryDict:
    """A price as its form sends it."""
    data = QueryDict(mutable=True)
    for key, value in price.items():
        if key != "tiers":
            data[f"{name}-{key}"] = value
    for column in ("up_to", "unit_amount", "percent", "flat_amount", "size"):
        data.setlist(f"{name}-tier-{column}", [tier.get(column, "") for tier in price.get("tiers", [{}, {}])])
    return data


def answer(data: QueryDict) -> Any:
    return PriceField().clean(PriceWidget().value_from_datadict(data, {}, "price"))


@pytest.mark.parametrize("price", PRICES, ids=lambda price: str(price["model"]))
def test_a_price_comes_back_as_it_was_typed(price: dict[str, Any]) -> None:
    assert parse_price(answer(typed(price))) == parse_price(price)
    assert not PriceField().has_changed(price, PriceWidget().value_from_datadict(typed(price), {}, "price"))


@pytest.mark.parametrize("price", PRICES, ids=lambda price: str(price["model"]))
def test_what_is_stored_is_what_the_inputs_show(price: dict[str, Any]) -> None:
    html = PriceWidget().render("price", price, {"id": "id_price"})
    assert f'<option value="{price["model"]}" selected>' in html
    for part in (price, *price.get("tiers", [])):
        for key, value in part.items():
            assert key in ("model", "tiers") or f'value="{value}"' in html
    assert "E-8" not in html


def test_only_the_chosen_models_inputs_are_shown() -> None:
    html = PriceWidget().render("price", {"model": "flat", "amount": "20"}, {"id": "id_price"})
    assert '<label class="price-part" data-price-for="package flat">' in html
    assert '<label class="price-part" data-price-for="per_unit" hidden>' in html
    assert 'data-price-for="graduated volume graduated_percentage" hidden' in html


def test_amounts_of_another_model_are_dropped() -> None:
    data = typed({"model": "flat", "amount": "20"})
    data["price-unit_amount"] = "7"
    assert answer(data) == {"model": "flat", "amount": "20"}


def test_empty_rows_of_tiers_are_dropped() -> None:
    tiers = [{"up_to": "5", "unit_amount": "1"}, {}, {"unit_amount": "2"}, {}]
    assert answer(typed({"model": "graduated", "tiers": tiers})) == {
        "model": "graduated",
        "tiers": [{"up_to": "5", "unit_amount": "1"}, {"unit_amount": "2"}],
    }


@pytest.mark.parametrize(
    ("price", "message"),
    [
        ({"model": "per_unit"}, "Price per unit: is missing."),
        ({"model": "per_unit", "unit_amount": "cheap"}, "Price per unit: write a number, such as 1250 or 0.002."),
        ({"model": "per_unit", "unit_amount": "1,5"}, "Price per unit: write a number, such as 1250 or 0.002."),
        ({"model": "per_unit", "unit_amount": "-1"}, "Price per unit: is '-1'; must not be negative."),
        ({"model": "per_unit", "unit_amount": "NaN"}, "Price per unit:"),
        ({"model": "package", "size": "0", "amount": "1"}, "Units per package: is '0'; must be above zero."),
        ({"model": "graduated", "tiers": []}, "Tiers: needs a list with at least one tier."),
        (
            {"model": "graduated", "tiers": [{"up_to": "5", "unit_amount": "1"}]},
            "Tier 1, up to: must be left open in the last tier",
        ),
        (
            {"model": "volume", "tiers": [{"up_to": "5"}, {"up_to": "4"}, {"unit_amount": "2"}]},
            "Tier 2, up to: must be above the tier before it (5).",
        ),
        ({"model": "barter"}, "Model:"),
    ],
)
def test_errors_name_the_input(price: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        answer(typed(price))
    assert refused.value.messages[0].startswith(message)


def test_an_untouched_row_counts_as_empty() -> None:
    untouched = PriceWidget().value_from_datadict(typed({"model": "per_unit"}), {}, "price")
    assert not PriceField().has_changed(None, untouched)
    assert PriceField().has_changed(GRADUATED, untouched)


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (PRICES[0], "0.00000005 USD per unit, first 100 free"),
        (PRICES[1], "5.00 USD per started 1,000, at most 3,000.00 USD"),
        (
            GRADUATED,
            "Graduated: up to 1,000 0.00000005 USD; up to 5,000 0.20 USD + 10.00 USD; beyond 3.00 USD per started 100",
        ),
        (PRICES[3], "Volume: beyond 2.00 USD"),
        (PRICES[4], "20.00 USD per period"),
        (PRICES[5], "2.9% + 0.30 USD per event, at most 5.00 USD per event"),
        (PRICES[6], "Graduated: up to 100 3%; beyond 2%"),
        (PRICES[7], "The metered amount × 1.2"),
    ],
)
def test_prices_in_one_line(price: dict[str, Any], text: str) -> None:
    assert price_text(parse_price(price), "USD") == text


def test_amounts_as_text() -> None:
    assert exact_text(Decimal(5460117900)) == "5,460,117,900"
    assert exact_text(Decimal("-1234.5000")) == "-1,234.5"
    assert exact_text(Decimal("-0.5")) == "-0.5"
    assert exact_text(Decimal("5E-8")) == "0.00000005"
    assert amount_text(Decimal("1234.5"), "USD") == "1,234.50 USD"
    assert amount_text(Decimal("1234.5"), "JPY") == "1,235 JPY"
    assert unit_price_text(Decimal("2.5"), "KWD") == "2.500 KWD"
    assert unit_price_text(Decimal("0.0001"), "USD") == "0.0001 USD"


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("", {}),
        ("model=gpt-4o, region=eu", {"model": "gpt-4o", "region": "eu"}),
        ("formula=a=b", {"formula": "a=b"}),
        ('{"name": "a, b"}', {"name": "a, b"}),
    ],
)
def test_group_values_as_people_type_them(text: str, group: dict[str, str]) -> None:
    assert read_group(text) == group
    assert read_group(group_text(group)) == group


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpt-4o", 'not "gpt-4o"'),
        ("model=", "Write key=value"),
        ("model=a, model=b", "model is given twice."),
        ("{", "This is not JSON"),
        ('{"model": [1]}', "model: a group value is text"),
    ],
)
def test_group_values_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        read_group(text)
    assert message in str(refused.value)
