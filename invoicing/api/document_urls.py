"""Documents by number. A number may hold slashes: what comes after it says what is wanted."""

from django.urls import path

from invoicing.api import documents

urlpatterns = [
    path("invoices/<path:number>/usage.csv", documents.InvoiceUsageView.as_view(), name="invoice-usage"),
    path("invoices/<path:number>.pdf", documents.InvoicePdfView.as_view(), name="invoice-pdf"),
    path("invoices/<path:number>.html", documents.InvoiceHtmlView.as_view(), name="invoice-html"),
    path("invoices/<path:number>.xml", documents.InvoiceXmlView.as_view(), name="invoice-xml"),
    path("credit_notes/<path:number>.xml", documents.CreditNoteXmlView.as_view(), name="credit-note-xml"),
    path("credit_notes/<path:number>.pdf", documents.CreditNotePdfView.as_view(), name="credit-note-pdf"),
]
