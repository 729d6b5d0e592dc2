"""What holds for every deal: parts add up, cuts change nothing, balances end at zero, lines explain themselves."""

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from catalog.bands import bands, quantity_for
from catalog.money import add, subtract
from catalog.price_format import parse_price, price_as_dict
from catalog.prices import scaled
from catalog.pricing import Events, charge
from contracts.explain import recomputed
from invoicing.statement import Statement, build_statement
from meters.periods import Period
from tests.contracts.worked import D, day, inputs, rate, schedule, sliced, unit

amounts = st.decimals(0, 200, places=2, allow_nan=False, allow_infinity=False)
cents = st.decimals(0, 5, places=4, allow_nan=False, allow_infinity=False)
instants = st.integers(0, 31 * 24 - 1).map(lambda hour: day(1) + timedelta(hours=hour))


@st.composite
def prices(draw: st.DrawFn) -> dict[str, Any]:
    model = draw(st.sampled_from(["per_unit", "package", "graduated", "volume", "percentage", "graduated_percentage"]))
    if model == "per_unit":
        return unit(str(draw(cents)), free_units=str(draw(st.integers(0, 20))))
    if model == "package":
        return {"model": model, "size": draw(st.integers(1, 30)), "amount": draw(cents)}
    if model == "percentage":
        return {"model": model, "percent": draw(amounts), "fixed_amount": draw(cents)}
    bounds = [*sorted(draw(st.sets(st.integers(1, 200), max_size=3))), None]
    name = "percent" if model == "graduated_percentage" else "unit_amount"
    tiers = [
        {"up_to": bound, name: draw(cents), "flat_amount": draw(st.sampled_from(["0", "1.5"]))} for bound in bounds
    ]
    return {"model": model, "tiers": tiers}


@st.composite
def deals(draw: st.DrawFn) -> dict[str, Any]:
    """A deal with a bit of everything."""

    def window() -> dict[str, Any]:
        start, end = sorted([draw(instants), draw(instants)])
        return {"starting_at": start.isoformat(), "ending_before": (end + timedelta(hours=1)).isoformat()}

    scopes = st.sampled_from([{}, {"products": ["a"]}, {"products": ["a", "b"]}])
    deal: dict[str, Any] = {"commits": [], "credits": [], "discounts": [], "overrides": []}
    for number in range(draw(st.integers(0, 3))):
        commit: dict[str, Any] = {"key": f"commit{number}", "access": [{"amount": str(draw(amounts)), **window()}]}
        commit |= {"kind": draw(st.sampled_from(["prepaid", "postpaid"])), "scope": draw(scopes)}
        commit |= {"rate": draw(st.sampled_from(["list", "commit"])), "priority": draw(st.integers(0, 3))}
        deal["commits"].append(commit | draw(st.sampled_from([{}, {"overage_multiplier": "1.5"}])))
    for number in range(draw(st.integers(0, 2))):
        credit = {"key": f"credit{number}", "access": [{"amount": str(draw(amounts)), **window()}]}
        deal["credits"].append(credit | {"scope": draw(scopes), "priority": draw(st.integers(0, 3))})
    if draw(st.booleans()):
        deal["recurring_credits"] = [
            {"key": "weekly", "amount": str(draw(amounts)), "every": "week", "rollover": {"fraction": "0.5"}}
        ]
    for _ in range(draw(st.integers(0, 2))):
        off = draw(st.sampled_from([{"percent": "12.5"}, {"amount": "7"}]))
        deal["discounts"].append({**off, "scope": draw(scopes), **window()})
    if draw(st.booleans()):
        deal["overrides"].append({"kind": "multiplier", "multiplier": "0.85", "scope": draw(scopes), **window()})
    return deal


uses = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), instants, st.decimals(0, 90, places=1).map(str)), max_size=12
).map(tuple)


@st.composite
def statements(draw: st.DrawFn) -> tuple[Any, Statement]:
    rates = [rate(name, draw(prices()), commit_price=draw(st.none() | prices())) for name in ("a", "b")]
    made = inputs(rates, draw(deals()), *draw(uses))
    return made, build_statement(made)


@settings(max_examples=40, deadline=None)
@given(statements())
def test_the_parts_of_a_statement_add_up(drawn: tuple[Any, Statement]) -> None:
    made, statement = drawn
    assert statement.total == add(line.amount for line in statement.lines)
    assert statement.total == statement.subtotal - statement.discount - statement.credits_applied
    used: dict[str, Decimal] = {}
    for row in made.usage:
        used[row.product] = used.get(row.product, D(0)) + row.quantity
    for product, quantity in used.items():
        lines = [line for line in statement.lines if line.product == product and line.kind == "usage"]
        lost = [row for row in statement.unrated if row.product == product]
        assert add([*(line.quantity for line in lines), *(row.quantity for row in lost)]) == quantity


