"""Open invoices written anew from terms and usage as they stand."""

from contracts.models import Families
from invoicing.draft_rows import write_anew
from invoicing.drafts import current
from invoicing.flags import flags_of
from invoicing.models import Invoice


def rebuild(invoices: list[Invoice]) -> None:
    """Write the lines and totals of open invoices anew from terms and usage as they stand, and their status. The rows
    must be locked.
    """
    now = current(invoices)
    _address(invoices)
    rebuilt = [(invoice, now[invoice.pk]) for invoice in invoices]
    write_anew(rebuilt, flags_of([(invoice, statement.total) for invoice, statement in rebuilt]))


def _address(invoices: list[Invoice]) -> None:
    """Address open invoices to whoever pays now."""
    families = Families(invoice.contract.customer for invoice in invoices)
    for invoice in invoices:
        payer = families.payer(invoice.customer_id).pk
        wanted = None if payer == invoice.customer_id else payer
        if invoice.payer_id != wanted:
            invoice.payer_id = wanted
            invoice.save(update_fields=["payer"])
