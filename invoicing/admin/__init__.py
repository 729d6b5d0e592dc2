"""The pages of invoices: review queue, invoice, live draft, document."""

from invoicing.admin import invoices

__all__ = ["invoices"]
