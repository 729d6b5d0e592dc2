"""The pages of invoices and of what contracts bill: review queue, invoice, live draft, document."""

from invoicing.admin import contract_page, invoices

__all__ = ["contract_page", "invoices"]
