"""Worked examples of vendors' published pages as scenarios, beside those in worked.yaml.

Left to the pure functions: recharging a balance and alerts (no part of a statement), refusals of a threshold, and what
stands in tests/cases/left_out.py.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.scenarios.building import Written, per_unit, scenario
from tests.scenarios.golden_prices import Golden
from tests.scenarios.golden_terms import change

Example = dict[str, Any]
ALL = Path(__file__).parents[1] / "cases" / "worked_examples.json"


def kinds(result: Written, kind: str) -> list[str]:
    return [invoice["total"] for invoice in result["invoices"] if invoice["kind"] == kind]


def lines_of(result: Written, *names: str) -> list[Any]:
    return [[line[name] for name in names] for invoice in result["invoices"] for line in invoice["lines"]]


def drawn(result: Written) -> dict[str, list[str]]:
    """The draws and roll-overs of each balance."""
    return {
        each["balance"]: [entry["amount"] for entry in each["ledger"] if entry["kind"] in ("draw", "rollover")]
        for each in result["balances"]
    }


def tiered(given: Written) -> Written:
    return {"model": given["mode"], "tiers": given["tiers"]}


def position_kept(given: Written, expected: Written) -> Golden:
    below, above = (expected[f"units_per_threshold_invoice_{side}_10000"] for side in ("below", "above"))
    uses = [below, 10000 - below, above]
    rows = [(f"2026-01-{number:02}", units) for number, units in enumerate(uses, start=2)]
    written = scenario(tiered(given), *rows, spend_threshold={"amount": given["monetary_threshold"]})
    return Golden(written, lambda result: kinds(result, "threshold")[::2], [given["monetary_threshold"]] * 2)


def cheaper_with_more(given: Written, expected: Written) -> Golden:
    rows = [("2026-01-02", 10000), ("2026-01-03", given["final_usage"] - 10000)]
    written = scenario(tiered(given), *rows, spend_threshold={"amount": given["monetary_threshold"]})

    def found(result: Written) -> list[str]:
        usage = next(invoice for invoice in result["invoices"] if invoice["kind"] == "usage")
        return [*kinds(result, "threshold"), usage["subtotal"], usage["total"]]

    wanted = [given["previously_invoiced"], expected["usage_total"], f"-{expected['owed_back_to_customer']}"]
    return Golden(written, found, wanted)


def half_a_period(given: Written, expected: Written) -> Golden:
    span = ("2026-04-01", "2026-04-16", "2026-05-01")
    old, new = (given["old_monthly"], "1"), (given["new_monthly"], "1")
    return change(old, new, span, "month", expected["credit_unused"], expected["charge_remaining"], "USD")


def by_the_second(given: Written, expected: Written) -> Golden:
    # The page does not print its period: one of 31 days gives both of its figures.
    rest = timedelta(seconds=given["period_end"] - given["proration_from"])
    at = (datetime(2026, 2, 1, tzinfo=UTC) - rest).isoformat()
    old, new = (str(given[f"{which}_price"]) for which in ("old", "new"))
    unused, remaining = given["unused_line_amount"], given["remaining_line_amount"]
    assert unused + remaining + given["next_period_charge"] == expected["amount_due"]
    span = ("2026-01-01", at, "2026-02-01")
    return change((old, "1"), (new, "1"), span, "month", str(unused), str(remaining), "JPY")


def drawn_down(given: Written, expected: Written) -> Golden:
    credit = {"key": "c", "access": [{"amount": given["granted"]}]}
    written = scenario(per_unit("1"), ("2026-01-02", given["used"]), credits=[credit])
    return Golden(written, lambda result: result["balances"][0]["remaining"], f"{expected['remaining']}.00")


def a_year_under_a_commit(given: Written, expected: Written) -> Golden:
    window = {"starting_at": "2026-01-01", "ending_before": "2027-01-01"}
    commit = {"key": "y1", "access": [{"amount": given["prepaid_commit"], **window}]}
    commit["invoices"] = [{"amount": given["billed_upfront"], "at": "2026-01-01"}]
    override = {"kind": "multiplier", "multiplier": given["commit_multiplier"], "for_commits": ["y1"]}
    # As a property of one event type each month: the first 1,000 and 250, then 750 and 250.
    rows = [(f"2026-{month:02}-02", 1000 if month == 1 else 750, [("storage", 250)]) for month in range(1, 13)]
    written = scenario(None, *rows, as_of="2027-01-01", rates=[], commits=[commit], overrides=[override])
    written["contracts"][0]["ending_before"] = "2027-01-01"
    names = {"CloudCompute": "calls", "CloudStorage": "storage"}
    written["meters"].append({"key": "storage", "event_type": "call", "aggregation": "sum", "property": "storage"})
    written["products"].append({"key": "storage", "meter": "storage"})
    written["rate_cards"][0]["rates"] = [
        {"product": names[name], "price": per_unit(amount)} for name, amount in given["list_rates"].items()
    ]

    def found(result: Written) -> list[Any]:
        first = next(invoice for invoice in result["invoices"] if invoice["kind"] == "usage")
        left = float(given["prepaid_commit"])
        remaining = []
        for invoice in result["invoices"]:
            if invoice["kind"] == "usage":
                left -= float(invoice["credits_applied"])
                remaining.append(f"{left:.2f}")
        expired = [entry["amount"] for entry in result["balances"][0]["ledger"] if entry["kind"] == "expiration"]
        return [[line["amount"] for line in first["lines"]], kinds(result, "usage"), remaining, expired]

    wanted = [expected["month_1_lines"], expected["usage_invoice_totals"], expected["remaining_after_month"]]
    return Golden(written, found, [*wanted, [f"-{expected['expired_at_end']}"]])


def increment_covered(given: Written, expected: Written) -> Golden:
    first = given["commit_from_day"]
    commit = {"key": "c", "access": [{"amount": "1000", "starting_at": f"2026-01-{first:02}"}]}
    rows = [(f"2026-01-{number:02}", value) for number, value in enumerate(given["daily_values"], start=1)]
    written = scenario(per_unit("1"), *rows, aggregation="latest", commits=[commit])

    def found(result: Written) -> list[int]:
        usage = [line for line in result["invoices"][0]["lines"] if line["kind"] == "usage"]
        return [int(line["quantity"]) if line["balance"] else 0 for line in usage]

    return Golden(written, found, expected["covered_quantity"])


def two_rates(given: Written, expected: Written) -> Golden:
    """January is paid by a commit, February on demand."""
    commit = {"key": "k", "rate": "commit", "access": [{"amount": "1000", "ending_before": "2026-02-01"}]}
    overrides = [
        {"kind": "multiplier", "multiplier": given["override_commit_rate_multiplier"], "target": "commit"},
        {"kind": "multiplier", "multiplier": given["override_list_rate_multiplier"]},
    ]
    rates = [
        {"product": name, "price": per_unit(given["list"][name]), "commit_price": per_unit(given["commit_rate"][name])}
        for name in ("in", "out")
    ]
    rows = [("2026-01-02", 1), ("2026-02-02", 1)]
    written = scenario(None, *rows, as_of="2026-03-01", rates=rates, commits=[commit], overrides=overrides)
    written["products"] = [{"key": name, "meter": "calls"} for name in ("in", "out")]

    def found(result: Written) -> list[dict[str, str]]:
        return [
            {line["product"]: line["amount"] for line in invoice["lines"] if line["kind"] == "usage"}
            for invoice in result["invoices"][:2]
        ]

    return Golden(written, found, [expected["commit"], expected["on_demand"]])


def type_beats_priority(given: Written, expected: Written) -> Golden:
    """Ten may be drawn of each; 10, 20 and 30 used show the order."""
    commits = []
    for each in given["commits"]:
        february = {"amount": "10", "starting_at": "2026-02-01", "ending_before": "2026-03-01"}
        commit = {"key": each["id"], "kind": each["type"].lower(), "priority": each["priority"], "access": [february]}
        if each.get("rollover"):
            january = {"amount": "10", "starting_at": "2026-01-01", "ending_before": "2026-02-01"}
            commit |= {"rollover": {"fraction": "1"}, "access": [january, {**february, "amount": "0"}]}
        commits.append(commit)
    rows = [(f"2026-02-{number:02}", 10) for number in range(1, 4)]
    written = scenario(None, *rows, as_of="2026-03-01", rates=[], commits=commits)
    written["meters"][0]["group_by"] = ["day"]
    written["products"][0]["pricing_keys"] = ["day"]
    for number, event in enumerate(written["events"]):
        event["properties"]["day"] = str(number)
    # The dearest is paid first: a line each, of 10.00.
    written["rate_cards"][0]["rates"] = [
        {"product": "calls", "where": {"day": str(number)}, "price": per_unit("1")} for number in range(3)
    ]

    def found(result: Written) -> list[str]:
        usage = [line for line in result["invoices"][1]["lines"] if line["kind"] == "usage"]
        return [line["balance"] for line in sorted(usage, key=lambda line: str(line["group"]["day"]))]

    return Golden(written, found, expected["order"])


def ramp(given: Written, expected: Written) -> Golden:
    end = given["term"][1]
    ends = [*(each["at"] for each in given["access"][1:]), end]
    access = [
        {"amount": each["amount"], "starting_at": each["at"], "ending_before": until}
        for each, until in zip(given["access"], ends, strict=True)
    ]
    rollover = {"fraction": given["rollover_fraction"]}
    commit = {"key": "ramp", "access": access, "invoices": given["invoice"], "rollover": rollover}
    overrides = [
        {
            "kind": "multiplier",
            "multiplier": each["multiplier"],
            "scope": {"tags": [each["tag"]]},
            "starting_at": each["at"],
        }
        for each in given["overrides"]
    ]
    charge = {"key": "setup", "product": "setup", **given["scheduled_charge"]}
    more = {"commits": [commit], "overrides": overrides, "charges": [charge], "ending_before": end}
    rows = [("2024-06-01", 100), ("2025-06-01", 100)]
    written = scenario(per_unit("100"), *rows, as_of="2027-01-02", product={"tags": ["storage"]}, **more)
    written["contracts"][0] |= {"starting_at": given["term"][0], "billing": {"every": "year"}}
    written["rate_cards"][0]["currency"] = "JPY"  # their cents
    written["products"].append({"key": "setup", "kind": "fixed"})

    def found(result: Written) -> list[Any]:
        billed = {
            invoice["period"]["starting_at"][:10]: int(invoice["total"])
            for invoice in result["invoices"]
            if invoice["kind"] == "scheduled"
        }
        usage = [amount for kind, amount in lines_of(result, "kind", "amount") if kind == "usage"]
        last = result["balances"][0]["ledger"]
        rolled = max(int(entry["amount"]) for entry in last if entry["kind"] == "rollover")
        accessible = sum(int(entry["amount"]) for entry in last if entry["kind"] == "start")
        return [billed, usage, accessible, rolled]

    at_most = [given["access"][0]["amount"] // 4, given["access"][1]["amount"] // 4]
    return Golden(
        written, found, [expected["scheduled_invoices"], ["9000", "8000"], expected["total_access"], max(at_most)]
    )


def upgraded(given: Written, expected: Written) -> Golden:
    """The plan of 30 for 20 from the 21st on; what is left of the old one goes along."""
    plan = given["new_plan"]
    used = f"{float(given['old_plan_credit']) - float(given['old_remaining']):.2f}"
    rollover = {"fraction": "1"}
    old = {"key": "plan", "amount": given["old_plan_credit"], "proration": "none", "rollover": rollover}
    new = {"key": "plan", "amount": plan["monthly_access"], "invoice_amount": plan["monthly_invoice"]}
    at = f"2026-{given['upgrade_at']}"
    written = scenario(per_unit("1"), ("2026-01-02", used), as_of="2026-01-25", recurring_credits=[old])
    contract = written["contracts"][0]
    contract["ending_before"] = at
    written["contracts"].append(
        {**contract, "key": "d", "renews": "c", "starting_at": at, "ending_before": None, "recurring_credits": []}
        | {"recurring_commits": [{**new, "key": "new"}]}
    )

    def found(result: Written) -> list[Any]:
        rolled = next(each for each in result["balances"] if (each["contract"], each["balance"]) == ("d", "plan"))
        bought = next(each for each in result["balances"] if each["balance"] == "new")
        paid = float(kinds(result, "scheduled")[0]) / float(bought["remaining"])
        return [rolled["remaining"], bought["remaining"], kinds(result, "scheduled"), f"{paid:.2f}"]

    # The page prints about 10: 11 of 31 days of 30 and of 20.
    return Golden(written, found, [expected["rolled_over_free"], "10.65", ["7.10"], expected["cost_basis"]])


def pooled_seats(given: Written, expected: Written) -> Golden:
    pool = {"key": "pool", "unit": "credit", "amount": given["credits_per_seat"], "per_seat_of": "seats"}
    top_up = given["top_up"]
    bought = {"key": "top-up", "unit": "credit", "access": [{"amount": top_up["credits"]}]}
    bought["invoices"] = [{"amount": top_up["price"], "at": "2026-01-05"}]
    seats = {"key": "seats", "product": "seat", "quantity": given["seats"]}
    written = scenario(
        None,
        as_of="2026-01-10",
        rates=[{"product": "seat", "price": per_unit(given["seat_price_month"])}],
        card={"pricing_units": [{"key": "credit"}]},
        recurring_credits=[pool],
        commits=[bought],
        subscriptions=[seats],
    )
    written["products"].append({"key": "seat", "kind": "subscription"})

    def found(result: Written) -> list[Any]:
        left = {each["balance"]: each["remaining"] for each in result["balances"]}
        fee, pack = kinds(result, "scheduled")
        return [int(left["pool"]), fee, f"{float(pack) / float(left['top-up']):.2f}"]

    return Golden(
        written,
        found,
        [expected["credits_per_month"], expected["subscription_month"], expected["top_up_cost_basis"]],
    )


MAKERS: dict[str, Callable[[Written, Written], Golden]] = {
    "stripe_threshold_graduated_tiers_keep_position": position_kept,
    "stripe_threshold_volume_tiers_cheaper_after_more_usage": cheaper_with_more,
    "stripe_proration_upgrade_half_period": half_a_period,
    "stripe_proration_preview_by_second": by_the_second,
    "orb_prepaid_drawdown": drawn_down,
    "metronome_prepaid_discounted_commit_under_consumed": a_year_under_a_commit,
    "metronome_latest_commit_covers_only_increment": increment_covered,
    "metronome_negotiated_commit_and_on_demand_rates": two_rates,
    "metronome_type_beats_priority": type_beats_priority,
    "metronome_enterprise_ramp_access_vs_invoice": ramp,
    "metronome_mid_cycle_upgrade_recurring_commit": upgraded,
    "metronome_seat_pooled_credits": pooled_seats,
}


def examples() -> dict[str, Golden]:
    """The examples by name."""
    known = {example["name"]: example for example in json.loads(ALL.read_text())}
    return {name: make(known[name]["inputs"], known[name]["expected"]) for name, make in MAKERS.items()}
