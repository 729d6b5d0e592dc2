"""What is owed, and what became of it."""

from invoicing.models.added_lines import AddedLine
from invoicing.models.alerts import Alert, AlertRule
from invoicing.models.auto_approval import AutoApproval
from invoicing.models.bulk_steps import BulkStep
from invoicing.models.charges import ChargeAttempt
from invoicing.models.credit_notes import CreditNote, CreditNoteLine
from invoicing.models.exports import Export, ExportRun
from invoicing.models.invoices import FROZEN, LIVING_FIELDS, OPEN, OPEN_AT, Invoice, InvoiceLine, NumberSeries, Status
from invoicing.models.journal import AccountingPeriod, EarnedDays, JournalEntry, JournalPosting
from invoicing.models.late_usage import LateUsage
from invoicing.models.outbox import Delivery, DeliveryAttempt, InvoiceReminder, OutgoingEvent, WebhookEndpoint
from invoicing.models.payments import Payment
from invoicing.models.recharges import Recharge
from invoicing.models.steps import InvoiceStep
from invoicing.models.stripe_pushes import MirroredObject, StripeCustomer, StripeEvent, StripePush
from invoicing.models.tax_answers import TaxAnswer

__all__ = [
    "FROZEN",
    "LIVING_FIELDS",
    "OPEN",
    "OPEN_AT",
    "AccountingPeriod",
    "AddedLine",
    "Alert",
    "AlertRule",
    "AutoApproval",
    "BulkStep",
    "ChargeAttempt",
    "CreditNote",
    "CreditNoteLine",
    "Delivery",
    "DeliveryAttempt",
    "EarnedDays",
    "Export",
    "ExportRun",
    "Invoice",
    "InvoiceLine",
    "InvoiceReminder",
    "InvoiceStep",
    "JournalEntry",
    "JournalPosting",
    "LateUsage",
    "MirroredObject",
    "NumberSeries",
    "OutgoingEvent",
    "Payment",
    "Recharge",
    "Status",
    "StripeCustomer",
    "StripeEvent",
    "StripePush",
    "TaxAnswer",
    "WebhookEndpoint",
]
