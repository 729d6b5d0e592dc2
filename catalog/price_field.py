"""The price of a rate as a form field: a price model, that model's amounts, and a table of tiers."""

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from catalog.price_format import PriceError, parse_price, price_as_dict

CHOICES = {
    "per_unit": "Per unit",
    "package": "Package (started packages)",
    "graduated": "Graduated (each unit at the price of its tier)",
    "volume": "Volume (all units at the price of the tier reached)",
    "flat": "Flat fee per period",
}
# Field of the format -> label, the models that have it.
AMOUNTS = {
    "size": ("Units per package", ("package",)),
    "amount": ("Amount", ("package", "flat")),
    "unit_amount": ("Price per unit", ("per_unit",)),
    "free_units": ("Free units", ("per_unit", "package")),
}
TIERED = ("graduated", "volume")
TIER_COLUMNS = {
    "up_to": "Up to",
    "unit_amount": "Price per unit",
    "flat_amount": "Flat fee",
    "size": "Per started",
}


class PriceWidget(forms.Widget):
    """Shows only the chosen model's inputs; rows of tiers are added and removed in the browser."""

    template_name = "catalog/price_widget.html"

    class Media:
        css = {"all": ["catalog/price.css"]}
        js = ["catalog/price.js"]

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        price = value if isinstance(value, Mapping) else {}
        model = price.get("model") or "per_unit"
        context["price"] = {
            "models": [(key, label, key == model) for key, label in CHOICES.items()],
            "amounts": [
                {"name": key, "label": label, "models": models, "value": price.get(key), "shown": model in models}
                for key, (label, models) in AMOUNTS.items()
            ],
            "tiered": TIERED,
            "tiers_shown": model in TIERED,
            "columns": TIER_COLUMNS,
            "tiers": [[(key, tier.get(key)) for key in TIER_COLUMNS] for tier in price.get("tiers") or [{}, {}]],
        }
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        model = data.get(f"{name}-model")
        if model is None:
            return None
        price = {"model": model}
        price |= {
            key: written
            for key, (_, models) in AMOUNTS.items()
            if model in models and (written := (data.get(f"{name}-{key}") or "").strip())
        }
        if model in TIERED:
            price["tiers"] = self._tiers(data, name)
        return price

    def _tiers(self, data: Any, name: str) -> list[dict[str, str]]:
        columns = [[(key, written.strip()) for written in data.getlist(f"{name}-tier-{key}")] for key in TIER_COLUMNS]
        rows = [{key: written for key, written in row if written} for row in zip(*columns, strict=False)]
        return [row for row in rows if row]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return f"{name}-model" not in data

    def id_for_label(self, id_: str) -> str:
        return f"{id_}-model"


class PriceField(forms.Field):
    """Reads and gives prices in the billing file's PRICE format."""

    widget = PriceWidget

    def clean(self, value: Any) -> dict[str, Any]:
        try:
            return price_as_dict(parse_price(value))
        except PriceError as error:
            raise ValidationError(f"{path_label(error.path)}: {error.message}.", code="price") from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        if not initial:
            return bool(data) and data != {"model": "per_unit"}
        try:
            return parse_price(initial) != parse_price(data)
        except PriceError:
            return True


def path_label(path: str) -> str:
    """Where in the price, as the form calls it: `tiers[1].up_to` is tier 2, up to."""
    tier = re.match(r"tiers\[(\d+)]\.?", path)
    if tier:
        column = TIER_COLUMNS.get(path[tier.end() :], path[tier.end() :])
        return f"Tier {int(tier[1]) + 1}, {column.lower()}" if column else f"Tier {int(tier[1]) + 1}"
    if path == "tiers":
        return "Tiers"
    return AMOUNTS[path][0] if path in AMOUNTS else path.capitalize() or "Price"
