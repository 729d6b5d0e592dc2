"""Price cases of other systems, through our price models and statements."""

from decimal import Decimal
from typing import Any

import pytest

from catalog.money import round_amount
from catalog.price_format import parse_price
from catalog.pricing import Conversion, Events, charge
from contracts.minimums import missing
from contracts.products import ProductTerms
from tests.cases import cases
from tests.contracts.worked import D, bill, day, rate

ROUNDINGS = {"ceiling": "up", "ceil": "up", "floor": "down", "half_up": "half_up", "round": "half_up", "none": ""}


def tier(written: dict[str, Any]) -> dict[str, Any]:
    part = {"up_to": written["up_to"], "flat_amount": written.get("flat_amount") or "0"}
    if "rate_percent" in written:
        return part | {"percent": written["rate_percent"]}
    return part | {"unit_amount": written["unit_amount"] or "0"}


def price_of(model: str, params: dict[str, Any]) -> dict[str, Any]:
    """A case's price in our format."""
    bounds = {
        ours: params[theirs]
        for ours, theirs in [("minimum", "minimum_amount"), ("maximum", "maximum_amount")]
        if theirs in params
    }
    match model:
        case "unit":
            price = {"model": "per_unit", "unit_amount": params["unit_amount"]}
        case "package" if params.get("rounding") == "down":
            price = {"model": "per_unit", "unit_amount": params["amount"]}
        case "package":
            free = params.get("free_units", "0")
            price = {"model": "package", "size": params["package_size"], "amount": params["amount"], "free_units": free}
        case "flat":
            price = {"model": "flat", "amount": params["amount"]}
        case "dynamic":
            price = {"model": "dynamic", "multiplier": params["multiplier"]}
        case _:
            tiers = [tier(each) for each in params["tiers"]]
            return {"model": model, "tiers": tiers} | bounds
    return price | bounds


def config_of(params: dict[str, Any]) -> dict[str, Any] | None:
    """A case's conversion; packages that only count when they are full are units of their size, rounded down."""
    if params.get("rounding") == "down":
        return {"operation": "divide", "factor": params["package_size"], "rounding": "floor"}
    config: dict[str, Any] | None = params.get("unit_config")
    return config


def conversion_of(config: dict[str, Any] | None) -> Conversion:
    if not config:
        return Conversion()
    factor = D(config["factor"])
    places = config.get("precision", 0)
    rounding = ROUNDINGS[config["rounding"]]
    if config["operation"] == "divide":
        return Conversion(divide_by=factor, rounding=rounding, places=places)
    return Conversion(multiply_by=factor, rounding=rounding, places=places)


def total(case: dict[str, Any], price: dict[str, Any], quantity: Decimal) -> Decimal:
    """What a whole period of a quantity costs: a statement where the case has a currency, else the exact charge."""
    currency = case["params"].get("currency", "").upper()
    conversion = conversion_of(config_of(case["params"]))
    if not currency:
        return charge(parse_price(price), conversion.convert(quantity)).amount
    product = ProductTerms("calls", "calls", "m", "sum", conversion=conversion)
    uses = [("calls", day(2), str(quantity))] if quantity else []
    return bill([rate("calls", price)], None, *uses, products=[product], currency=currency).total


MODELS = ("unit", "package", "flat", "graduated", "volume", "graduated_percentage", "dynamic")


@pytest.mark.parametrize("case", cases("price", *MODELS))
def test_prices(case: dict[str, Any]) -> None:
    price = price_of(case["model"], case["params"])
    given, expected = case["input"], case["expected"]
    quantity, prior = D(given["quantity"]), D(given.get("prior_quantity", "0"))
    if given.get("last_slice", True):
        before = charge(parse_price(price), prior).amount if prior else D(0)
        amount = total(case, price, prior + quantity) - D(given.get("prior_billed", before))
    else:
        amount = charge(parse_price(price), quantity, prior).amount
    assert amount == D(expected["total"])
    if "tier_amounts" in expected:
        charged = charge(parse_price(price), quantity, prior or None)
        amounts = [each.amount for each in charged.tiers if each.amount]
        assert amounts == [D(each) for each in expected["tier_amounts"] if D(each)]
    if "average_unit_amount" in expected:
        average = (amount / quantity).quantize(D(expected["average_unit_amount"])) if quantity else D(0)
        assert average == D(expected["average_unit_amount"])


