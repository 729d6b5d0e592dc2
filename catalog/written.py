"""The catalog's rows as the entries of a billing file: what the API shows, and what may be sent back as it is."""

from datetime import UTC, datetime
from typing import Any

from billing_project.decimals import plain
from catalog.documents import write
from catalog.models import Product, Rate, RateCard


def written_product(product: Product) -> dict[str, Any]:
    """Expects its meter read along."""
    rounding = {"method": product.rounding, "places": product.rounding_places}
    return {
        "key": product.key,
        "name": product.name,
        "kind": product.kind,
        "meter": product.meter.key if product.meter else None,
        "pricing_keys": product.pricing_keys,
        "presentation_keys": product.presentation_keys,
        "conversion": {"multiply_by": plain(product.multiply_by), "divide_by": plain(product.divide_by)},
        "quantity_rounding": rounding if product.rounding else None,
        "of": product.of,
        "tags": product.tags,
        "tax_category": product.tax_category,
    }


def written_card(card: RateCard) -> dict[str, Any]:
    """Without its rates."""
    return {
        "key": card.key,
        "name": card.name,
        "currency": card.currency,
        "pricing_units": [write(unit) for unit in card.parsed_units],
    }


def written_rate(rate: Rate) -> dict[str, Any]:
    """Expects its product read along."""
    return {
        "product": rate.product.key,
        "where": rate.where,
        "starting_at": written_instant(rate.starting_at),
        "ending_before": written_instant(rate.ending_before),
        "unit": rate.unit,
        "price": rate.price,
        "commit_price": rate.commit_price,
    }


def written_instant(instant: datetime | None) -> str | None:
    return instant.astimezone(UTC).isoformat() if instant else None
