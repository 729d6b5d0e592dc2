"""`manage.py find_late_usage`: usage of periods that are invoiced already."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from contracts.models import Contract
from invoicing.corrections import find_late_usage, waiting
from invoicing.management.commands.close_periods import instant


class Command(BaseCommand):
    help = (
        "Find usage that came after its period was invoiced and put it on the contract's next open invoice. "
        "close_periods does the same. Safe to repeat, to interrupt, and to run on several machines at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--as-of", type=instant, help="Treat this as now: 2026-02-01 or 2026-02-01T00:00:00Z.")
        parser.add_argument("--contract", help="Only invoices of this contract, by key.")

    def handle(self, *args: Any, **options: Any) -> None:
        contract = options["contract"]
        if contract and not Contract.objects.filter(key=contract).exists():
            raise CommandError(f"--contract {contract}: there is no contract with this key.")
        found = find_late_usage(options["as_of"] or timezone.now(), contract)
        self.stdout.write(
            f"Invoices looked at: {found.invoices:,}. Late lines found: {found.rows:,}; put on open invoices: "
            f"{found.billed:,}; waiting for the next one: {waiting().count():,}."
        )
