"""The rates of a card as a grid: which rates a row of prices makes, what the page saves and refuses."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import Rate, RateCard
from catalog.rate_grid import Held, column_text, columns_of, planned, price_at, read_column
from tests import factories
from tests.factories import day

JULY = day(1, month=7)
Span = tuple[int | None, Any, Any, str]


def spans(held: Sequence[Held]) -> list[Span]:
    return [(each.id, each.starting_at, each.ending_before, each.price) for each in held]


@pytest.mark.parametrize(
    ("held", "cells", "made"),
    [
        ([], {None: "a"}, [(None, None, None, "a")]),
        ([Held(1, None, None, "a")], {None: "a", JULY: "b"}, [(1, None, JULY, "a"), (None, JULY, None, "b")]),
        (
            [Held(1, None, JULY, "a"), Held(2, JULY, None, "b")],
            {None: "a"},
            [(1, None, None, "a")],
        ),
        ([Held(1, None, JULY, "a")], {None: "b"}, [(1, None, JULY, "b")]),
        (
            [Held(1, None, day(1), "a"), Held(2, JULY, None, "b")],
            {None: "a", JULY: "c"},
            [(1, None, day(1), "a"), (2, JULY, None, "c")],
        ),
        (
            [Held(1, None, day(1), "a")],
            {None: "a", JULY: "b"},
            [(1, None, day(1), "a"), (None, JULY, None, "b")],
        ),
        (
            [Held(1, day(1), JULY, "a")],
            {day(1): "a", day(1, 3): "b"},
            [(1, day(1), day(1, 3), "a"), (None, day(1, 3), JULY, "b")],
        ),
    ],
    ids=["first", "planned", "taken out", "changed", "a gap stays", "after a gap", "within a span"],
)
def test_a_row_of_prices_as_rates(held: list[Held], cells: dict[Any, str], made: list[Span]) -> None:
    assert spans(planned(held, cells)) == made


STARTS = st.sets(st.one_of(st.none(), st.integers(1, 28).map(day)), min_size=1, max_size=6)


@given(before=STARTS, after=STARTS)
def test_rates_never_overlap_and_leave_no_gap_that_was_not_there(before: set[Any], after: set[Any]) -> None:
    held = planned([], dict.fromkeys(before, "old"))
    made = planned(held, dict.fromkeys(after, "new"))
    for earlier, later in pairwise(made):
        assert earlier.ending_before == later.starting_at
    assert made[-1].ending_before is None
    assert columns_of(made) == [each.starting_at for each in made]
    assert spans(planned(made, {each.starting_at: each.price for each in made})) == spans(made)


def test_the_price_at_an_instant() -> None:
    held = [Held(1, None, day(5), "a"), Held(2, day(5), day(9), "b")]
    assert [price_at(held, day(n)) for n in (4, 5, 9)] == [held[0], held[1], None]


@pytest.mark.parametrize("instant", [None, JULY, datetime(2026, 7, 1, 14, 20, tzinfo=UTC)])
def test_columns_as_text(instant: datetime | None) -> None:
    assert read_column(column_text(instant)) == instant


# --- the page ------------------------------------------------------------------------------------------------------

pages = pytest.mark.django_db
UNIT = {"model": "per_unit", "unit_amount": "0.5"}
DEARER = {"model": "per_unit", "unit_amount": "0.7"}


@pytest.fixture
def card(db: None) -> RateCard:
    rate = factories.RateFactory.create(product__key="api", unit="", commit_price={"model": "flat", "amount": "1"})
    return RateCard.objects.get(pk=rate.rate_card_id)


@pytest.fixture
def sales(client: Client) -> Client:
    client.force_login(factories.user("Sales ops"))
    return client


def grid_url(card: RateCard) -> str:
    return reverse("admin:catalog_ratecard_grid", args=[card.pk])


def post(client: Client, url: str, body: Any) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(url, text, content_type="application/json")


def row(**cells: Any) -> dict[str, Any]:
    return {"rows": [{"product": "api", "where": {}, "cells": {key.strip("_"): price for key, price in cells.items()}}]}


@pages
def test_a_planned_price_ends_the_one_before(sales: Client, card: RateCard) -> None:
    answer = post(
        sales, grid_url(card), {"rows": [{"product": "api", "where": {}, "cells": {"": UNIT, "2026-07-01": DEARER}}]}
    )
    assert answer.json()["saved"] == 2
    old, new = Rate.objects.order_by("pk")
    assert (old.ending_before, old.price) == (JULY, factories.PER_UNIT)
    assert (new.starting_at, new.ending_before, new.price, new.commit_price) == (JULY, None, DEARER, old.commit_price)
    shown = sales.get(grid_url(card)).context["grid"]
    assert shown["columns"] == ["", "2026-07-01"]
    assert shown["rows"][0]["cells"]["2026-07-01"]["text"] == "0.70 USD per unit"
    again = {
        "rows": [{**shown["rows"][0], "cells": {key: cell["price"] for key, cell in shown["rows"][0]["cells"].items()}}]
    }
    assert post(sales, grid_url(card), again).json()["saved"] == 0
    assert post(sales, grid_url(card), {"rows": [{"product": "api", "cells": {"": UNIT}}]}).json()["saved"] == 2
    assert Rate.objects.get().ending_before is None


@pages
def test_a_product_is_added(sales: Client, card: RateCard) -> None:
    factories.ProductFactory.create(key="by-model", meter__group_by=["model"], pricing_keys=["model"])
    added = {"product": "by-model", "where": {"model": "gpt-4o"}, "cells": {"2026-07-01": UNIT}}
    assert post(sales, grid_url(card), {"rows": [added]}).json()["saved"] == 1
    rate = Rate.objects.get(product__key="by-model")
    assert (rate.where, rate.starting_at, rate.rate_card) == ({"model": "gpt-4o"}, JULY, card)
    answer = post(sales, grid_url(card), {"rows": [{**added, "where": {}}]})
    assert answer.json()["faults"] == [
        {"row": 0, "column": None, "message": "Give a value for each pricing key: model."}
    ]


@pages
@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (row(_=UNIT) | {"rows": [{"product": "no"}]}, (0, None, "Choose a product.")),
        (
            {"rows": [{"product": "api", "cells": {"": {"model": "per_unit", "unit_amount": "x"}}}]},
            (0, "", "Price per unit: write a number, such as 0.002."),
        ),
        (
            {"rows": [{"product": "api", "cells": {"": {"model": "per_unit", "unit_amount": "-1"}}}]},
            (0, "", "Price per unit: is '-1'; must not be negative."),
        ),
        (
            {"rows": [{"product": "api", "cells": {"": 5}}]},
            (0, "", "Price: a price is an object with a model, such as per_unit."),
        ),
        ({"rows": [{"product": "api", "cells": {"soon": UNIT}}]}, (0, "soon", "soon is no date.")),
        ({"rows": [7]}, (0, None, "Choose a product.")),
        ({"rows": 7}, (None, None, "The grid cannot be read: reload the page.")),
        ("{", (None, None, "The grid cannot be read: reload the page.")),
    ],
)
def test_a_fault_stands_at_its_cell(sales: Client, card: RateCard, body: Any, fault: Any) -> None:
    answer = post(sales, grid_url(card), body)
    assert answer.status_code == 422
    assert [(each["row"], each["column"], each["message"]) for each in answer.json()["faults"]] == [fault]
    assert Rate.objects.get().price == factories.PER_UNIT


@pages
@pytest.mark.parametrize("role", ["Auditor", "Finance"])
def test_others_read_the_grid(client: Client, card: RateCard, role: str) -> None:
    client.force_login(factories.user(role))
    assert client.get(grid_url(card)).context["read_only"]
    assert post(client, grid_url(card), {"rows": []}).status_code == 403


@pages
def test_strangers_see_no_grid(client: Client, card: RateCard) -> None:
    client.force_login(factories.user("Service"))
    assert client.get(grid_url(card)).status_code == 403


def seen(shown: dict[str, Any], **cells: Any) -> dict[str, Any]:
    """What the page sends that was shown these prices: without a change but for `cells`."""
    made = {**shown, **{key.strip("_"): price for key, price in cells.items()}}
    return {"rows": [{"product": "api", "where": {}, "seen": shown, "cells": made}]}


@pages
def test_of_two_who_change_one_price_the_second_is_told_at_the_cell(sales: Client, card: RateCard) -> None:
    cheaper = {"model": "per_unit", "unit_amount": "0.3"}
    assert post(sales, grid_url(card), seen({"": UNIT}, _=DEARER)).json()["saved"] == 1
    answer = post(sales, grid_url(card), seen({"": UNIT}, _=cheaper))
    assert answer.status_code == 422
    (told,) = answer.json()["faults"]
    assert (told["row"], told["column"], told["now"]) == (0, "", DEARER)
    assert told["message"].startswith("Somebody saved 0.70 USD per unit here a moment ago.")
    assert Rate.objects.get().price == DEARER
    assert post(sales, grid_url(card), seen({"": DEARER}, _=cheaper)).json()["saved"] == 1
    assert Rate.objects.get().price == cheaper


@pages
def test_what_another_added_stays_where_the_page_did_not_touch_it(sales: Client, card: RateCard) -> None:
    post(sales, grid_url(card), seen({"": UNIT}, **{"2026-07-01": DEARER}))
    assert post(sales, grid_url(card), seen({"": UNIT})).json()["saved"] == 0
    assert post(sales, grid_url(card), seen({"": {**UNIT, "unit_amount": "0.50"}}, _=DEARER)).json()["saved"] == 1
    assert [rate.price for rate in Rate.objects.order_by("pk")] == [DEARER, DEARER]
    gone = post(sales, grid_url(card), {"rows": [{"product": "api", "seen": {"": UNIT}, "cells": {}}]})
    assert gone.json()["faults"][0]["now"] == DEARER
    assert Rate.objects.count() == 2