@settings(max_examples=40, deadline=None)
@given(statements())
def test_no_balance_falls_below_zero_and_every_draw_has_its_line(drawn: tuple[Any, Statement]) -> None:
    made, statement = drawn
    spent: dict[tuple[str, str], Decimal] = {}
    for draw in statement.draws:
        assert draw.amount >= 0
        spent[draw.balance, draw.segment] = spent.get((draw.balance, draw.segment), D(0)) + draw.amount
        line = statement.lines[draw.position - 1]
        assert (line.balance, line.segment) == (draw.balance, draw.segment)
        assert draw.kind == "postpaid_commit" or line.amount == -draw.amount
    for balance in made.balances:
        rolled = spent.get((balance.key, f"{balance.segment}-rolled"), D(0))
        if balance.amount is not None:
            assert spent.get(balance.id, D(0)) + rolled <= balance.amount


@settings(max_examples=40, deadline=None)
@given(statements())
def test_a_statement_is_recomputed_from_what_its_lines_say(drawn: tuple[Any, Statement]) -> None:
    _, statement = drawn
    for line in statement.lines:
        if line.kind == "usage":
            assert recomputed(line, statement.currency) == line.amount


@settings(max_examples=40, deadline=None)
@given(prices(), uses, st.sets(instants, max_size=4), st.decimals(0, 300, places=2))
def test_cutting_a_period_changes_no_exact_total(
    price: dict[str, Any], used: tuple[Any, ...], cuts: set[datetime], left: Decimal
) -> None:
    """Cuts made by discounts of nothing: more slices, the same charges before rounding."""
    whole = inputs({"a": price, "b": unit("1")}, None, *used)
    nothing = [{"percent": "0", "starting_at": each.isoformat()} for each in sorted(cuts)]
    cut = inputs({"a": price, "b": unit("1")}, {"discounts": nothing}, *used)

    def exact(statement: Statement) -> Decimal:
        return add(line.amount_exact for line in statement.lines)

    assert exact(build_statement(whole)) == exact(build_statement(cut))


@settings(max_examples=25, deadline=None)
@given(statements(), st.randoms(use_true_random=False))
def test_the_order_of_usage_rows_changes_nothing(drawn: tuple[Any, Statement], shuffle: Any) -> None:
    made, statement = drawn
    rows = list(made.usage)
    shuffle.shuffle(rows)
    assert build_statement(replace(made, usage=tuple(rows))) == statement


@settings(max_examples=25, deadline=None)
@given(prices(), st.integers(0, 100).map(lambda n: D(n) / 10), amounts, st.integers(0, 5))
def test_a_scaled_price_charges_scaled_amounts(
    price: dict[str, Any], multiplier: Decimal, quantity: Decimal, events: int
) -> None:
    parsed = parse_price(price)
    plain = charge(parsed, quantity, None, Events(events)).amount
    assert charge(scaled(parsed, multiplier), quantity, None, Events(events)).amount == plain * multiplier
    assert parse_price(price_as_dict(parsed)) == parsed


@settings(max_examples=40, deadline=None)
@given(prices(), amounts, amounts, amounts)
def test_what_an_amount_buys_costs_that_amount(
    price: dict[str, Any], amount: Decimal, prior: Decimal, most: Decimal
) -> None:
    parsed = parse_price(price)
    price_bands = bands(parsed)
    if price_bands is None:
        return
    quantity = quantity_for(price_bands, amount, prior, most)
    assert 0 <= quantity <= most
    cost = charge(parsed, quantity, prior).amount
    over = subtract(cost, amount)
    assert over < D("1e-30")
    if quantity < most:
        assert over > D("-1e-30")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 58), st.integers(0, 40)), unique_by=lambda change: change[0], max_size=4),
    st.sampled_from(["advance", "arrears"]),
)
def test_seats_cost_the_integral_of_their_number(changes: list[tuple[int, int]], billed: str) -> None:
    """With decreases at once, what is charged is the price times the seats held, second by second."""
    steps = [(day(1) + timedelta(days=offset), seats) for offset, seats in sorted(changes)]
    subscription = {
        "key": "s",
        "product": "a",
        "quantity": "10",
        "billed": billed,
        "decreases": "at_once",
        "changes": [{"at": at.isoformat(), "quantity": str(seats)} for at, seats in steps],
        "ending_before": "2026-03-01",
    }
    made = inputs({"a": unit("31")}, {"subscriptions": [subscription]})
    lines = [line for _, each in schedule(made, until=day(1, 3)) for line in each.lines]
    for month in (1, 2):
        period = Period(day(1, month), day(1, month + 1))
        lines += build_statement(replace(made, period=period, usage=tuple(sliced(made, ())))).lines
    held = D(0)
    for start, end, length in [(day(1), day(1, 2), 31), (day(1, 2), day(1, 3), 28)]:
        edges = [start, *(at for at, _ in steps if start < at < end), end]
        for first, last in pairwise(edges):
            seats = next((number for at, number in reversed(steps) if at <= first), 10)
            held += D(31) * seats * (last - first).days / length
    assert abs(sum((line.amount_exact for line in lines), D(0)) - held) < D("1e-20")
