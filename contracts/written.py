"""Customers and contracts as the entries of a billing file: what the API shows, and what may be sent back as it is."""

from typing import Any

from billing_project.decimals import plain
from catalog.written import written_instant
from contracts.models import Anchor, Contract, Customer


def written_customer(customer: Customer) -> dict[str, Any]:
    """Expects its keys read along."""
    return {
        "key": customer.key,
        "name": customer.name,
        "timezone": customer.timezone,
        "aliases": sorted(each.key for each in customer.keys.all() if each.key != customer.key),
        "email": customer.email,
        "address": customer.address,
        "country": customer.country,
        "region": customer.region,
        "locale": customer.locale,
        "tax": {
            "rate": None if customer.tax_rate is None else plain(customer.tax_rate),
            "id": customer.tax_id,
            "treatment": customer.tax_treatment,
            "note": customer.tax_note,
        },
    }


def written_contract(contract: Contract) -> dict[str, Any]:
    """Columns and deal as one document. Expects customer and rate card read along."""
    dated = contract.billing_anchor == Anchor.DATE and contract.anchor_date
    return {
        "key": contract.key,
        "name": contract.name,
        "customer": contract.customer.key,
        "rate_card": contract.rate_card.key,
        "starting_at": written_instant(contract.starting_at),
        "ending_before": written_instant(contract.ending_before),
        "timezone": contract.timezone,
        "billing": {
            "every": contract.billing_every,
            "anchor": contract.anchor_date.isoformat() if dated and contract.anchor_date else contract.billing_anchor,
        },
        "net_days": contract.net_days,
        "purchase_order": contract.purchase_order,
        "shadow": contract.shadow,
        **contract.deal,
    }
