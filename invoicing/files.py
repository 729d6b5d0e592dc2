"""Documents as files a browser or a client takes."""

from django.http import HttpResponse, StreamingHttpResponse

from invoicing.documents import file_name
from invoicing.models import Invoice
from invoicing.usage_detail import usage_detail

KINDS = {"pdf": "application/pdf", "html": "text/html", "csv": "text/csv", "xml": "application/xml"}


def as_file(content: bytes, name: str) -> HttpResponse:
    shown = HttpResponse(content, content_type=KINDS[name.rpartition(".")[2]])
    shown["Content-Disposition"] = f'inline; filename="{name}"'
    return shown


def usage_file(invoice: Invoice) -> StreamingHttpResponse:
    """The usage behind an invoice, sent as it is read."""
    shown = StreamingHttpResponse(usage_detail(invoice), content_type="text/csv; charset=utf-8")
    shown["Content-Disposition"] = f'attachment; filename="{file_name(invoice, "usage.csv")}"'
    return shown