@pytest.mark.parametrize("case", cases("price", "package_count"))
def test_started_packages(case: dict[str, Any]) -> None:
    price = price_of("package", case["params"] | {"amount": "1"})
    assert charge(parse_price(price), D(case["input"]["quantity"])).amount == D(case["expected"]["packages"])


@pytest.mark.parametrize("case", cases("price", "unit_minor"))
def test_fractions_of_a_minor_unit(case: dict[str, Any]) -> None:
    price = {"model": "per_unit", "unit_amount": case["params"]["unit_amount_minor"]}
    if case["params"]["maximum_minor"]:
        price["maximum"] = case["params"]["maximum_minor"]
    statement = bill({"calls": price}, None, ("calls", day(2), case["input"]["quantity"]), currency="JPY")
    assert statement.total == D(case["expected"]["total_minor"])


@pytest.mark.parametrize("case", cases("price", "volume_tier_index"))
def test_the_tier_a_volume_falls_in(case: dict[str, Any]) -> None:
    tiers = [{"up_to": each["up_to"], "flat_amount": str(n)} for n, each in enumerate(case["params"]["tiers"])]
    charged = charge(parse_price({"model": "volume", "tiers": tiers}), D(case["input"]["quantity"]))
    assert charged.amount == case["expected"]["tier_index"]


@pytest.mark.parametrize("case", cases("price", "usage_discount"))
def test_free_units_carry_over_slices(case: dict[str, Any]) -> None:
    price = parse_price({"model": "per_unit", "unit_amount": "1", "free_units": case["params"]["free_quantity"]})
    quantity, prior = D(case["input"]["quantity"]), D(case["input"]["prior_quantity"])
    assert charge(price, quantity, prior).tiers[0].quantity == D(case["expected"]["billed_quantity"])
    assert charge(price, prior).tiers[0].quantity == D(case["expected"]["billed_prior_quantity"])


@pytest.mark.parametrize("case", cases("price", "cumulative_delta"))
def test_each_run_bills_the_difference(case: dict[str, Any]) -> None:
    params = case["params"]
    price = price_of(params["price_model"], params)
    runs = [D(quantity) for quantity in case["input"]["cumulative_quantities"]]
    billed: list[Decimal] = []
    before = None
    for quantity in runs:
        amount = charge(parse_price(price), quantity - (before or D(0)), before).amount
        billed.append(round_amount(amount, params["currency"]))
        before = quantity
    if "minimum_amount" in params:
        billed[-1] = total(case, price, runs[-1]) - sum(billed[:-1], D(0))
    assert billed == [D(each) for each in case["expected"]["delta_totals"]]


@pytest.mark.parametrize("case", cases("price", "percentage"))
def test_percentages_look_at_each_event(case: dict[str, Any]) -> None:
    params, given = case["params"], case["input"]
    names = {
        "percent": "rate_percent",
        "fixed_amount": "fixed_amount",
        "free_events": "free_events",
        "free_amount": "free_amount",
        "minimum_per_event": "per_transaction_min",
        "maximum_per_event": "per_transaction_max",
    }
    price = {ours: params[theirs] for ours, theirs in names.items() if params[theirs] is not None}
    values = [D(each) for each in given["event_values"] or []]
    if not values and given["running_totals"]:
        # The source gives running totals of the free events only: the values are their steps.
        totals = [D(each) for each in given["running_totals"]]
        values = [now - then for now, then in zip(totals, [D(0), *totals], strict=False)]
    events = Events(given["events_count"], tuple(values))
    charged = charge(parse_price({"model": "percentage", **price}), D(given["units"]), None, events)
    assert charged.amount == D(case["expected"]["total"])


@pytest.mark.parametrize("case", cases("price", "per_window"))
def test_windows_priced_alone_are_periods_of_their_own(case: dict[str, Any]) -> None:
    price = parse_price(price_of(case["params"]["price_model"], case["params"]))
    amounts = [charge(price, D(quantity)).amount for quantity in case["input"]["window_quantities"]]
    assert sum(amounts, D(0)) == D(case["expected"]["total"])


