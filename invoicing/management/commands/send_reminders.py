"""`manage.py send_reminders`: remind of invoices that fall due or are overdue."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from invoicing.reminders import connected, send_reminders


class Command(BaseCommand):
    help = (
        "Write the reminders that are due (REMINDER_DAYS), by e-mail and as events; send_emails and deliver_webhooks "
        "send them. Safe to repeat, to kill, and to run on several machines at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not connected():
            self.stdout.write("Neither EMAIL_URL is set nor is there a webhook endpoint. Nothing was done.")
            return
        count = send_reminders(timezone.now())
        self.stdout.write(f"{count} reminder{'' if count == 1 else 's'} written.")
