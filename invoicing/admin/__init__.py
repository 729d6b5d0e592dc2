"""The pages of invoices and of what contracts bill: review queue, invoice, live draft, document."""

from invoicing.admin import (
    card_page,
    charges,
    contract_page,
    exports,
    invoices,
    late_usage,
    records,
    stripe,
    stripe_mirror,
    telling,
)

__all__ = [
    "card_page",
    "charges",
    "contract_page",
    "exports",
    "invoices",
    "late_usage",
    "records",
    "stripe",
    "stripe_mirror",
    "telling",
]
