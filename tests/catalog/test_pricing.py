"""Price models by worked examples (some of them published by others) and by properties."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.money import divide
from catalog.price_format import PriceError, parse_charged_price, parse_price, price_as_dict
from catalog.prices import MultiplierTier, PerUnit, Price, Tiered
from catalog.pricing import Conversion, charge, charges_without_usage

D = Decimal
PUBLISHED = json.loads((Path(__file__).parent / "published_examples.json").read_text())["vectors"]

TIERS = [
    {"up_to": "5", "unit_amount": "7", "flat_amount": "10"},
    {"up_to": "10", "unit_amount": "6.5"},
    {"up_to": None, "unit_amount": "6"},
]


def as_written(vector: dict[str, Any]) -> dict[str, Any]:
    if vector["model"] == "package":
        return {
            "model": "package",
            "size": vector["package_size"],
            "amount": vector["package_price"],
            "free_units": vector["free_units"],
        }
    tiers = [{"up_to": t["up_to"], "unit_amount": t["unit"], "flat_amount": t["flat"]} for t in vector["tiers"]]
    return {"model": vector["model"], "tiers": tiers}


@pytest.mark.parametrize("vector", PUBLISHED, ids=lambda vector: f"{vector['id']} {vector['source']}")
def test_published_examples(vector: dict[str, Any]) -> None:
    assert charge(parse_price(as_written(vector)), D(vector["quantity"])).amount == D(vector["expected"])


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [
        ({"model": "per_unit", "unit_amount": "0.00000005"}, "5460117900", "273.005895"),
        ({"model": "per_unit", "unit_amount": "2", "free_units": "100"}, "99", "0"),
        ({"model": "per_unit", "unit_amount": "2", "free_units": "100"}, "101", "2"),
        ({"model": "package", "size": "1000", "amount": "5"}, "1000.0000000001", "10"),
        ({"model": "graduated", "tiers": TIERS}, "0", "10"),
        ({"model": "graduated", "tiers": TIERS}, "5", "45"),
        ({"model": "graduated", "tiers": TIERS}, "5.5", "48.25"),
        ({"model": "graduated", "tiers": TIERS}, "12", "89.5"),
        ({"model": "volume", "tiers": TIERS}, "5", "45"),
        ({"model": "volume", "tiers": TIERS}, "6", "39"),
        ({"model": "graduated", "tiers": [{"up_to": None, "unit_amount": "3", "size": "10"}]}, "21", "9"),
        ({"model": "flat", "amount": "20"}, "7", "20"),
        ({"model": "per_unit", "unit_amount": "2"}, "-3", "0"),
    ],
)
def test_worked_examples(price: dict[str, Any], quantity: str, amount: str) -> None:
    assert charge(parse_price(price), D(quantity)).amount == D(amount)


def test_a_charge_shows_its_tiers() -> None:
    charged = charge(parse_price({"model": "graduated", "tiers": TIERS}), D(12))
    assert [(tier.quantity, tier.unit_amount, tier.flat_amount, tier.amount) for tier in charged.tiers] == [
        (D(5), D(7), D(10), D(45)),
        (D(5), D("6.5"), D(0), D("32.5")),
        (D(2), D(6), D(0), D(12)),
    ]
    assert charged.unit_amount is None


def test_a_quantity_in_one_tier_has_one_unit_price() -> None:
    price = parse_price(
        {"model": "graduated", "tiers": [{"up_to": "10", "unit_amount": "2"}, {"up_to": None, "unit_amount": "1"}]}
    )
    assert charge(price, D(4)).unit_amount == D(2)
    assert charge(price, D(4), prior=D(10)).unit_amount == D(1)


def test_only_a_flat_fee_in_the_first_tier_is_due_without_usage() -> None:
    assert charges_without_usage(parse_price({"model": "graduated", "tiers": TIERS}))
    assert not charges_without_usage(
        parse_price({"model": "graduated", "tiers": [{"up_to": None, "unit_amount": "7"}]})
    )
    assert not charges_without_usage(parse_price({"model": "per_unit", "unit_amount": "7"}))


amounts = st.decimals(0, 1000, places=4, allow_nan=False, allow_infinity=False)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    model = draw(st.sampled_from(["per_unit", "package", "graduated", "volume"]))
    if model == "per_unit":
        return parse_price({"model": model, "unit_amount": draw(amounts), "free_units": draw(amounts)})
    if model == "package":
        return parse_price(
            {"model": model, "size": draw(st.integers(1, 500)), "amount": draw(amounts), "free_units": draw(amounts)}
        )
    bounds = [*sorted(draw(st.sets(st.integers(1, 2000), max_size=4))), None]
    sizes = draw(st.sampled_from([None, 1, 100]))
    tiers = [{"up_to": b, "unit_amount": draw(amounts), "flat_amount": draw(amounts), "size": sizes} for b in bounds]
    return parse_price({"model": model, "tiers": tiers})


@given(prices(), st.lists(amounts, min_size=1, max_size=6))
def test_a_period_cut_anywhere_adds_up_to_the_period_charged_at_once(price: Price, parts: list[Decimal]) -> None:
    prior = None
    total = D(0)
    for part in parts:
        charged = charge(price, part, prior)
        assert charged.amount == sum((tier.amount for tier in charged.tiers), D(0))
        total += charged.amount
        prior = (prior or D(0)) + part
    assert total == charge(price, sum(parts, D(0))).amount


@given(prices())
def test_a_price_survives_being_written_and_read(price: Price) -> None:
    assert parse_price(json.loads(json.dumps(price_as_dict(price)))) == price


def test_the_price_of_a_line_is_read_again_also_under_a_tiered_override() -> None:
    shares = (MultiplierTier(D(10), D("0.8")), MultiplierTier(None, D("0.7")))
    price = Tiered(PerUnit(D(2)), shares)
    assert charge(price, D(20)).amount == D("30.0")
    assert parse_charged_price(json.loads(json.dumps(price_as_dict(price)))) == price
    assert parse_charged_price({"model": "flat", "amount": "2"}) == parse_price({"model": "flat", "amount": "2"})


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ([], ""),
        ({"model": "free"}, "model"),
        ({"model": "per_unit"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": 0.1}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": True}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": "NaN"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": "1e400"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": "-1"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": "1", "colour": "red"}, "colour"),
        ({"model": "package", "size": "0", "amount": "1"}, "size"),
        ({"model": "graduated", "tiers": []}, "tiers"),
        ({"model": "graduated", "tiers": ["x"]}, "tiers[0]"),
        ({"model": "graduated", "tiers": [{"up_to": "5", "unit_amount": "1"}]}, "tiers[0].up_to"),
        ({"model": "graduated", "tiers": [{"up_to": None}, {"up_to": "5"}]}, "tiers[0].up_to"),
        ({"model": "volume", "tiers": [{"up_to": "5"}, {"up_to": "5"}, {"up_to": None}]}, "tiers[1].up_to"),
        ({"model": "volume", "tiers": [{"up_to": "5"}, {"up_to": None, "unit_amount": "x"}]}, "tiers[1].unit_amount"),
    ],
)
def test_a_price_that_cannot_be_read_names_the_field(written: object, path: str) -> None:
    with pytest.raises(PriceError) as refused:
        parse_price(written)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("conversion", "quantity", "billed"),
    [
        (Conversion(divide_by=D(1_000_000)), "1200", "0.0012"),
        (Conversion(multiply_by=D("1.2")), "10", "12"),
        (Conversion(divide_by=D(1000), rounding="up"), "1001", "2"),
        (Conversion(divide_by=D(1000), rounding="down"), "1999", "1"),
        (Conversion(rounding="half_up", places=1), "0.25", "0.3"),
    ],
)
def test_quantities_are_converted_and_rounded_before_pricing(
    conversion: Conversion, quantity: str, billed: str
) -> None:
    assert conversion.convert(D(quantity)) == D(billed)


def test_quotients_cost_what_they_stand_for() -> None:
    """160 seconds at 0.1125 an hour are half a cent; 2/3 of the 744 hours of a month are 496 of them, not one more."""
    hours = Conversion(divide_by=D(3600)).convert(D(160))
    assert charge(parse_price({"model": "per_unit", "unit_amount": "0.1125"}), hours).amount == D("0.005")
    tiers = [{"up_to": None, "unit_amount": "0.1125"}]
    assert charge(parse_price({"model": "graduated", "tiers": tiers}), hours).amount == D("0.005")
    assert Conversion(multiply_by=D(744), rounding="up").convert(divide(D(2), D(3))) == 496
