"""Documents by number: as HTML, PDF and electronic invoice, and the usage behind an invoice as CSV."""

from typing import Any

from django.db.models import Q
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from billing_project.api import MEDIA_TYPE
from billing_project.errors import RuleError
from invoicing import documents
from invoicing.api.docs import REFUSALS
from invoicing.einvoices import factur_x, xml_of
from invoicing.files import KINDS, as_file, usage_file
from invoicing.models import FROZEN, CreditNote, Invoice
from invoicing.pdf import Carried, pdf_of
from meters.api.serializers import RefusalSerializer

NUMBER = OpenApiParameter(
    "number", OpenApiTypes.STR, OpenApiParameter.PATH, description="Its number, or the id of an invoice."
)


class AsNamed(BaseContentNegotiation):
    """The address says what is answered, whatever the client accepts; refusals are JSON."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0] if parsers else None

    def select_renderer(  # type: ignore[override]
        self, request: Request, renderers: list[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


CARRYING = OpenApiParameter(
    "factur_x", OpenApiTypes.BOOL, OpenApiParameter.QUERY,
    description="true: a PDF/A-3 that carries the electronic invoice of EN 16931 (Factur-X, ZUGFeRD).",
)  # fmt: skip


def _documented(operation: str, summary: str, kind: str, description: str) -> Any:
    answers: dict[Any, Any] = {(200, KINDS[kind]): OpenApiResponse(OpenApiTypes.BINARY, description=description)}
    for status in (401, 403, 404, 422, 503):
        answers[status, MEDIA_TYPE] = OpenApiResponse(RefusalSerializer, description=REFUSALS[status])
    return extend_schema(
        operation_id=operation,
        tags=["documents"],
        summary=summary,
        parameters=[NUMBER, CARRYING] if kind == "pdf" else [NUMBER],
        responses=answers,
    )


def _carried(request: Request, document: Invoice | CreditNote) -> Carried | None:
    wanted = request.query_params.get("factur_x", "false").lower()
    if wanted not in ("true", "false", "1", "0"):
        raise RuleError("factur_x is true or false.", path="factur_x")
    return factur_x(document) if wanted in ("true", "1") else None


class FileView(APIView):
    content_negotiation_class = AsNamed


class InvoicePdfView(FileView):
    @_documented("read_invoice_pdf", "An issued invoice as PDF", "pdf", "The same state gives the same bytes.")  # type: ignore[untyped-decorator]
    def get(self, request: Request, number: str) -> HttpResponse:
        invoice = invoice_of(number)
        page = documents.html(documents.shown_invoice(invoice), paged=True)
        return as_file(pdf_of(page, _carried(request, invoice)), documents.file_name(invoice, "pdf"))


class InvoiceHtmlView(FileView):
    @_documented("read_invoice_html", "An issued invoice as HTML", "html", "A page that is complete in itself.")  # type: ignore[untyped-decorator]
    def get(self, request: Request, number: str) -> HttpResponse:
        return HttpResponse(documents.html(documents.shown_invoice(invoice_of(number)), paged=True))


class InvoiceUsageView(FileView):
    @_documented(  # type: ignore[untyped-decorator]
        "read_invoice_usage", "The usage behind an issued invoice", "csv",
        "The events of every usage line; by line their quantities add up to the line's.",
    )  # fmt: skip
    def get(self, request: Request, number: str) -> HttpResponseBase:
        return usage_file(invoice_of(number))


class CreditNotePdfView(FileView):
    @_documented("read_credit_note_pdf", "An issued credit note as PDF", "pdf", "The same state gives the same bytes.")  # type: ignore[untyped-decorator]
    def get(self, request: Request, number: str) -> HttpResponse:
        note = credit_note_of(number)
        page = documents.html(documents.shown_credit_note(note), paged=True)
        return as_file(pdf_of(page, _carried(request, note)), documents.file_name(note, "pdf"))


class InvoiceXmlView(FileView):
    @_documented(  # type: ignore[untyped-decorator]
        "read_invoice_xml", "An issued invoice as electronic invoice", "xml",
        "UBL 2.1 in the semantics of EN 16931. What the rules demand and the invoice lacks is named.",
    )  # fmt: skip
    def get(self, request: Request, number: str) -> HttpResponse:
        invoice = invoice_of(number)
        return as_file(xml_of(invoice), documents.file_name(invoice, "xml"))


class CreditNoteXmlView(FileView):
    @_documented(  # type: ignore[untyped-decorator]
        "read_credit_note_xml", "An issued credit note as electronic document", "xml",
        "UBL 2.1 in the semantics of EN 16931.",
    )  # fmt: skip
    def get(self, request: Request, number: str) -> HttpResponse:
        note = credit_note_of(number)
        return as_file(xml_of(note), documents.file_name(note, "xml"))


def invoice_of(number: str) -> Invoice:
    """An issued invoice, by its number or id."""
    by_id = Q(pk=int(number)) if number.isdecimal() and len(number) < 19 else Q()
    rows = Invoice.objects.filter(status__in=FROZEN).select_related("contract__customer", "replaces")
    return get_object_or_404(rows, Q(number=number) | by_id if by_id else Q(number=number))


def credit_note_of(number: str) -> CreditNote:
    rows = CreditNote.objects.filter(status=CreditNote.Status.ISSUED)
    return get_object_or_404(rows.select_related("invoice__contract__customer"), number=number)
