"""Meters, products and rate cards of a billing file."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection

from catalog.documents import write
from catalog.group_values import group_key, group_text, parse_group
from catalog.models import Product, Rate, RateCard
from catalog.price_format import parse_price, price_as_dict
from invoicing.billing_file.faults import Fault, Placed, model_faults
from invoicing.billing_file.plan import Step, step
from invoicing.billing_file.rows import upsert
from invoicing.billing_file.schema import Condition, MeterEntry, ProductEntry, RateCardEntry, RateEntry
from meters.models import Meter

METER_NAMES = {"event_types": "event_type", "value_property": "property", "value_expression": "value"}
PRODUCT_NAMES = {
    "multiply_by": "conversion.multiply_by",
    "divide_by": "conversion.divide_by",
    "rounding": "quantity_rounding.method",
    "rounding_places": "quantity_rounding.places",
}
Outcome = tuple[list[Step], list[Fault]]


def apply_meters(entries: Sequence[Placed[MeterEntry]]) -> Outcome:
    stored = {row.key: row for row in Meter.objects.filter(key__in=[each.entry.key for each in entries])}
    steps, faults = [], list[Fault]()
    for each in entries:
        entry = each.entry
        types = [entry.event_type] if isinstance(entry.event_type, str) else list(entry.event_type)
        values = {
            "name": entry.name or entry.key,
            "event_types": types,
            "aggregation": entry.aggregation,
            "value_property": entry.property or "",
            "value_expression": entry.value or "",
            "filters": [_condition(one) for one in entry.filters],
            "group_by": list(entry.group_by),
        }
        made, wrong = upsert(stored.get(entry.key) or Meter(key=entry.key), values, each.path, "meter", METER_NAMES)
        steps += [made] if made else []
        faults += [_at_filter(fault, each.path) for fault in wrong]
    return steps, faults


def _condition(condition: Condition) -> dict[str, Any]:
    written: dict[str, Any] = write(condition)
    return written


def _at_filter(fault: Fault, path: str) -> Fault:
    """The model says which condition is wrong at the start of its message."""
    start, colon, rest = fault.message.partition(": ")
    if fault.path == f"{path}.filters" and colon and start.startswith("filters["):
        return Fault(f"{path}.{start}", fault.code, rest)
    return fault


def apply_products(entries: Sequence[Placed[ProductEntry]]) -> Outcome:
    stored = {
        row.key: row
        for row in Product.objects.filter(key__in=[each.entry.key for each in entries]).select_related("meter")
    }
    meters = {row.key: row for row in Meter.objects.filter(key__in={each.entry.meter for each in entries} - {None})}
    faults = list(_unknown_spend(entries)) if any(each.entry.kind == "percent_of_spend" for each in entries) else []
    steps = []
    for each in entries:
        entry = each.entry
        if entry.meter is not None and entry.meter not in meters:
            faults.append(Fault(f"{each.path}.meter", "unknown", f"there is no meter {entry.meter}"))
            continue
        rounding = entry.quantity_rounding
        values = {
            "name": entry.name or entry.key,
            "kind": entry.kind,
            "meter": meters[entry.meter] if entry.meter else None,
            "of": write(entry.of),
            "pricing_keys": list(entry.pricing_keys),
            "presentation_keys": list(entry.presentation_keys),
            "multiply_by": entry.conversion.multiply_by,
            "divide_by": entry.conversion.divide_by,
            "rounding": rounding.method if rounding else "",
            "rounding_places": rounding.places if rounding else 0,
            "tags": list(entry.tags),
            **({} if entry.tax_category is None else {"tax_category": entry.tax_category}),
        }
        row = stored.get(entry.key) or Product(key=entry.key)
        made, wrong = upsert(row, values, each.path, "product", PRODUCT_NAMES)
        steps += [made] if made else []
        faults += wrong
    return steps, faults


def _unknown_spend(entries: Sequence[Placed[ProductEntry]]) -> Iterable[Fault]:
    """Shares of spend are of products there are, and of none that is a share itself: that would be a circle."""
    known = {key: (kind, tags) for key, kind, tags in Product.objects.values_list("key", "kind", "tags")}
    known |= {each.entry.key: (each.entry.kind, list(each.entry.tags)) for each in entries}
    tags = {tag for _, tags in known.values() for tag in tags}
    for each in entries:
        for index, key in enumerate(each.entry.of.products):
            if key not in known:
                yield Fault(f"{each.path}.of.products[{index}]", "unknown", f"there is no product {key}")
            elif known[key][0] == "percent_of_spend":
                message = f"{key} is a share of spend itself"
                yield Fault(f"{each.path}.of.products[{index}]", "circle", message)
        for index, tag in enumerate(each.entry.of.tags):
            shares = [key for key, (kind, named) in known.items() if kind == "percent_of_spend" and tag in named]
            if tag not in tags:
                yield Fault(f"{each.path}.of.tags[{index}]", "unknown", f"no product has the tag {tag}")
            elif shares:
                message = f"{min(shares)} has this tag and is a share of spend itself"
                yield Fault(f"{each.path}.of.tags[{index}]", "circle", message)


def apply_rate_cards(entries: Sequence[Placed[RateCardEntry]]) -> Outcome:
    stored = {row.key: row for row in RateCard.objects.filter(key__in=[each.entry.key for each in entries])}
    named = {rate.product for each in entries for rate in each.entry.rates}
    products = {row.key: row for row in Product.objects.filter(key__in=named)}
    steps, faults = [], list[Fault]()
    for each in entries:
        entry = each.entry
        row = stored.get(entry.key) or RateCard(key=entry.key)
        wrong = list(_moved_currency(row, each)) + list(_overlapping_units(each))
        values = {
            "name": entry.name or entry.key,
            "currency": entry.currency,
            "pricing_units": [write(unit) for unit in entry.pricing_units],
        }
        made, refused = (None, wrong) if wrong else upsert(row, values, each.path, "rate card")
        faults += refused
        if made:
            rate_steps, rate_faults = _CardRates(row, each, products).apply()
            steps += [made, *rate_steps]
            faults += rate_faults
    return steps, faults


def _moved_currency(row: RateCard, each: Placed[RateCardEntry]) -> Iterable[Fault]:
    if row.pk and row.currency != each.entry.currency and row.contracts.exists():
        message = f"contracts on this card are in {row.currency}: make another card"
        yield Fault(f"{each.path}.currency", "frozen", message)


def _overlapping_units(each: Placed[RateCardEntry]) -> Iterable[Fault]:
    units = each.entry.pricing_units
    for index, unit in enumerate(units):
        for other in units[:index]:
            apart = (unit.ending_before and other.starting_at and unit.ending_before <= other.starting_at) or (
                other.ending_before and unit.starting_at and other.ending_before <= unit.starting_at
            )
            if unit.key == other.key and not apart:
                message = f"overlaps another rate of {unit.key}"
                yield Fault(f"{each.path}.pricing_units[{index}].starting_at", "overlap", message)


class _CardRates:
    """The rates of one card. A rate is known by its product, group values and start; those that move together are
    compared as they are in the end.
    """

    def __init__(self, card: RateCard, placed_card: Placed[RateCardEntry], products: dict[str, Product]) -> None:
        self.card = card
        self.placed = [
            Placed(f"{placed_card.path}.rates[{index}]", rate) for index, rate in enumerate(placed_card.entry.rates)
        ]
        self.products = products
        self.faults: list[Fault] = []
        self.steps: list[Step] = []
        self.of_group: dict[tuple[int, str], list[Rate]] = defaultdict(list)
        rows = Rate.objects.filter(rate_card=card).select_related("product") if card.pk and self.placed else []
        self.stored = {(row.product_id, row.where_key, row.starting_at): row for row in rows}
        for row in self.stored.values():
            self.of_group[row.product_id, row.where_key].append(row)
        self.together = frozenset(row.pk for row in self.stored.values())

    def apply(self) -> Outcome:
        changed: list[tuple[str, Rate]] = []
        seen: dict[int, str] = {}
        for each in self.placed:
            row = self._row(each)
            if row is None:
                continue
            if id(row) in seen:
                self.faults.append(Fault(each.path, "repeated", f"is the same rate as {seen[id(row)]}"))
                continue
            seen[id(row)] = each.path
            if self._changes(row, each):
                changed.append((each.path, row))
        for path, row in changed:
            self._check_overlap(path, row)
        if not self.faults:
            self._save([row for _, row in changed])
        return self.steps, self.faults

    def _row(self, each: Placed[RateEntry]) -> Rate | None:
        product = self.products.get(each.entry.product)
        if product is None:
            message = f"there is no product {each.entry.product}"
            self.faults.append(Fault(f"{each.path}.product", "unknown", message))
            return None
        where_key = group_key(parse_group(each.entry.where))
        place = (product.pk, where_key, each.entry.starting_at)
        if place not in self.stored:
            row = Rate(rate_card=self.card, product=product, where_key=where_key, starting_at=each.entry.starting_at)
            self.stored[place] = row
            self.of_group[product.pk, where_key].append(row)
        return self.stored[place]

    def _changes(self, row: Rate, each: Placed[RateEntry]) -> bool:
        entry = each.entry
        values: dict[str, Any] = {
            "where": parse_group(entry.where),
            "ending_before": entry.ending_before,
            "price": price_as_dict(entry.price),
            "commit_price": price_as_dict(entry.commit_price) if entry.commit_price is not None else None,
            "unit": entry.unit,
        }
        is_new = row.pk is None
        before = {} if is_new else {name: _normal(name, getattr(row, name)) for name in values}
        changes = {name: (before.get(name), value) for name, value in values.items() if before.get(name) != value}
        if is_new or changes:
            for name, value in values.items():
                setattr(row, name, value)
            row.saved_with = self.together
            try:
                row.clean_fields(exclude={"rate_card", "product", "where_key"})
                row.rate_card = self.card
                row.clean()
            except ValidationError as error:
                self.faults += model_faults(each.path, error, {})
        name = " ".join(filter(None, [self.card.key, entry.product, group_text(row.where)]))
        start = f" from {entry.starting_at.isoformat()}" if entry.starting_at else ""
        self.steps.append(step("rate", name + start, is_new, changes))
        return is_new or bool(changes)

    def _check_overlap(self, path: str, row: Rate) -> None:
        for other in self.of_group[row.product_id, row.where_key]:
            if other is not row:
                try:
                    row.refuse_overlap(other)
                except ValidationError as error:
                    self.faults += model_faults(path, error, {})
                    return

    def _save(self, rows: Sequence[Rate]) -> None:
        if any(row.pk for row in rows):
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS rates_do_not_overlap DEFERRED")
        for row in rows:
            if row.pk:
                row.save()
        Rate.objects.bulk_create([row for row in rows if not row.pk], batch_size=1000)


def _normal(name: str, value: Any) -> Any:
    return price_as_dict(parse_price(value)) if value is not None and name in ("price", "commit_price") else value