@pytest.mark.parametrize("case", cases("price", "commitment_cumulative"))
def test_usage_past_a_commitment_costs_its_factor(case: dict[str, Any]) -> None:
    params, given = case["params"], case["input"]
    amount = D(params["commitment"])
    commit = {"key": "c", "access": [{"amount": str(amount)}], "overage_multiplier": params["overage_factor"]}
    drawn = {("c", "0"): min(amount, D(given["prior_base_amount"]))}
    price = {"calls": {"model": "per_unit", "unit_amount": "1"}}
    statement = bill(price, {"commits": [commit]}, ("calls", day(2), given["current_base_amount"]), drawn=drawn)
    assert statement.total == D(case["expected"]["total"])


@pytest.mark.parametrize("case", cases("price", "charge_minimum_true_up"))
def test_what_is_missing_to_a_minimum(case: dict[str, Any]) -> None:
    amount = missing(D(case["params"]["minimum_minor"]), D(case["input"]["used_minor"]), "JPY")
    assert amount == D(case["expected"]["true_up_minor"] or 0)


@pytest.mark.parametrize("case", cases("price", "plan_minimum_commitment"))
def test_what_is_missing_to_a_commitment(case: dict[str, Any]) -> None:
    spent = sum((D(amount) for amount in case["input"].values()), D(0))
    assert missing(D(case["params"]["commitment_minor"]), spent, "JPY") == D(case["expected"]["true_up_minor"])


@pytest.mark.parametrize("case", cases("price", "true_up_rounded"))
def test_usage_is_rounded_before_it_is_subtracted(case: dict[str, Any]) -> None:
    used = round_amount(D(case["input"]["used"]), "USD")
    assert missing(D(case["input"]["commitment"]), used, "USD") == D(case["expected"]["true_up"])


@pytest.mark.parametrize("case", cases("price", "round_currency"))
def test_rounding(case: dict[str, Any]) -> None:
    amount = round_amount(D(case["input"]["amount"]), case["params"]["currency"].upper())
    assert str(amount) == case["expected"]["amount"]


@pytest.mark.parametrize("case", cases("price", "sum_of_rounded_lines"))
def test_lines_are_rounded_and_then_added(case: dict[str, Any]) -> None:
    amounts = case["input"]["line_amounts"]
    names = [f"p{number:03}" for number in range(len(amounts))]
    prices = {name: {"model": "per_unit", "unit_amount": amount} for name, amount in zip(names, amounts, strict=True)}
    statement = bill(prices, None, *[(name, day(2), "1") for name in names])
    assert statement.subtotal == D(case["expected"]["subtotal"])


@pytest.mark.parametrize("case", cases("price", "graduated_blocks", "top_tier_blocks"))
def test_tiers_in_packages(case: dict[str, Any]) -> None:
    bound = D(0)
    tiers: list[dict[str, Any]] = []
    for each in case["params"]["tiers"]:
        bound += D(each["block_size"]) * D(each["max_blocks"] or 0)
        up_to = bound if each["max_blocks"] else None
        tiers.append({"up_to": up_to, "unit_amount": each["price"], "size": each["block_size"]})
    if tiers[-1]["up_to"] is not None:
        tiers.append({"unit_amount": "0"})
    model = "graduated" if case["model"] == "graduated_blocks" else "volume"
    charged = charge(parse_price({"model": model, "tiers": tiers}), D(case["input"]["quantity"]))
    assert charged.amount == D(case["expected"]["total"])
    if "tier_amounts" in case["expected"]:
        assert [each.amount for each in charged.tiers] == [D(each) for each in case["expected"]["tier_amounts"]]


@pytest.mark.parametrize("case", cases("aggregation", "unit_conversion"))
def test_conversions(case: dict[str, Any]) -> None:
    conversion = conversion_of(case["params"])
    assert conversion.convert(D(case["input"]["quantity"])) == D(case["expected"]["quantity"])


@pytest.mark.parametrize("case", cases("aggregation", "round_units"))
def test_rounded_quantities(case: dict[str, Any]) -> None:
    rounding = ROUNDINGS[case["params"]["function"] or "none"]
    conversion = Conversion(rounding=rounding, places=case["params"]["precision"])
    assert conversion.convert(D(case["input"]["units"])) == D(case["expected"]["units"])
