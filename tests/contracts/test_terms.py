"""Which price applies: the table of precedence, one override per line, commit rates."""

from typing import Any

import pytest

from billing_project.decimals import plain
from catalog.group_values import Group
from catalog.pricing import charge
from contracts.deal_format import parse_deal
from contracts.products import ProductTerms
from contracts.terms import Payer, agreed_price
from tests.contracts.worked import ZONE, D, bill, day, rate, table, unit

MODEL: Group = (("model", "a"), ("region", "eu"))
TOKENS = ProductTerms("tokens", "Tokens", "m", "sum", pricing_keys=("model", "region"), tags=("ai",))
CARD = rate("tokens", unit("10"), where={"model": "a", "region": "eu"}, commit_price=unit("8"))
Y1, Y1_COMMIT, Y2 = Payer("y1"), Payer("y1", "commit"), Payer("y2")
ALL = {"products": ["tokens"], "where": {"model": "a", "region": "eu"}}


def times(multiplier: str, **more: Any) -> dict[str, Any]:
    return {"kind": "multiplier", "multiplier": multiplier, **more}


def price(amount: str, scope: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"kind": "overwrite", "price": unit(amount), "scope": ALL if scope is None else scope, **more}


FOR_Y1: dict[str, Any] = {"for_commits": ["y1"]}


@pytest.mark.parametrize(
    ("why", "overrides", "payer", "unit_price"),
    [
        ("no override: list", [], None, "10"),
        ("list rate while a commit at list pays", [], Y1, "10"),
        ("commit rate while a commit at commit rate pays", [], Y1_COMMIT, "8"),
        ("a multiplier", [times("0.9")], None, "9"),
        ("an overwrite", [price("7")], None, "7"),
        ("overwrite before multiplier, never stacked", [times("0.5"), price("7")], None, "7"),
        ("of two overwrites the last", [price("7"), price("6")], None, "6"),
        ("of two multipliers the lowest", [times("0.9"), times("0.8")], None, "8"),
        ("explicit priority before lowest", [times("0.9", priority=1), times("0.8", priority=2)], None, "9"),
        ("a stated priority before none", [times("0.9", priority=5), times("0.8")], None, "9"),
        ("commit-specific only while it pays", [times("0.5", **FOR_Y1)], None, "10"),
        ("commit-specific while another pays", [times("0.5", **FOR_Y1)], Y2, "10"),
        ("commit-specific multiplier before overwrite", [price("7"), times("0.95", **FOR_Y1)], Y1, "9.5"),
        ("commit-specific overwrite first", [times("0.5", **FOR_Y1), price("3", **FOR_Y1), price("1")], Y1, "3"),
        ("target list leaves the commit rate", [times("0.5")], Y1_COMMIT, "8"),
        ("target commit", [times("0.9", target="commit"), times("0.8")], Y1_COMMIT, "7.2"),
        ("target commit leaves the list rate", [times("0.9", target="commit")], None, "10"),
        ("an overwrite of the commit rate", [price("5", target="commit")], Y1_COMMIT, "5"),
        ("by tag", [times("0.9", scope={"tags": ["ai"]})], None, "9"),
        ("by another tag", [times("0.9", scope={"tags": ["storage"]})], None, "10"),
        ("a multiplier may name some of the values", [times("0.9", scope={"where": {"model": "a"}})], None, "9"),
        ("of other values", [times("0.9", scope={"where": {"model": "b"}})], None, "10"),
        ("an overwrite of some values is none", [price("7", {"tags": ["ai"], "where": {"model": "a"}})], None, "10"),
        ("before it starts", [times("0.9", starting_at="2026-01-11")], None, "10"),
        ("after it ended", [times("0.9", ending_before="2026-01-10")], None, "10"),
        ("when it starts", [times("0.9", starting_at="2026-01-10", ending_before="2026-01-11")], None, "9"),
    ],
)
def test_which_override_applies(
    why: str, overrides: list[dict[str, Any]], payer: Payer | None, unit_price: str
) -> None:
    commits = [{"key": key, "access": [{"amount": "1"}]} for key in ("y1", "y2")]
    deal = parse_deal({"overrides": overrides, "commits": commits}, ZONE)
    agreed = agreed_price(TOKENS, MODEL, CARD, day(10), deal.overrides, payer)
    assert agreed is not None
    assert plain(charge(agreed.price, D(1)).amount) == unit_price, why


