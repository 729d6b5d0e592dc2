"""Shadow contracts beside what was billed, per closed period and line."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from catalog.money import add, divide, multiply, subtract
from contracts.lines import KINDS_SHOWN
from contracts.models import Contract
from contracts.period_text import period_text
from invoicing.shadows import ComparedLine, Comparison, comparisons

LATEST = 24
HUNDRED = Decimal(100)


def shadows_of(contract: Contract) -> list[Contract]:
    """The contract itself if it is a shadow, else the shadows that stand beside it."""
    known = Contract.objects.select_related("customer", "rate_card")
    if contract.shadow:
        return list(known.filter(pk=contract.pk))
    return list(known.filter(customer=contract.customer_id, currency=contract.currency, shadow=True))


def shadow_page(request: HttpRequest, context: dict[str, Any], contract: int) -> HttpResponse:
    agreed = get_object_or_404(Contract.objects.select_related("customer"), pk=contract)
    shadows = shadows_of(agreed)
    now = timezone.now()
    found = comparisons(shadows, now, LATEST)
    shown = {
        "title": f"Shadow comparison: {agreed.customer}",
        "contract": agreed,
        "shadows": [_shown(each, [row for row in found if row.contract.pk == each.pk], now) for each in shadows],
        "latest": LATEST,
    }
    return render(request, "invoicing/shadow.html", {**context, **shown})


def _shown(shadow: Contract, rows: Sequence[Comparison], now: datetime) -> dict[str, Any]:
    actual, would_be = add(row.actual for row in rows), add(row.shadow for row in rows)
    return {
        "contract": shadow,
        "currency": shadow.currency,
        "begun": shadow.starting_at <= now,
        "periods": [
            {
                "span": period_text(row.period.starting_at, row.period.ending_before, shadow.zone),
                "sums": _sums(row.actual, row.shadow),
                "lines": [{"line": line, "sums": _sums(line.actual, line.shadow)} for line in _in_order(row.lines)],
            }
            for row in reversed(rows)
        ],
        "sums": _sums(actual, would_be),
    }


def _in_order(lines: Iterable[ComparedLine]) -> list[ComparedLine]:
    """As on an invoice: usage first, discounts and draws after it."""
    kinds = {kind: place for place, kind in enumerate(KINDS_SHOWN)}
    return sorted(lines, key=lambda line: (kinds.get(line.kind, len(kinds)), line.kind, line.name, line.group))


def _sums(actual: Decimal, shadow: Decimal) -> dict[str, Any]:
    return {
        "actual": actual,
        "shadow": shadow,
        "difference": subtract(shadow, actual),
        "percent": percent_text(actual, shadow),
    }


def percent_text(before: Decimal, after: Decimal) -> str:
    """How much more or less, in percent with one place; empty where there was nothing before."""
    if before == after:
        return "0%" if before else ""
    if not before:
        return ""
    change = divide(multiply(subtract(after, before), HUNDRED), abs(before))
    return f"{change:+.1f}%"
