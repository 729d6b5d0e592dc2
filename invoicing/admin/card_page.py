"""What planned prices of a rate card would have meant, asked for by its grid."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse

from catalog.admin import RateCardAdmin
from catalog.card_grid import read_grid
from catalog.grid_page import posted_grid
from catalog.models import RateCard
from catalog.price_text import amount_text
from catalog.rate_grid import read_column
from contracts.period_text import period_text
from invoicing.price_impact import Effect, effects, prices_at, units_of_rows

admin.site.unregister(RateCard)


@admin.register(RateCard)
class BilledRateCardAdmin(RateCardAdmin):
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.impact)
        return [path("<int:card>/impact/", view, name="invoicing_ratecard_impact"), *super().get_urls()]

    def impact(self, request: HttpRequest, card: int) -> HttpResponse:
        """Some contracts at a time: `next` says after which to go on. Writes nothing."""
        found = get_object_or_404(RateCard, pk=card)
        allowed = self.has_view_permission(request, found) and request.user.has_perm("invoicing.view_invoice")
        if not allowed or request.method != "POST":
            raise PermissionDenied
        written = posted_grid(request)
        plan = read_grid(found, written)
        if plan.faults:
            return JsonResponse({"faults": plan.faults}, status=422)
        try:
            at = read_column(str(written.get("at") or ""))
            after = int(written.get("after") or 0)
        except (TypeError, ValueError):
            at, after = None, 0
        if at is None:
            fault = {"row": None, "column": None, "message": "Choose the day of the planned prices."}
            return JsonResponse({"faults": [fault]}, status=422)
        rows, more = effects(found, prices_at(plan.rows, at, units_of_rows(found)), after)
        return JsonResponse({"rows": [_shown(row, found.currency) for row in rows], "next": more})


def _shown(effect: Effect, currency: str) -> dict[str, Any]:
    period, contract = effect.period, effect.contract
    return {
        "contract": str(contract),
        "customer": str(contract.customer),
        "url": reverse("admin:contracts_contract_change", args=[contract.pk]),
        "period": period_text(period.starting_at, period.ending_before, contract.zone),
        "billed": amount_text(effect.billed, currency),
        "would_be": amount_text(effect.would_be, currency),
        "difference": amount_text(effect.difference, currency),
        "sign": (effect.difference > 0) - (effect.difference < 0),
        # Whole minor units would not do for a sum of three-place currencies; text keeps every digit.
        "exact": [str(effect.billed), str(effect.would_be)],
    }
