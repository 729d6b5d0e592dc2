"""A deal as a form field: its document as text, which the browser edits; faults by path. Templates have the same."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError

from catalog.document_form import place_text
from catalog.models import Product, RateCard
from contracts.deal_dates import read_document, shown_document
from contracts.deal_format import Catalog, DealError, Fault, deal_as_dict, parse_deal
from contracts.deal_words import deal_form
from meters.models import Meter

NUMBER_EXPECTED = ("decimal", "`int", "`float")


class DealField(forms.Field):
    """The document as JSON, its instants as local times. Cleaned: the document, not read yet."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> dict[str, Any]:
        try:
            written = json.loads(value or "{}", parse_float=Decimal)
        except json.JSONDecodeError as error:
            raise ValidationError(
                f"This is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).", code="json"
            ) from error
        except RecursionError as error:
            raise ValidationError("This is nested too deep to be a deal.", code="json") from error
        if not isinstance(written, dict):
            raise ValidationError('Write the deal as an object: {"commits": []}.', code="json")
        return written

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(initial) != self.to_python(data))
        except ValidationError:
            return True


def deal_text(deal: Mapping[str, Any], zone: ZoneInfo) -> str:
    """The deal as the form's field holds it."""
    return document_text(shown_document(deal, zone))


def document_text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2)


def read_deal(written: Mapping[str, Any], zone: ZoneInfo, catalog: Catalog | None) -> dict[str, Any]:
    """What the form sent as it is stored. Raises DealError."""
    return deal_as_dict(parse_deal(read_document(written, zone), zone, catalog))


def spoken(fault: Fault, form: Mapping[str, Any] | None = None) -> dict[str, str]:
    """A fault for a screen: its path, and a sentence without the words of programmers. `form`: of a deal."""
    message = fault.message
    if fault.code in ("type", "value") and any(word in message for word in NUMBER_EXPECTED):
        message = "write a number, such as 1250 or 0.002"
    elif fault.code in ("type", "value") and "datetime" in message:
        message = "write a date, such as 2026-03-01"
    elif "matching regex" in message or "length >= 1" in message:
        message = "give a key without spaces at its ends"
    elif fault.code == "duration" and "write a duration" in message:
        message = "write a whole number of days, weeks, months or years"
    elif fault.code == "missing":
        message = "is needed"
    return {
        "path": fault.path,
        "place": place_text(form or deal_form(), fault.path),
        "message": f"{message[:1].upper()}{message[1:]}.",
    }


def faults_by_path(error: DealError, form: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    return [spoken(fault, form) for fault in error.faults]


def suggestions(card: RateCard | None) -> dict[str, list[Any]]:
    """What a deal may name, for the lists people choose from."""
    products = list(Product.objects.select_related("meter"))
    named = {kind: [_named(each) for each in products if each.kind == kind] for kind in Product.Kind.values}
    return {
        "products": [_named(each) for each in products],
        "subscription_products": named["subscription"],
        "fixed_products": named["fixed"],
        "tags": sorted({tag for each in products for tag in each.tags}),
        "group_keys": sorted({key for each in products for key in (*each.pricing_keys, *each.presentation_keys)}),
        "meters": [{"value": key, "label": name} for key, name in Meter.objects.values_list("key", "name")],
        "units": sorted({unit.key for unit in card.parsed_units}) if card else [],
    }


def _named(product: Product) -> dict[str, str]:
    return {"value": product.key, "label": product.name}
