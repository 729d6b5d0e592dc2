"""Documents in the admin: on screen, as PDF, as an electronic invoice, and the usage behind an invoice as CSV."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path

from invoicing import documents
from invoicing.admin import pages
from invoicing.einvoices import xml_of
from invoicing.files import as_file, usage_file
from invoicing.models import CreditNote, Invoice
from invoicing.pdf import pdf_of

View = Callable[..., HttpResponseBase]
Guard = Callable[[HttpRequest], None]


def document_urls(admin_view: Callable[[View], Any], may_view: Guard) -> list[URLPattern]:
    """The routes below the invoices' address."""

    def page(make: Callable[[Invoice], HttpResponseBase]) -> Any:
        def view(request: HttpRequest, invoice: int) -> HttpResponseBase:
            may_view(request)
            rows = Invoice.objects.select_related("contract__customer", "customer", "payer", "replaces")
            return make(get_object_or_404(rows, pk=invoice))

        return admin_view(view)

    return [
        path("<int:invoice>/document/", page(_html), name="invoicing_document"),
        path("<int:invoice>/document.pdf", page(_pdf), name="invoicing_document_pdf"),
        path("<int:invoice>/document.xml", page(_xml), name="invoicing_document_xml"),
        path("<int:invoice>/usage.csv", page(usage_file), name="invoicing_usage_csv"),
    ]


def credit_note_urls(admin_view: Callable[[View], Any], may_view: Guard) -> list[URLPattern]:
    """The routes below the credit notes' address."""

    def page(make: Callable[[CreditNote], HttpResponseBase]) -> Any:
        def view(request: HttpRequest, note: int) -> HttpResponseBase:
            may_view(request)
            rows = CreditNote.objects.select_related("invoice__contract__customer")
            return make(get_object_or_404(rows, pk=note))

        return admin_view(view)

    return [
        path("<int:note>/document/", page(_note_html), name="invoicing_credit_note_document"),
        path("<int:note>/document.xml", page(_note_xml), name="invoicing_credit_note_xml"),
        path("<int:note>/document.pdf", page(_note_pdf), name="invoicing_credit_note_pdf"),
    ]


def _html(invoice: Invoice) -> HttpResponse:
    return HttpResponse(documents.html(pages.document(invoice)))


def _pdf(invoice: Invoice) -> HttpResponse:
    return as_file(pdf_of(documents.html(pages.document(invoice), paged=True)), documents.file_name(invoice, "pdf"))


def _xml(invoice: Invoice) -> HttpResponse:
    return as_file(xml_of(invoice), documents.file_name(invoice, "xml"))


def _note_xml(note: CreditNote) -> HttpResponse:
    return as_file(xml_of(note), documents.file_name(note, "xml"))


def _note_html(note: CreditNote) -> HttpResponse:
    return HttpResponse(documents.html(documents.shown_credit_note(note)))


def _note_pdf(note: CreditNote) -> HttpResponse:
    page = documents.html(documents.shown_credit_note(note), paged=True)
    return as_file(pdf_of(page), documents.file_name(note, "pdf"))
