"""The page of a rate card's grid: shown, and saved from what it posts."""

import json
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse

from catalog.card_grid import PRICE_FORM, grid_document, read_grid, save_grid
from catalog.models import RateCard


def grid_page(request: HttpRequest, card: RateCard, context: dict[str, Any], *, may_change: bool) -> HttpResponse:
    if request.method == "POST":
        if not may_change:
            raise PermissionDenied
        return _saved(request, card)
    shown = {"card": card, "grid": grid_document(card), "price_form": PRICE_FORM, "read_only": not may_change}
    return render(request, "catalog/grid.html", {**context, **shown})


def posted_grid(request: HttpRequest) -> Any:
    """The document the page sends; None when it is not one."""
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        return None


def _saved(request: HttpRequest, card: RateCard) -> HttpResponse:
    try:
        with transaction.atomic():
            # Of two who save at once, the second reads what the first one wrote.
            RateCard.objects.select_for_update().get(pk=card.pk)
            plan = read_grid(card, posted_grid(request))
            if plan.faults:
                return JsonResponse({"faults": plan.faults}, status=422)
            touched = save_grid(card, plan)
    except ValidationError as refusal:
        fault = {"row": None, "column": None, "message": " ".join(refusal.messages)}
        return JsonResponse({"faults": [fault]}, status=422)
    return JsonResponse({"saved": touched, "url": reverse("admin:catalog_ratecard_grid", args=[card.pk])})