def test_the_source_says_where_the_price_came_from() -> None:
    deal = parse_deal({"overrides": [times("0.9"), price("7", starting_at="2026-02-01")]}, ZONE)
    sources = [
        agreed_price(TOKENS, MODEL, CARD, at, deal.overrides, payer)
        for at, payer in [(day(1), None), (day(1, 2), None), (day(1), Y1_COMMIT)]
    ]
    assert [each.source for each in sources if each] == [
        "list × 0.9 (override 1)",
        "overwrite 2 of the contract",
        "commit rate of list",
    ]


def test_an_overwrite_prices_what_the_card_does_not() -> None:
    deal = parse_deal({"overrides": [times("0.5"), price("7")]}, ZONE)
    agreed = agreed_price(TOKENS, MODEL, None, day(1), deal.overrides)
    assert agreed is not None
    assert agreed.price == parse_price_of("7")
    assert agreed_price(TOKENS, MODEL, None, day(1), deal.overrides[:1]) is None


def parse_price_of(amount: str) -> Any:
    return parse_deal({"overrides": [price(amount)]}, ZONE).overrides[0].price  # type: ignore[union-attr]


def test_a_tiered_override_multiplies_by_the_quantity_reached() -> None:
    tiers = [{"up_to": "10", "multiplier": "0.8"}, {"up_to": None, "multiplier": "0.7"}]
    deal = {"overrides": [{"kind": "tiered", "tiers": tiers}]}
    assert bill({"calls": unit("1")}, deal, ("calls", day(2), "10")).total == D("8.00")
    assert bill({"calls": unit("1")}, deal, ("calls", day(2), "20")).total == D("15.00")
    graduated = {"model": "graduated", "tiers": [{"up_to": "15", "unit_amount": "1"}, {"unit_amount": "2"}]}
    # 10 at 1 x 0.8, 5 at 1 x 0.7, 5 at 2 x 0.7
    assert bill({"calls": graduated}, deal, ("calls", day(2), "20")).total == D("18.50")


def test_an_override_that_starts_within_the_period_cuts_the_line() -> None:
    deal = {"overrides": [times("0.5", starting_at="2026-01-11")]}
    statement = bill({"calls": unit("2")}, deal, ("calls", day(5), "10"), ("calls", day(15), "10"))
    assert table(statement) == ["usage calls 01.01-11.01 10.00 20.00", "usage calls 11.01-01.02 10.00 10.00"]


@pytest.mark.parametrize(
    ("terms", "amounts"),
    [
        ({"multiplier": "0.5", "for_commits": ["y"]}, ["100.00", "50.00"]),
        ({"multiplier": "0.5", "target": "commit"}, ["80.00", "40.00"]),
    ],
)
def test_an_override_only_while_a_commit_pays_cuts_the_line_too(terms: dict[str, Any], amounts: list[str]) -> None:
    paying = "commit" if "target" in terms else "list"
    commit = {"key": "y", "rate": paying, "access": [{"amount": "1000"}]}
    deal = {"commits": [commit], "overrides": [{"kind": "multiplier", "starting_at": "2026-01-15", **terms}]}
    card = rate("calls", unit("1"), commit_price=unit("0.8"))
    statement = bill([card], deal, ("calls", day(3), "100"), ("calls", day(20), "100"))
    assert table(statement) == [
        f"usage calls 01.01-15.01 100.00 {amounts[0]} [y]",
        f"usage calls 15.01-01.02 100.00 {amounts[1]} [y]",
        f"draw calls 01.01-15.01 -{amounts[0]} [y]",
        f"draw calls 15.01-01.02 -{amounts[1]} [y]",
    ]


def test_a_line_lasts_as_long_as_its_terms_wherever_usage_fell() -> None:
    week = times("0.5", starting_at="2026-01-10", ending_before="2026-01-15", scope={"where": {"model": "a"}})
    product = ProductTerms("calls", "calls", "m", "sum", pricing_keys=("model",))
    rates = [rate("calls", unit("2"), where={"model": model}) for model in ("a", "b")]
    uses = [("calls", day(number), "1", {"model": model}) for number in (5, 20) for model in ("a", "b")]
    assert table(bill(rates, {"overrides": [week]}, *uses, products=[product])) == [
        "usage calls 01.01-10.01 1.00 2.00",
        "usage calls 15.01-01.02 1.00 2.00",
        "usage calls 01.01-01.02 2.00 4.00",
    ]


def test_slices_under_the_same_terms_are_one_line() -> None:
    deal = {"overrides": [times("0.5", starting_at="2026-01-11", scope={"products": ["other"]})]}
    statement = bill({"calls": unit("2"), "other": unit("1")}, deal, ("calls", day(5), "1"), ("calls", day(15), "1"))
    assert table(statement) == ["usage calls 01.01-01.02 2.00 4.00"]
