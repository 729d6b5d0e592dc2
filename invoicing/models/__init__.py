"""What is owed, and what became of it."""

from invoicing.models.invoices import FROZEN, LIVING_FIELDS, OPEN, Invoice, InvoiceLine, NumberSeries, Status

__all__ = ["FROZEN", "LIVING_FIELDS", "OPEN", "Invoice", "InvoiceLine", "NumberSeries", "Status"]
