"""Receivables by age, as a page whose amounts lead to their invoices, and as CSV."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from billing_project.api_csv import csv_text
from billing_project.decimals import plain
from catalog.money import add
from invoicing.models import Status
from invoicing.receivables import AGES, age_of, open_invoices, receivables, sums_by_currency

COLUMNS = (
    "customer",
    "customer_name",
    "invoice",
    "currency",
    "issued_on",
    "due_on",
    "days_overdue",
    "age",
    "total",
    "paid",
    "credited",
    "open",
)


def receivables_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    as_of = timezone.now()
    if request.GET.get("format") == "csv":
        answer = HttpResponse(_csv(as_of), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="receivables-{as_of:%Y-%m-%d}.csv"'
        return answer
    owed = receivables(as_of)
    shown = {
        "title": "Receivables",
        "as_of": as_of,
        "ages": list(AGES),
        "rows": [
            {
                "customer": row.customer,
                "currency": row.currency,
                "cells": _cells(row.by_age, {"owed_by": row.customer.pk, "currency": row.currency}),
                "total": row.total,
                "url": _url({"owed_by": row.customer.pk, "currency": row.currency}),
            }
            for row in owed
        ],
        "sums": [
            {"currency": currency, "cells": _cells(sums, {"currency": currency}), "total": add(sums.values())}
            for currency, sums in sums_by_currency(owed).items()
        ],
    }
    return render(request, "invoicing/receivables.html", {**context, **shown})


def _cells(by_age: Mapping[str, Decimal], query: Mapping[str, object]) -> list[dict[str, Any]]:
    return [{"age": age, "amount": amount, "url": _url({**query, "age": age})} for age, amount in by_age.items()]


def _url(query: Mapping[str, object]) -> str:
    return f"{reverse('admin:invoicing_invoice_changelist')}?{urlencode({'status__exact': Status.ISSUED, **query})}"


def _csv(as_of: datetime) -> str:
    rows = open_invoices().select_related("customer", "payer", "contract__customer").order_by("due_at", "pk")
    return csv_text(COLUMNS, (_row(invoice, as_of) for invoice in rows.iterator(2000)))


def _row(invoice: Any, as_of: datetime) -> list[object]:
    zone = invoice.contract.zone
    return [
        invoice.paid_by.key,
        invoice.paid_by.name,
        invoice.number,
        str(invoice.total.currency),
        invoice.issued_at.astimezone(zone).date().isoformat(),
        invoice.due_at.astimezone(zone).date().isoformat(),
        max((as_of - invoice.due_at).days, 0),
        age_of(invoice.due_at, as_of),
        plain(invoice.total.amount),
        plain(invoice.paid_amount),
        plain(invoice.credited_amount),
        plain(invoice.open_amount),
    ]
