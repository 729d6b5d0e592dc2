"""Credit, wallet, coupon and discount cases of other systems, through our statements."""

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.balances import left_at_start
from contracts.drawdown import burn_down_order
from contracts.proration import Calendar
from invoicing.statement import build_statement
from meters.periods import Period
from tests.cases import cases
from tests.cases.test_price_cases import price_of
from tests.contracts.test_drawdown import BASE
from tests.contracts.worked import ZONE as UTC
from tests.contracts.worked import D, bill, day, inputs, unit


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def granted(grant: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A grant in our format: a credit, or a recurring credit where it is refilled every day."""
    terms = {"key": grant["id"], "priority": grant["priority"]}
    window = {"starting_at": grant["effective_at"], "ending_before": grant.get("voided_at", grant["expires_at"])}
    if "recurrence" in grant:
        return "recurring_credits", terms | window | {"amount": grant["amount"], "every": "day"}
    return "credits", terms | {"access": [window | {"amount": grant["amount"]}]}


@pytest.mark.parametrize("case", cases("credits", "grants_burndown"))
def test_grants_burn_down(case: dict[str, Any]) -> None:
    given, expected = case["input"], case["expected"]
    deal: dict[str, list[Any]] = {"credits": [], "recurring_credits": []}
    for grant in given["grants"]:
        name, written = granted(grant)
        deal[name].append(written)
    period = Period(at(given["start"]), at(given["until"]))
    uses = [("calls", at(use["time"]), use["quantity"]) for use in given["usage"]]
    calendar = Calendar(UTC, period.starting_at)
    made = inputs({"calls": unit("1")}, deal, *uses, period=period, calendar=calendar)
    statement = build_statement(made)
    assert statement.total == D(expected["overage"])
    assert balances_after(made, statement) == {key: D(left) for key, left in expected["balances"].items()}


def balances_after(made: Any, statement: Any) -> dict[str, Decimal]:
    """What is left at the end in the windows that are still open."""
    drawn: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for draw in statement.draws:
        drawn[draw.owner, draw.balance, draw.segment] += draw.amount
    balances = [replace(each, drawn=drawn[each.id]) for each in made.balances]
    left = left_at_start(balances, made.period.ending_before, "USD")
    result = {each.key: D(0) for each in balances}
    for each in balances:
        if each.ending_before is None or each.ending_before > made.period.ending_before:
            result[each.key] = left[each.id]
    return result


@pytest.mark.parametrize("case", cases("credits", "grants_order"))
def test_the_order_of_grants(case: dict[str, Any]) -> None:
    balances = [
        replace(
            BASE,
            key=grant["id"],
            priority=grant["priority"],
            starting_at=at(grant["created_at"]),
            ending_before=at(grant["expires_at"]) if grant["expires_at"] else None,
        )
        for grant in case["input"]["grants"]
    ]
    assert [each.key for each in sorted(balances, key=burn_down_order)] == case["expected"]["order"]


@pytest.mark.parametrize("case", cases("credits", "allocate_to_lines"))
def test_credits_pay_lines(case: dict[str, Any]) -> None:
    grants = [{"key": f"c{n}", "access": [{"amount": each}]} for n, each in enumerate(case["input"]["credits"])]
    price = price_of(case["params"]["price_model"], case["params"])
    statement = bill({"calls": price}, {"credits": grants}, ("calls", day(2), case["input"]["quantity"]))
    assert statement.total == D(case["expected"]["total"])
    paid = [D(each) for line in case["expected"]["lines"] for each in line["credits"]]
    assert statement.credits_applied == sum(paid, D(0))


@pytest.mark.parametrize("case", cases("credits", "wallet_debit"))
def test_wallets_are_debited_by_expiry(case: dict[str, Any]) -> None:
    grants = [
        {
            "key": f"c{number}",
            "access": [{"amount": each["amount"]} | ({"ending_before": each["expires"]} if number else {})],
        }
        for number, each in enumerate(case["input"]["credits"])
    ]
    statement = bill({"calls": unit("1")}, {"credits": grants}, ("calls", day(2), case["input"]["debit"]))
    assert [(draw.balance, draw.amount) for draw in statement.draws] == [("c1", D(30)), ("c2", D(20)), ("c3", D(20))]
    total = sum((D(each["amount"]) for each in case["input"]["credits"]), D(0))
    assert total - statement.credits_applied == D(case["expected"]["balance"])


@pytest.mark.parametrize("case", cases("credits", "coupon"))
def test_a_fixed_discount_stops_at_zero(case: dict[str, Any]) -> None:
    fees = case["input"]["fees_minor"]
    prices = {f"p{number}": unit(fee) for number, fee in enumerate(fees)}
    deal = {"discounts": [{"amount": case["params"]["amount_minor"]}]}
    statement = bill(prices, deal, *[(name, day(2), "1") for name in prices])
    assert statement.discount == D(case["expected"]["credit_minor"])
    discounts = [-line.amount for line in statement.lines if line.kind == "discount"]
    assert discounts == [D(each) for each in case["expected"]["per_fee_minor"]]


@pytest.mark.parametrize("case", cases("credits", "coupons_stacked"))
def test_percentages_compound(case: dict[str, Any]) -> None:
    deal = {"discounts": [{"percent": each["rate_percent"]} for each in case["input"]["coupons"]]}
    statement = bill({"calls": unit("1")}, deal, ("calls", day(2), case["input"]["subtotal_minor"]))
    assert statement.discount == D(case["expected"]["discount_minor"])
