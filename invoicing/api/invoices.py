"""Invoices: list, and read with the lines and why each is what it is."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django_filters import rest_framework as filters
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.decimals import plain
from catalog.written import written_instant
from invoicing.api import examples
from invoicing.api.docs import listed, read, ref
from invoicing.api.rows import OneView, RowsView
from invoicing.api.writing import customer_of
from invoicing.billing_file.results import as_invoice, invoice_row, line_row
from invoicing.draft_rows import Built
from invoicing.drafts import current
from invoicing.models import Invoice, InvoiceLine, Status


class InvoiceFilter(filters.FilterSet):  # type: ignore[misc]
    customer = filters.CharFilter("customer__keys__key", help_text="Key or alias.")
    contract = filters.CharFilter("contract__key")
    kind = filters.ChoiceFilter(choices=Invoice.Kind.choices)
    status = filters.MultipleChoiceFilter(choices=Status.choices, help_text="Repeat it for several.")
    number = filters.CharFilter()
    currency = filters.CharFilter()
    since = filters.IsoDateTimeFilter("ending_before", lookup_expr="gt", help_text="Invoices of time after it.")
    until = filters.IsoDateTimeFilter("starting_at", lookup_expr="lt", help_text="Invoices of time before it.")


class InvoicesView(RowsView[Invoice]):
    """Newest first."""

    queryset = Invoice.objects.select_related("customer", "contract__customer")
    filterset_class = InvoiceFilter
    ordering: ClassVar[Any] = "-pk"

    def shown(self, row: Invoice) -> dict[str, Any]:
        return _summary(row)

    @listed("list_invoices", "invoices", "List invoices", "InvoiceSummary", examples.INVOICE, "Newest first.")
    def get(self, request: Request) -> Response:
        return self.list(request)


class CustomerInvoicesView(InvoicesView):
    @listed("list_customer_invoices", "customers", "List a customer's invoices", "InvoiceSummary", examples.INVOICE)
    def get(self, request: Request, key: str) -> Response:  # type: ignore[override]
        rows: QuerySet[Invoice] = self.get_queryset().filter(customer=customer_of(key))
        return self.list(request, rows)


class InvoiceView(OneView):
    @read(
        "read_invoice",
        "invoices",
        "Read an invoice with its lines",
        ref("InvoiceShown"),
        examples.INVOICE_SHOWN,
        "Each line says why it is what it is. A draft is shown as usage and terms stand now.",
    )
    def get(self, request: Request, number: int) -> Response:
        rows = Invoice.objects.select_related("contract__customer", "contract__rate_card")
        row = get_object_or_404(
            rows.select_related("period__contract__customer", "period__contract__rate_card"), pk=number
        )
        shown, lines = row, list(row.lines.order_by("position"))
        if row.status == Status.DRAFT:
            now = current([row])[row.pk]
            shown, lines = as_invoice(Built(row.contract, now, row.period, row.scheduled_at))
        currency = str(shown.total.currency)
        return Response(
            {**_summary(row), **invoice_row(shown, ()), "lines": [explained(line, currency) for line in lines]}
        )


def explained(line: InvoiceLine, currency: str) -> dict[str, Any]:
    """A line with everything it takes to compute it again."""
    return {
        **line_row(line, currency),
        "position": line.position,
        "explanation": {
            "meter": line.meter,
            "aggregation": line.aggregation,
            "rate": line.rate,
            "price": line.price,
            "prior_quantity": None if line.prior_quantity is None else plain(line.prior_quantity),
            "share": None if line.share is None else plain(line.share),
            "segment": line.segment,
            "subscription": line.subscription,
        },
    }


def _summary(invoice: Invoice) -> dict[str, Any]:
    shown = invoice_row(invoice, ())
    del shown["lines"]
    return {
        **shown,
        "id": invoice.pk,
        "number": invoice.number,
        "net_days": invoice.net_days,
        "attention": invoice.attention,
        "created_at": written_instant(invoice.created_at),
        "issued_at": written_instant(invoice.issued_at),
        "due_at": written_instant(invoice.due_at),
        "paid_at": written_instant(invoice.paid_at),
    }
