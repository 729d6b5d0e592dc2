"""The sidebar: links by URL name, shown to those who may open the list behind them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

GROUPS: dict[str, dict[str, str]] = {
    "Metering": {
        "meters.meter": "speed",
        "meters.event": "sensors",
        "meters.subject": "tag",
        "meters.rejectedevent": "block",
        "meters.conflict": "call_split",
    },
    "Catalog": {
        "catalog.product": "category",
        "catalog.ratecard": "sell",
        "catalog.rate": "price_change",
    },
    "Contracts": {
        "contracts.customer": "groups",
        "contracts.contract": "contract",
    },
    "Invoicing": {
        "invoicing.invoice": "receipt_long",
    },
    "Access": {
        "auth.user": "person",
        "auth.group": "badge",
        "billing_project.apikey": "key",
    },
}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    pages = {model._meta.label_lower: page for model, page in admin.site._registry.items()}
    groups = []
    for title, links in GROUPS.items():
        items = [
            {
                "title": capfirst(str(pages[label].opts.verbose_name_plural)),
                "icon": icon,
                "link": reverse(f"admin:{label.replace('.', '_')}_changelist"),
            }
            for label, icon in links.items()
            if label in pages and pages[label].has_view_or_change_permission(request)
        ]
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    return groups
