"""The page of a step taken for many invoices: how far it is, what was refused. Each post takes it further."""

from typing import Any, cast

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render

from invoicing.admin.queue import list_url
from invoicing.admin.steps import STEPS
from invoicing.bulk_steps import go_on
from invoicing.models import BulkStep, Invoice, Status

LABELS = {step.name: (step.label, step.past, step.permission) for step in STEPS}
MOST_REFUSALS = 200


def bulk_page(request: HttpRequest, context: dict[str, Any], bulk: int) -> HttpResponse:
    found = get_object_or_404(BulkStep.objects.select_related("actor"), pk=bulk)
    user = cast("User", request.user)
    mine = found.actor_id == user.pk
    if request.method == "POST" and mine:
        found = go_on(bulk, user)
        if "application/json" not in request.headers.get("accept", ""):
            return redirect("admin:invoicing_bulk", bulk)
    label, past, _ = LABELS[found.step]
    names = {
        invoice.pk: f"{invoice.customer}, {invoice.number or invoice.contract.key}"
        for invoice in Invoice.objects.select_related("customer", "contract").filter(
            pk__in=[pk for pk, _ in found.refusals[:MOST_REFUSALS]]
        )
    }
    number = len(found.invoices)
    shown = {
        "title": f"{label}: {number:,} invoices",
        "bulk": found,
        "mine": mine,
        "number": number,
        "past": past,
        "percent": 100 * found.position // number if number else 100,
        "refusals": [(pk, names.get(pk, f"Invoice {pk}"), text) for pk, text in found.refusals[:MOST_REFUSALS]],
        "more_refusals": max(0, len(found.refusals) - MOST_REFUSALS),
        "back": list_url(Status.APPROVED if found.step == "approve" else Status.ISSUED),
    }
    if "application/json" in request.headers.get("accept", ""):
        parts = render(request, "invoicing/bulk_progress.html", shown).content.decode()
        return JsonResponse({"done": not found.left, "shown": parts})
    return render(request, "invoicing/bulk.html", {**context, **shown})
