"""Proration and credit cases as scenarios."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tests.cases.test_credit_cases import granted
from tests.cases.test_price_cases import price_of
from tests.contracts.worked import D
from tests.scenarios.building import Written, per_unit, scenario
from tests.scenarios.golden_prices import Case, Golden, first, total, used

EVERY = {"monthly": "month", "weekly": "week", "yearly": "year"}


def after(text: str) -> str:
    return (date.fromisoformat(text) + timedelta(days=1)).isoformat()


def fees(
    prices: dict[str, str], subscriptions: list[Written], start: str, as_of: str, currency: str = "USD", **more: Any
) -> Written:
    """Subscriptions alone, one product for each price."""
    written = scenario(None, as_of=as_of, card={"currency": currency}, rates=[], **more)
    written["contracts"][0]["starting_at"] = start
    written["contracts"][0]["subscriptions"] = [
        {"key": f"s{place}", "quantity": "1", "billed": "arrears", **each} for place, each in enumerate(subscriptions)
    ]
    written["products"] += [{"key": key, "kind": "subscription"} for key in prices]
    written["rate_cards"][0]["rates"] = [{"product": key, "price": per_unit(amount)} for key, amount in prices.items()]
    return written


def fee_lines(result: Written, product: str | None = None, name: str = "amount") -> Decimal:
    lines = [line for invoice in result["invoices"] for line in invoice["lines"]]
    wanted = [line for line in lines if line["kind"] == "subscription" and product in (None, line["product"])]
    return sum((D(line[name]) for line in wanted), D(0))


def of_a_month(case: Case) -> Golden:
    given = case["input"]
    seat: Written = {"product": "fee", "every": "month", "prorated": case["params"]["enabled"]}
    # Nothing is charged for more than the whole.
    end = min(given["service_to"], given["full_to"])
    seat |= {"starting_at": given["service_from"], "ending_before": end}
    written = fees({"fee": given["amount"]}, [seat], given["full_from"], given["full_to"], case["params"]["currency"])
    return Golden(written, fee_lines, D(case["expected"]["amount"]))


def of_days(case: Case) -> Golden:
    given, end = case["input"], after(case["input"]["charged_to"])
    every = EVERY[given["interval"]]
    seat: Written = {"product": "fee", "every": every, "starting_at": given["charged_from"], "ending_before": end}
    billing = {"every": every, "anchor": given["charged_from"] if every == "week" else "calendar"}
    written = fees({"fee": given["amount_minor"]}, [seat], given["charged_from"], after(end), "JPY", billing=billing)
    return Golden(written, fee_lines, D(case["expected"]["amount_minor"]))


def change(
    old: tuple[str, str],
    new: tuple[str, str],
    span: tuple[str, str, str],
    every: str,
    credit: str,
    charge: str,
    currency: str,
) -> Golden:
    """From (price, quantity) to another within a span: the part of the old price that is not charged, and the new."""
    start, at, end = span
    seats = [
        {"product": "old", "quantity": old[1], "every": every, "ending_before": at},
        {"product": "new", "quantity": new[1], "every": every, "starting_at": at, "ending_before": end},
    ]
    billing = {"every": every, "anchor": start}
    written = fees({"old": old[0], "new": new[0]}, seats, start, end, currency, billing=billing)
    whole = D(old[0]) * D(old[1])
    return Golden(
        written,
        lambda result: [fee_lines(result, "old") - whole, fee_lines(result, "new")],
        [-abs(D(credit)), D(charge)],
    )


def plan_change(case: Case) -> Golden:
    given, expected = case["input"], case["expected"]
    old, new = ((given[f"{which}_unit_amount"], given[f"{which}_quantity"]) for which in ("old", "new"))
    span = (given["period_from"], given["change_on"], after(given["period_to"]))
    return change(old, new, span, "month", expected["credit"], expected["charge"], "USD")


def plan_change_seconds(case: Case) -> Golden:
    given, expected = case["input"], case["expected"]
    old, new = (given["old_amount"], "1"), (given["new_amount"], "1")
    start, at = given["cycle_start"], given["change_at"]
    every = given["old_interval"]
    if every == given["new_interval"]:
        year, month = int(start[:4]), int(start[5:7]) + 1
        end = f"{year + 1}{start[4:]}" if every == "year" else f"{year}-{month:02}{start[7:]}"
        return change(old, new, (start, at, end), every, expected["credit"], expected["charge"], "JPY")
    # Another interval is another contract, with periods from the day of the change.
    written = fees({"old": old[0], "new": new[0]}, [{"product": "old", "every": every}], start, at, "JPY")
    contract = written["contracts"][0]
    contract |= {"ending_before": at, "billing": {"every": every, "anchor": "contract"}}
    seat = {"key": "s", "product": "new", "quantity": "1", "every": "year", "billed": "advance"}
    billing = {"every": "year", "anchor": "contract"}
    written["contracts"].append(
        {**contract, "key": "d", "starting_at": at, "ending_before": None, "billing": billing, "subscriptions": [seat]}
    )
    return Golden(
        written,
        lambda result: [fee_lines(result, "old") - D(old[0]), fee_lines(result, "new")],
        [-D(expected["credit"]), D(expected["charge"])],
    )


def change_of_seats(case: Case) -> Golden:
    given, lines = case["input"], case["expected"]["lines"]
    pair = given["matched"][0]
    # Their month has 30 days, as our April has.
    at, end = "2025-04-16", "2025-05-01"
    seats = [
        {"product": "old", "every": "month", "ending_before": at},
        {"product": "new", "every": "month", "starting_at": at, "ending_before": end},
    ]
    written = fees({"old": pair["old"], "new": pair["new"]}, seats, "2025-04-01", end, "JPY")
    return Golden(
        written,
        lambda result: [fee_lines(result, "old") - D(pair["old"]), fee_lines(result, "new")],
        [D(each) for each in lines],
    )


def included(case: Case) -> Golden:
    given, params = case["input"], case["params"]
    price = per_unit(params["unit_price"], free_units=given["included_units"])
    return Golden(used(price, given["consumed_units"]), total, D(case["expected"]["usage_total"]))


def cycles(case: Case) -> Golden:
    given = case["input"]
    seat: Written = {"product": "fee", "billed": "advance", "ending_before": given["end"]}
    anchor = date(2011, 1, case["params"]["bill_day"]).isoformat()
    billing = {"every": "month", "anchor": anchor}
    written = fees({"fee": "10000000"}, [seat], given["start"], given["target"], billing=billing)

    def found(result: Written) -> Decimal:
        amount = fee_lines(result, name="amount_exact")
        return (amount / 10_000_000).quantize(D("1e-9"), ROUND_HALF_UP)

    return Golden(written, found, D(case["expected"]["cycles"]))


def starts(case: Case) -> Golden:
    given = case["input"]
    anchor = case["params"]["anchor"] or given["from"]
    written = scenario(None, rates=[], as_of=given["to"], billing={"every": "month", "anchor": anchor})
    written["contracts"][0]["starting_at"] = given["from"]
    end = given["to"]

    def found(result: Written) -> list[str]:
        days = [invoice["period"]["starting_at"][:10] for invoice in result["invoices"]]
        return [day for day in days[1:] if day < end]

    # The first period begins with the contract.
    return Golden(written, found, case["expected"]["starts"][1:])


def next_month(case: Case) -> Golden:
    anchor = date(2026, 1, case["params"]["anchor_day"]).isoformat()
    start = case["input"]["from"]
    written = scenario(None, rates=[], as_of=after(start), billing={"every": "month", "anchor": anchor})
    written["contracts"][0]["starting_at"] = start
    return Golden(written, lambda result: first(result)["period"]["ending_before"][:10], case["expected"]["to"])


def burn_down(case: Case) -> Golden:
    given, expected = case["input"], case["expected"]
    terms: Written = {"credits": [], "recurring_credits": []}
    for grant in given["grants"]:
        name, part = granted(grant)
        terms[name].append(part)
    rows = [(use["time"], use["quantity"]) for use in given["usage"]]
    billing = {"every": "year", "anchor": "contract"}
    written = scenario(per_unit("1"), *rows, as_of=given["until"], billing=billing, **terms)
    written["contracts"][0]["starting_at"] = given["start"]

    def found(result: Written) -> tuple[Decimal, dict[str, Decimal]]:
        left = dict.fromkeys(expected["balances"], D(0))
        for row in result["balances"]:
            left[row["balance"]] = D(row["remaining"])
        return total(result), left

    return Golden(
        written, found, (D(expected["overage"]), {key: D(left) for key, left in expected["balances"].items()})
    )


def order(case: Case) -> Golden:
    grants = case["input"]["grants"]
    terms = [
        {
            "key": each["id"],
            "priority": each["priority"],
            "access": [{"amount": "1", "starting_at": each["created_at"], "ending_before": each["expires_at"]}],
        }
        for each in grants
    ]
    # Used up one after the other while all are open.
    rows = [(f"2025-12-31T23:{place:02}:30Z", "1") for place in range(len(grants))]
    written = scenario(per_unit("1"), *rows, credits=terms)
    written["contracts"][0]["starting_at"] = "2025-12-01"

    def found(result: Written) -> list[str]:
        return [line["balance"] for line in first(result)["lines"] if line["kind"] == "draw"]

    return Golden(written, found, case["expected"]["order"])


def credits_on_lines(case: Case) -> Golden:
    grants = [{"key": f"c{n}", "access": [{"amount": each}]} for n, each in enumerate(case["input"]["credits"])]
    price = price_of(case["params"]["price_model"], case["params"])
    paid = sum((D(each) for line in case["expected"]["lines"] for each in line["credits"]), D(0))
    return Golden(
        used(price, case["input"]["quantity"], credits=grants),
        lambda result: (total(result), D(first(result)["credits_applied"])),
        (D(case["expected"]["total"]), paid),
    )


def wallets(case: Case) -> Golden:
    given = case["input"]["credits"]
    grants = [
        {"key": f"c{n}", "access": [{"amount": each["amount"]} | ({"ending_before": each["expires"]} if n else {})]}
        for n, each in enumerate(given)
    ]
    return Golden(
        used(per_unit("1"), case["input"]["debit"], credits=grants),
        lambda result: sum((D(row["remaining"]) for row in result["balances"]), D(0)),
        D(case["expected"]["balance"]),
    )


def coupon(case: Case) -> Golden:
    amounts = case["input"]["fees_minor"]
    written = used(None, "1", currency="JPY", discounts=[{"amount": case["params"]["amount_minor"]}])
    written["products"] = [{"key": f"p{n}", "meter": "calls"} for n in range(len(amounts))]
    written["rate_cards"][0]["rates"] = [
        {"product": f"p{n}", "price": per_unit(amount)} for n, amount in enumerate(amounts)
    ]
    return Golden(
        written,
        lambda result: [-D(line["amount"]) for line in first(result)["lines"] if line["kind"] == "discount"],
        [D(each) for each in case["expected"]["per_fee_minor"]],
    )


def coupons(case: Case) -> Golden:
    terms = [{"percent": each["rate_percent"]} for each in case["input"]["coupons"]]
    written = used(per_unit("1"), case["input"]["subtotal_minor"], currency="JPY", discounts=terms)
    return Golden(written, lambda result: D(first(result)["discount"]), D(case["expected"]["discount_minor"]))


TERMS: dict[str, Callable[[Case], Golden]] = {
    "time_ratio": of_a_month,
    "subscription_fee_days": of_days,
    "plan_change": plan_change,
    "plan_change_seconds": plan_change_seconds,
    "plan_change_days_exclusive": change_of_seats,
    "plan_with_included_units": included,
    "monthly_cycles_in_advance": cycles,
    "month_boundaries": starts,
    "next_month": next_month,
    "grants_burndown": burn_down,
    "grants_order": order,
    "allocate_to_lines": credits_on_lines,
    "wallet_debit": wallets,
    "coupon": coupon,
    "coupons_stacked": coupons,
}
