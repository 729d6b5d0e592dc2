"""The sidebar: links by URL name, shown to those who may see the list behind them."""

from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

GROUPS: list[tuple[str, str, list[tuple[str, str]]]] = [
    (
        "Metering",
        "meters",
        [
            ("meter", "speed"),
            ("event", "sensors"),
            ("rejectedevent", "block"),
            ("conflict", "call_split"),
            ("subject", "tag"),
        ],
    ),
    (
        "Catalog",
        "catalog",
        [
            ("product", "category"),
            ("ratecard", "sell"),
            ("rate", "price_change"),
        ],
    ),
    (
        "Contracts",
        "contracts",
        [
            ("customer", "groups"),
            ("contract", "contract"),
        ],
    ),
    (
        "Invoicing",
        "invoicing",
        [
            ("invoice", "receipt_long"),
        ],
    ),
    (
        "Access",
        "auth",
        [
            ("user", "person"),
            ("group", "badge"),
        ],
    ),
    (
        "API",
        "billing_project",
        [
            ("apikey", "key"),
        ],
    ),
]


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    return []
