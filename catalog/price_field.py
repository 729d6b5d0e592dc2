"""The price of a rate as a form field: a price model, that model's amounts, and a table of tiers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from catalog.price_format import PriceError, parse_price, price_as_dict
from catalog.price_words import AMOUNTS, CHOICES, PLACEHOLDERS, TIER_COLUMNS, TIERED


@dataclass(frozen=True, slots=True)
class Input:
    """One text input of the widget."""

    name: str
    value: str
    label: str
    models: tuple[str, ...]
    shown: bool

    @property
    def placeholder(self) -> str:
        return PLACEHOLDERS.get(self.name, "" if "per event" in self.label else "0")


def _inputs(columns: Mapping[str, tuple[str, tuple[str, ...]]], model: str, values: Mapping[str, Any]) -> list[Input]:
    return [
        Input(name, "" if (value := values.get(name)) is None else str(value), label, models, model in models)
        for name, (label, models) in columns.items()
    ]


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
            "amounts": _inputs(AMOUNTS, model, price),
            "tiered": TIERED,
            "tiers_shown": model in TIERED,
            "columns": _inputs(TIER_COLUMNS, model, {}),
            "tiers": [_inputs(TIER_COLUMNS, model, tier) for tier in price.get("tiers") or [{}, {}]],
        }
        return context

    def _render(self, template_name: str, context: dict[str, Any], renderer: Any = None) -> SafeString:
        return render_to_string(template_name, context)  # django's form renderer looks in apps only

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
            price["tiers"] = self._tiers(data, name, model)
        return price

    def _tiers(self, data: Any, name: str, model: str) -> list[dict[str, str]]:
        names = [key for key, (_, models) in TIER_COLUMNS.items() if model in models]
        columns = [[(key, each.strip()) for each in data.getlist(f"{name}-tier-{key}")] for key in names]
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
            raise ValidationError(f"{_label(error.path)}: {_sentence(error)}.", code="price") from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        if not initial:
            return bool(data) and data != {"model": "per_unit"}
        try:
            return bool(parse_price(initial) != parse_price(data))
        except PriceError:
            return True


def _label(path: str) -> str:
    """Where in the price, as the form calls it: `tiers[1].up_to` is tier 2, up to."""
    tier = re.fullmatch(r"tiers\[(\d+)]\.?(\w*)", path)
    if tier:
        label, _ = TIER_COLUMNS.get(tier[2], (tier[2], ()))
        return ", ".join(filter(None, [f"Tier {int(tier[1]) + 1}", label.lower()]))
    label, _ = AMOUNTS.get(path, (path.capitalize() or "Price", ()))
    return label


def _sentence(error: PriceError) -> str:
    if error.code in {"value", "type"}:
        return "write a number, such as 1250 or 0.002"
    return error.message
