"""Issuing what nobody has to approve: it is billed the moment it falls due."""

from datetime import datetime, timedelta

from django.conf import settings

from invoicing.draft_rows import bill_to
from invoicing.journal import issue_entries, post_issue
from invoicing.models import Invoice, Status
from invoicing.numbering import next_number
from invoicing.outbox import announce_issue
from invoicing.payments import settle
from invoicing.stripe_tax import ask_tax


def issue_at_once(invoice: Invoice, at: datetime) -> None:
    """Take a new draft that draws on nothing through all its states, in the transaction that wrote it."""
    ask_tax(invoice)
    for status in (Status.IN_REVIEW, Status.APPROVED):
        Invoice.objects.filter(pk=invoice.pk).update(status=status)
    Invoice.objects.filter(pk=invoice.pk).update(
        status=Status.ISSUED,
        issued_at=at,
        due_at=at + timedelta(days=invoice.net_days),
        bill_to=bill_to(invoice),
        seller=dict(settings.SELLER),
        purchase_order=invoice.contract.purchase_order,
        number=next_number(settings.INVOICE_NUMBER_PREFIX),
    )
    invoice.refresh_from_db()
    post_issue(invoice, issue_entries(invoice))
    announce_issue(invoice)
    settle(invoice)
