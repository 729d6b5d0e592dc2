"""Reminders of invoices that fall due: on set days before and after, each once, until they are paid."""

from datetime import datetime, timedelta
from itertools import pairwise

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef

from invoicing.models import Invoice, InvoiceReminder, Status, WebhookEndpoint
from invoicing.models.outbox import EventType
from invoicing.outbox import announce_invoice, write_mail

PORTION = 200


def connected() -> bool:
    """Whether anybody would hear of a reminder."""
    return bool(settings.EMAIL_URL) or WebhookEndpoint.objects.filter(active=True).exists()


def send_reminders(as_of: datetime) -> int:
    """Write every reminder that is due; returns how many. Of those an invoice has missed only the last is written. Safe
    to repeat, to kill, and to run on several machines at once.
    """
    if not connected():
        return 0
    days = sorted(set(settings.REMINDER_DAYS))
    return sum(_remind_all(day, later, as_of) for day, later in pairwise([*days, None]) if day is not None)


def _remind_all(days: int, until: int | None, as_of: datetime) -> int:
    """The reminders of one day, of invoices that have not reached the next one."""
    sent = InvoiceReminder.objects.filter(invoice=OuterRef("pk"), days__gte=days)
    rows = Invoice.objects.filter(~Exists(sent), status=Status.ISSUED, due_at__lte=as_of - timedelta(days=days))
    if until is not None:
        rows = rows.filter(due_at__gt=as_of - timedelta(days=until))
    count, after = 0, 0
    while True:
        with transaction.atomic():
            # Whoever pays takes the same lock: nobody is reminded of what was just paid.
            portion = list(
                rows.filter(pk__gt=after)
                .select_related("customer", "contract")
                .order_by("pk")
                .select_for_update(skip_locked=True, of=("self",))[:PORTION]
            )
            for invoice in portion:
                _remind(invoice, days, as_of)
            count += len(portion)
        if not portion:
            return count
        after = portion[-1].pk


def _remind(invoice: Invoice, days: int, as_of: datetime) -> None:
    InvoiceReminder.objects.create(invoice=invoice, days=days, at=as_of)
    if days >= 0:
        announce_invoice(EventType.INVOICE_OVERDUE, invoice, f":{days}")
    if "reminders" in settings.EMAILS:
        to = [str(invoice.bill_to.get("email", ""))]
        write_mail("reminder", to, f"reminder:{invoice.pk}:{days}", invoice=invoice, days=days)
