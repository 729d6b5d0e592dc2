"""Price and aggregation cases as scenarios."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from catalog.price_format import parse_price
from catalog.pricing import charge
from tests.cases.test_price_cases import ROUNDINGS, config_of, price_of
from tests.contracts.worked import D
from tests.scenarios.building import Written, scenario

Case = dict[str, Any]
USED_AT = "2026-01-05T10:00:00Z"


@dataclass(frozen=True)
class Golden:
    """A case as a scenario, what its result says about the question, and what it should."""

    written: Written
    found: Callable[[Written], object]
    expected: object


def first(result: Written) -> Written:
    """The earliest invoice for usage."""
    return next(invoice for invoice in result["invoices"] if invoice["kind"] == "usage")


def total(result: Written) -> Decimal:
    return D(first(result)["total"])


def exact(result: Written) -> Decimal:
    """What the lines come to before they are rounded."""
    return sum((D(line["amount_exact"]) for line in first(result)["lines"]), D(0))


def totals(result: Written) -> list[Decimal]:
    """The first total of each contract, in order of their keys."""
    found: dict[str, Decimal] = {}
    for invoice in result["invoices"]:
        found.setdefault(invoice["contract"], D(invoice["total"]))
    return list(found.values())


def used(price: Written | None, *quantities: str, currency: str = "USD", **more: Any) -> Written:
    rows = [(USED_AT, quantity) for quantity in quantities if D(quantity)]
    return scenario(price, *rows, card={"currency": currency}, **more)


def side_by_side(priced: list[tuple[Written, str]], currency: str = "USD") -> Written:
    """Prices and quantities, each as a customer and a contract of its own."""
    written = scenario(None)
    names = [f"c{number:02}" for number in range(len(priced))]
    written["rate_cards"] = [
        {"key": name, "currency": currency, "rates": [{"product": "calls", "price": price}]}
        for name, (price, _) in zip(names, priced, strict=True)
    ]
    written["customers"] = [{"key": name} for name in names]
    written["contracts"] = [
        {"key": name, "customer": name, "rate_card": name, "starting_at": "2026-01-01"} for name in names
    ]
    written["events"] = [
        {"id": name, "customer": name, "type": "call", "time": USED_AT, "properties": {"n": quantity}}
        for name, (_, quantity) in zip(names, priced, strict=True)
        if D(quantity)
    ]
    return written


def converted(config: Written | None) -> Written:
    if not config:
        return {}
    rounding = ROUNDINGS[config["rounding"]]
    product: Written = {"conversion": {f"{config['operation']}_by": config["factor"]}}
    if rounding:
        product["quantity_rounding"] = {"method": rounding, "places": config.get("precision", 0)}
    return product


def plain_price(case: Case) -> Golden:
    params, given, expected = case["params"], case["input"], case["expected"]
    price = price_of(case["model"], params)
    quantity, prior = D(given["quantity"]), D(given.get("prior_quantity", "0"))
    before = charge(parse_price(price), prior).amount if prior else D(0)
    before = D(given["prior_billed"]) if given.get("last_slice", True) and "prior_billed" in given else before
    if not given.get("last_slice", True):
        price.pop("minimum", None)
    currency = params.get("currency", "").upper()
    written = used(price, str(prior + quantity), currency=currency or "USD", product=converted(config_of(params)))
    read = total if currency else exact
    return Golden(written, lambda result: read(result) - before, D(expected["total"]))


def recurring(case: Case) -> Golden:
    params = case["params"]
    written = used(
        price_of("unit", params),
        case["input"]["quantity"],
        currency="EUR",
        subscriptions=[{"key": "fee", "product": "fee", "quantity": "1", "billed": "advance", "every": "month"}],
        ending_before="2026-02-01",
    )
    written["products"].append({"key": "fee", "kind": "subscription"})
    fee = {"model": "per_unit", "unit_amount": params["recurring_in_advance"]}
    written["rate_cards"][0]["rates"].append({"product": "fee", "price": fee})
    names = ("first_invoice_total", "final_invoice_after_cancel")
    return Golden(
        written, lambda result: [D(row["total"]) for row in _by_kind(result)], [D(case["expected"][n]) for n in names]
    )


def _by_kind(result: Written) -> list[Written]:
    return sorted(result["invoices"], key=lambda row: row["kind"])


def packages(case: Case) -> Golden:
    price = price_of("package", case["params"] | {"amount": "1"})
    return Golden(used(price, case["input"]["quantity"]), total, D(case["expected"]["packages"]))


def minor(case: Case) -> Golden:
    price = {"model": "per_unit", "unit_amount": case["params"]["unit_amount_minor"]}
    if case["params"]["maximum_minor"]:
        price["maximum"] = case["params"]["maximum_minor"]
    written = used(price, case["input"]["quantity"], currency="JPY")
    return Golden(written, total, D(case["expected"]["total_minor"]))


def tier_index(case: Case) -> Golden:
    tiers = [{"up_to": each["up_to"], "flat_amount": str(n)} for n, each in enumerate(case["params"]["tiers"])]
    written = used({"model": "volume", "tiers": tiers}, case["input"]["quantity"])
    return Golden(written, total, D(case["expected"]["tier_index"]))


def free_units(case: Case) -> Golden:
    price = {"model": "per_unit", "unit_amount": "1", "free_units": case["params"]["free_quantity"]}
    prior, quantity = D(case["input"]["prior_quantity"]), D(case["input"]["quantity"])
    written = side_by_side([(price, str(prior)), (price, str(prior + quantity))])
    billed = D(case["expected"]["billed_prior_quantity"])
    return Golden(written, totals, [billed, billed + D(case["expected"]["billed_quantity"])])


def deltas(case: Case) -> Golden:
    params = case["params"]
    price = price_of(params["price_model"], params)
    # The minimum is due with the last run only.
    runs = [(price, quantity) for quantity in case["input"]["cumulative_quantities"]]
    runs = [({k: v for k, v in each.items() if k != "minimum"}, n) for each, n in runs[:-1]] + runs[-1:]

    def found(result: Written) -> list[Decimal]:
        seen = totals(result)
        return [now - then for now, then in zip(seen, [D(0), *seen], strict=False)]

    return Golden(side_by_side(runs, params["currency"]), found, [D(each) for each in case["expected"]["delta_totals"]])


def percentage(case: Case) -> Golden:
    params, given = case["params"], case["input"]
    names = {
        "percent": "rate_percent",
        "fixed_amount": "fixed_amount",
        "free_events": "free_events",
        "free_amount": "free_amount",
        "minimum_per_event": "per_transaction_min",
        "maximum_per_event": "per_transaction_max",
    }
    price = {ours: str(params[theirs]) for ours, theirs in names.items() if params[theirs] is not None}
    values = [D(each) for each in given["event_values"] or []]
    if not values:
        steps = [D(each) for each in given["running_totals"]]
        values = [now - then for now, then in zip(steps, [D(0), *steps], strict=False)]
        values.append(D(given["units"]) - sum(values, D(0)))
        values += [D(0)] * (given["events_count"] - len(values))
    rows = [(f"2026-01-05T10:{place:02}:00Z", str(value)) for place, value in enumerate(values)]
    return Golden(scenario({"model": "percentage", **price}, *rows), exact, D(case["expected"]["total"]))


def windows(case: Case) -> Golden:
    price = price_of(case["params"]["price_model"], case["params"])
    written = side_by_side([(price, quantity) for quantity in case["input"]["window_quantities"]])
    return Golden(written, lambda result: sum(totals(result), D(0)), D(case["expected"]["total"]))


def overage(case: Case) -> Golden:
    params, given = case["params"], case["input"]
    commit = {
        "key": "k",
        "access": [{"amount": params["commitment"]}],
        "invoices": [{"amount": params["commitment"], "at": "2026-01-01"}],
        "overage_multiplier": params["overage_factor"],
    }
    rows = [(USED_AT, given["prior_base_amount"]), ("2026-02-05T10:00:00Z", given["current_base_amount"])]
    price = {"model": "per_unit", "unit_amount": "1"}
    written = scenario(price, *rows, as_of="2026-03-03T00:00:00Z", commits=[commit])
    return Golden(
        written,
        lambda result: D([row for row in result["invoices"] if row["kind"] == "usage"][1]["total"]),
        D(case["expected"]["total"]),
    )


def topped_up(minimum: str, spent: str, missing: str | None, currency: str) -> Golden:
    price = {"model": "per_unit", "unit_amount": spent}
    written = used(price, "1", currency=currency, minimums=[{"amount": minimum}])
    if not D(spent):
        written["events"] = []

    def found(result: Written) -> Decimal:
        return sum((D(line["amount"]) for line in first(result)["lines"] if line["kind"] == "minimum"), D(0))

    return Golden(written, found, D(missing or 0))


def true_up(case: Case) -> Golden:
    params = case["params"]
    return topped_up(params["minimum_minor"], case["input"]["used_minor"], case["expected"]["true_up_minor"], "JPY")


def plan_commitment(case: Case) -> Golden:
    spent = sum(map(D, case["input"].values()), D(0))
    return topped_up(case["params"]["commitment_minor"], str(spent), case["expected"]["true_up_minor"], "JPY")


def true_up_rounded(case: Case) -> Golden:
    return topped_up(case["input"]["commitment"], case["input"]["used"], case["expected"]["true_up"], "USD")


def rounded(case: Case) -> Golden:
    price = {"model": "per_unit", "unit_amount": case["input"]["amount"]}
    written = used(price, "1", currency=case["params"]["currency"].upper())
    return Golden(written, lambda result: first(result)["total"], case["expected"]["amount"])


def rounded_lines(case: Case) -> Golden:
    amounts = case["input"]["line_amounts"]
    names = [f"p{place:03}" for place in range(len(amounts))]
    written = used(None, "1")
    written["products"] = [{"key": name, "meter": "calls"} for name in names]
    written["rate_cards"][0]["rates"] = [
        {"product": name, "price": {"model": "per_unit", "unit_amount": amount}}
        for name, amount in zip(names, amounts, strict=True)
    ]
    return Golden(written, lambda result: D(first(result)["subtotal"]), D(case["expected"]["subtotal"]))


def blocks(case: Case) -> Golden:
    bound, tiers = D(0), []
    for each in case["params"]["tiers"]:
        bound += D(each["block_size"]) * D(each["max_blocks"] or 0)
        up_to = str(bound) if each["max_blocks"] else None
        tiers.append({"up_to": up_to, "unit_amount": each["price"], "size": each["block_size"]})
    if tiers[-1]["up_to"] is not None:
        tiers.append({"unit_amount": "0"})
    model = "graduated" if case["model"] == "graduated_blocks" else "volume"
    written = used({"model": model, "tiers": tiers}, case["input"]["quantity"])
    return Golden(written, total, D(case["expected"]["total"]))


def billed_quantity(quantity: str, product: Written, expected: str) -> Golden:
    written = used({"model": "per_unit", "unit_amount": "1"}, quantity, product=product)

    def found(result: Written) -> Decimal:
        return sum((D(line["billed_quantity"]) for line in first(result)["lines"]), D(0))

    return Golden(written, found, D(expected))


def conversion(case: Case) -> Golden:
    return billed_quantity(case["input"]["quantity"], converted(case["params"]), case["expected"]["quantity"])


def units(case: Case) -> Golden:
    method, places = ROUNDINGS[case["params"]["function"] or "none"], case["params"]["precision"] or 0
    quantity = D(case["expected"]["units"])
    product: Written = {}
    if method:
        product = {"quantity_rounding": {"method": method, "places": max(places, 0)}}
    if places < 0:
        # Tens and hundreds are units of their own.
        product["conversion"] = {"divide_by": str(10**-places)}
        quantity /= 10**-places
    return billed_quantity(case["input"]["units"], product, str(quantity))


def measured(case: Case) -> Golden:
    params, expected = case["params"], case["expected"]
    meter: Written = {"group_by": list((params.get("group_by") or {}).values())}
    if params["property"] and case["model"] != "count":
        meter["property"] = params["property"]
    aggregation = params.get("aggregation", case["model"])
    aggregation = "time_weighted" if aggregation == "weighted_sum" else aggregation
    start = params.get("period_from", "2026-01-01T00:00:00Z")
    end = params.get("period_to", "2026-02-01T00:00:00Z")
    written = scenario({"model": "per_unit", "unit_amount": "1"}, as_of=end, aggregation=aggregation, meter=meter)
    written["contracts"][0] |= {"starting_at": start, "ending_before": end}
    given = case["input"]
    events = given["events"] if "events" in given else [{"data": json.loads(given["data"])}]
    written["events"] = [
        {
            "id": each.get("transaction_id", str(place)),
            "customer": "acme",
            "type": "call",
            "time": each.get("time") or start,
            "properties": each["data"] or {},
        }
        for place, each in enumerate(events)
    ]
    if "initial_value" in params:
        level = {params["property"]: params["initial_value"]}
        before = {"id": "before", "customer": "acme", "type": "call", "time": "2020-01-01", "properties": level}
        written["events"].append(before)
    wanted = D(expected.get("value") or 0)

    def found(result: Written) -> Decimal:
        rows = [D(row["quantity"]) for row in result["usage"] if row["quantity"] is not None]
        return sum(rows, D(0)).quantize(wanted, ROUND_HALF_UP)

    return Golden(written, found, wanted)


AMOUNTS = ("unit", "package", "flat", "graduated", "volume", "graduated_percentage", "dynamic")
READINGS = ("sum", "count", "min", "max", "latest", "unique_count", "weighted_sum", "value_parse")
PRICES: dict[str, Callable[[Case], Golden]] = {
    **dict.fromkeys(AMOUNTS, plain_price),
    "package_count": packages,
    "unit_minor": minor,
    "volume_tier_index": tier_index,
    "usage_discount": free_units,
    "cumulative_delta": deltas,
    "percentage": percentage,
    "per_window": windows,
    "commitment_cumulative": overage,
    "charge_minimum_true_up": true_up,
    "plan_minimum_commitment": plan_commitment,
    "true_up_rounded": true_up_rounded,
    "round_currency": rounded,
    "sum_of_rounded_lines": rounded_lines,
    "graduated_blocks": blocks,
    "top_tier_blocks": blocks,
    "unit_conversion": conversion,
    "round_units": units,
    **dict.fromkeys(READINGS, measured),
}
