"""`manage.py push_to_stripe`: tell Stripe what was issued, credited, voided and paid elsewhere."""

from typing import Any

from django.core.management.base import BaseCommand

from billing_project.progress import progress
from invoicing.charging import charge_due
from invoicing.stripe_mirror import mirror_waiting
from invoicing.stripe_pushing import find_due, push_due
from invoicing.stripe_sync import connected
from invoicing.stripe_webhook import apply_waiting


class Command(BaseCommand):
    help = (
        "Push customers, issued invoices, credit notes and voids to Stripe, charge threshold invoices and recharges "
        "that are due, and apply what Stripe sent that had to wait. Safe to repeat, to interrupt, and to run on "
        "several machines at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not connected():
            self.stdout.write("Not connected to Stripe: STRIPE_SECRET_KEY is not set. Nothing was done.")
            return
        due = find_due()
        with progress("Pushing", due, unit="steps", stream=self.stderr) as advance:
            pushed = push_due(advance)
        charges = charge_due()
        waiting = apply_waiting(ask_stripe=True)
        mirror_waiting()
        self.stdout.write(
            f"{pushed.done} steps done, {pushed.later} to be tried again later, {pushed.blocked} stopped: see "
            f"Exchanges with Stripe in the admin. {waiting} events from Stripe are waiting. {charges}"
        )
