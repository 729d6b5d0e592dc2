"""Reading and saving the grid of a rate card: its document, faults by cell, and the rates that come of it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from catalog.document_form import describe, place_text
from catalog.group_values import group_key, group_text, parse_group, parse_key
from catalog.models import Product, Rate, RateCard
from catalog.price_format import PriceError, parse_price, price_as_dict
from catalog.price_text import price_text
from catalog.price_words import WORDS
from catalog.prices import WrittenPrice
from catalog.rate_grid import Held, column_text, columns_of, planned, read_column

PRICE_FORM = describe(WrittenPrice, WORDS)
MOST_COLUMNS = 200
Row = tuple[str, str]  # product and group values, by key
Prices = dict[Any, Any]  # price documents by the instant they start


@dataclass(slots=True)
class Plan:
    """The rates each row of the grid is to have, and what is wrong, by the place of the row and the column."""

    rows: dict[Row, list[Held]] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)


def grid_document(card: RateCard) -> dict[str, Any]:
    """The grid as the page shows it."""
    rows = []
    held = _held(card)
    names = dict(Product.objects.values_list("key", "name"))
    commits = {rate.pk: rate.parsed_commit_price for rate in card.rates.exclude(commit_price=None)}
    for (product, where), rates in sorted(held.items(), key=lambda item: (names[item[0][0]], item[0][1])):
        group = dict(parse_key(where))
        cells = {}
        for rate in rates:
            price = parse_price(rate.price)
            commit = commits.get(rate.id or 0)
            cells[column_text(rate.starting_at)] = {
                "price": price_as_dict(price),
                "text": price_text(price, card.currency),
                "commit": price_text(commit, card.currency) if commit else "",
                "until": column_text(rate.ending_before),
            }
        rows.append(
            {"product": product, "name": names[product], "where": group, "group": group_text(group), "cells": cells}
        )
    columns = columns_of(rate for rates in held.values() for rate in rates)
    products = [
        {"value": each.key, "label": each.name, "keys": each.pricing_keys}
        for each in Product.objects.exclude(kind="fixed")
    ]
    return {
        "columns": [column_text(each) for each in columns] or [""],
        "rows": rows,
        "currency": card.currency,
        "products": products,
    }


def read_grid(card: RateCard, written: Any) -> Plan:
    """What the page sent. Rows it does not name stay as they are; so do prices that somebody else changed since the
    page was shown (`seen`), where the page leaves them as they were.
    """
    plan = Plan()
    held = _held(card)
    plan.rows.update(held)
    products = {each.key: each for each in Product.objects.all()}
    rows = written.get("rows", []) if isinstance(written, Mapping) else None
    if not isinstance(rows, list):
        plan.faults.append({"row": None, "column": None, "message": "The grid cannot be read: reload the page."})
        return plan
    for place, row in enumerate(rows):
        product = products.get(str(row.get("product"))) if isinstance(row, Mapping) else None
        if product is None:
            plan.faults.append({"row": place, "column": None, "message": "Choose a product."})
            continue
        try:
            key = (product.key, group_key(_group(product, row.get("where") or {})))
        except ValueError as error:
            plan.faults.append({"row": place, "column": None, "message": str(error)})
            continue
        cells = _cells(row, place, plan)
        if isinstance(row.get("seen"), Mapping):
            seen = _cells({"cells": row["seen"]}, place, plan)
            cells = _merged(cells, seen, held.get(key, []), _Place(place, card.currency, plan))
        plan.rows[key] = planned(held.get(key, []), cells)
    return plan


def _group(product: Product, written: Any) -> dict[str, str]:
    group = parse_group(written)
    if set(group) != set(product.pricing_keys):
        raise ValueError(f"Give a value for each pricing key: {', '.join(product.pricing_keys) or 'it has none'}.")
    return group


def _cells(row: Mapping[str, Any], place: int, plan: Plan) -> Prices:
    cells: Prices = {}
    written = row.get("cells")
    for column, price in list(written.items())[:MOST_COLUMNS] if isinstance(written, Mapping) else ():
        if price is None:
            continue
        try:
            cells[read_column(column)] = price_as_dict(parse_price(price))
        except PriceError as error:
            where = place_text(PRICE_FORM, error.path)
            number = bool(where) and error.code in ("type", "value")
            said = "write a number, such as 0.002" if number else error.message
            plan.faults.append({"row": place, "column": column, "message": f"{where or 'Price'}: {said}."})
        except ValueError:
            plan.faults.append({"row": place, "column": column, "message": f"{column} is no date."})
    return cells


@dataclass(frozen=True, slots=True)
class _Place:
    row: int
    currency: str
    plan: Plan


def _merged(cells: Prices, seen: Prices, held: list[Held], at: _Place) -> Prices:
    """The prices of a row by who changed them since the page was shown; both did, to different ones: a fault."""
    there = {rate.starting_at: rate.price for rate in held}
    merged = {}
    for start in {**there, **seen, **cells}:
        mine, shown, theirs = cells.get(start), seen.get(start), there.get(start)
        if not _same(theirs, shown) and not _same(mine, shown) and not _same(mine, theirs):
            text = price_text(parse_price(theirs), at.currency) if theirs else "no price"
            said = f"Somebody saved {text} here a moment ago. Save again to put yours in its place."
            fault = {"row": at.row, "column": column_text(start), "message": said, "now": theirs, "now_text": text}
            at.plan.faults.append(fault)
        kept = theirs if _same(mine, shown) else mine
        if kept is not None:
            merged[start] = kept
    return merged


def _same(one: Any, other: Any) -> bool:
    """0.50 is 0.5."""
    if one is None or other is None:
        return one is other
    return parse_price(one) == parse_price(other)


def save_grid(card: RateCard, plan: Plan) -> int:
    """Write the rates of the plan; how many were added, changed or taken out. Raises ValidationError."""
    products = {each.key: each for each in Product.objects.all()}
    with transaction.atomic():
        RateCard.objects.select_for_update().get(pk=card.pk)
        stored = {rate.pk: rate for rate in card.rates.select_related("product", "rate_card")}
        wanted = {rate.id for rates in plan.rows.values() for rate in rates}
        touched = 0
        with connection.cursor() as cursor:
            # A moved boundary between two rates overlaps until both are written.
            cursor.execute("SET CONSTRAINTS rates_do_not_overlap DEFERRED")
            for rate in stored.values():
                if rate.pk not in wanted:
                    rate.delete()
                    touched += 1
            for (product, where), rates in plan.rows.items():
                for held in rates:
                    touched += _write(card, products[product], where, held, stored)
            cursor.execute("SET CONSTRAINTS rates_do_not_overlap IMMEDIATE")
    return touched


def _write(card: RateCard, product: Product, where: str, held: Held, stored: Mapping[int, Rate]) -> int:
    rate = stored.get(held.id) if held.id else None
    if rate is None:
        before = [each for each in stored.values() if (each.product_id, each.where_key) == (product.pk, where)]
        kept = max(before, key=lambda each: (each.starting_at is not None, each.starting_at), default=None)
        rate = Rate(rate_card=card, product=product, where=dict(parse_key(where)))
        rate.unit, rate.commit_price = (kept.unit, kept.commit_price) if kept else ("", None)
    same_price = bool(held.id) and rate.parsed_price == parse_price(held.price)  # 0.50 is 0.5
    if same_price and rate.ending_before == held.ending_before:
        return 0
    rate.starting_at, rate.ending_before = held.starting_at, held.ending_before
    rate.price = rate.price if same_price else held.price
    rate.saved_with = frozenset(stored)
    try:
        rate.full_clean(validate_constraints=False)
    except ValidationError as error:
        raise ValidationError([f"{product}, {group_text(rate.where)}: {text}" for text in error.messages]) from error
    rate.save()
    return 1


def _held(card: RateCard) -> dict[Row, list[Held]]:
    rows: dict[Row, list[Held]] = defaultdict(list)
    for rate in card.rates.select_related("product").order_by("pk"):
        held = Held(rate.pk, rate.starting_at, rate.ending_before, price_as_dict(rate.parsed_price))
        rows[rate.product.key, rate.where_key].append(held)
    return dict(rows)
