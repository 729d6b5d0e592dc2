"""The sidebar: links by URL name, shown to those who may open the list behind them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

GROUPS: dict[str, dict[str, str]] = {
    "Metering": {
        "admin:contracts_usage": "monitoring",
        "meters.meter": "speed",
        "meters.event": "sensors",
        "meters.subject": "tag",
        "meters.eventsource": "cloud_download",
        "meters.importrun": "history",
        "meters.rejectedevent": "block",
        "meters.conflict": "call_split",
        "meters.eventarchive": "inventory_2",
    },
    "Catalog": {
        "catalog.product": "category",
        "catalog.ratecard": "sell",
        "catalog.rate": "price_change",
        "catalog.taxrate": "account_balance",
    },
    "Contracts": {
        "contracts.customer": "groups",
        "contracts.contract": "contract",
        "contracts.contracttemplate": "inventory_2",
        "contracts.amendment": "edit_calendar",
        "contracts.dealguardrails": "shield",
        "admin:contracts_unclaimed": "help_center",
    },
    "Invoicing": {
        "admin:invoicing_review_queue": "fact_check",
        "invoicing.invoice": "receipt_long",
        "invoicing.lateusage": "history",
        "invoicing.payment": "payments",
        "invoicing.creditnote": "undo",
        "invoicing.recharge": "battery_charging_full",
        "invoicing.alert": "notifications_active",
        "invoicing.alertrule": "add_alert",
        "invoicing.webhookendpoint": "outgoing_mail",
        "invoicing.delivery": "outbox",
        "admin:invoicing_receivables": "hourglass_bottom",
        "admin:invoicing_month": "checklist",
        "admin:invoicing_waterfall": "waterfall_chart",
        "invoicing.autoapproval": "rule",
        "invoicing.stripepush": "sync_alt",
        "invoicing.chargeattempt": "credit_score",
        "invoicing.stripecustomer": "credit_card",
        "invoicing.stripeevent": "webhook",
        "invoicing.mirroredobject": "content_copy",
        "invoicing.exportrun": "upload_file",
    },
    "Access": {
        "auth.user": "person",
        "auth.group": "badge",
        "billing_project.apikey": "key",
        "billing_project.jobstate": "schedule",
    },
}

# Pages that are no model's list: their title, and the permission to open them.
PAGES = {
    "admin:contracts_usage": ("Usage explorer", "contracts.view_customer"),
    "admin:contracts_unclaimed": ("Unclaimed usage", "contracts.view_customer"),
    "admin:invoicing_review_queue": ("Review queue", "invoicing.view_invoice"),
    "admin:invoicing_receivables": ("Receivables", "invoicing.view_invoice"),
    "admin:invoicing_month": ("Month's close", "invoicing.view_invoice"),
    "admin:invoicing_waterfall": ("Deferred revenue", "invoicing.view_invoice"),
}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    for title, links in GROUPS.items():
        items = [{**item, "icon": icon} for name, icon in links.items() if (item := _item(request, name))]
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    # The address of a page may begin with that of a list: the longest that fits is where we are.
    addresses = [str(item["link"]) for group in groups for item in group["items"]]
    here = max((each for each in addresses if request.path.startswith(each)), key=len, default="")
    for group in groups:
        group["items"] = [{**item, "active": item["link"] == here} for item in group["items"]]
    return groups


def _item(request: HttpRequest, name: str) -> dict[str, str] | None:
    if name in PAGES:
        title, permission = PAGES[name]
        return {"title": title, "link": reverse(name)} if request.user.has_perm(permission) else None
    pages = {model._meta.label_lower: page for model, page in admin.site._registry.items()}
    if name not in pages or not pages[name].has_view_or_change_permission(request):
        return None
    title = capfirst(str(pages[name].opts.verbose_name_plural))
    return {"title": title, "link": reverse(f"admin:{name.replace('.', '_')}_changelist")}
