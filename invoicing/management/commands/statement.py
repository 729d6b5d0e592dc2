"""`manage.py statement`: what a contract owes for a period, by the terms known now or at any instant."""

import json
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_project.decimals import plain
from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod, Contract
from invoicing.as_known import statement_again
from invoicing.billing_file.results import as_invoice, invoice_row
from invoicing.billing_file.text import result_lines
from invoicing.draft_rows import Built
from invoicing.management.commands.close_periods import instant
from invoicing.statement import Statement


class Command(BaseCommand):
    help = (
        "Work out the statement of a billing period from the usage there is, by the terms as they stand or as they "
        "were known at an instant. Bills nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("contract", help="The contract's key.")
        parser.add_argument("--period", required=True, help="A day or month in the period: 2026-01-15 or 2026-01.")
        parser.add_argument("--known-at", type=instant, help="Terms as they were at this instant.")
        parser.add_argument("--json", action="store_true", help="Print the statement as JSON and nothing else.")

    def handle(self, *args: Any, **options: Any) -> None:
        contract = Contract.objects.filter(key=options["contract"]).first()
        if contract is None:
            raise CommandError(f"there is no contract {options['contract']}.")
        period = _period(contract, options["period"])
        statement = self._statement(period, options["known_at"])
        row = invoice_row(*as_invoice(Built(contract, statement, period=period)))
        if options["json"]:
            self.stdout.write(json.dumps(row, ensure_ascii=False))
            return
        result = {"name": f"{contract}: {plain(statement.total)} {statement.currency}", "invoices": [row]}
        self.stdout.write("\n".join(result_lines({**result, "balances": [], "unclaimed": []})))

    def _statement(self, period: BillingPeriod, known_at: datetime | None) -> Statement:
        if (
            known_at is not None
            and not period.contract.pgh_event_model.objects.filter(  # type: ignore[attr-defined]
                pgh_obj_id=period.contract_id, pgh_created_at__lte=known_at
            ).exists()
        ):
            raise CommandError(f"--known-at {known_at.isoformat()}: the contract was not there yet.")
        return statement_again(period, known_at)


def _period(contract: Contract, text: str) -> BillingPeriod:
    """The billing period that holds the local day; of a month, the one that holds its first day or starts in it."""
    try:
        day = datetime.fromisoformat(f"{text}-01" if len(text) == len("2026-01") else text)
    except ValueError as error:
        raise CommandError(f"--period {text}: write a day or a month, such as 2026-01-15 or 2026-01.") from error
    at = max(day.replace(tzinfo=contract.zone) if day.tzinfo is None else day, contract.starting_at)
    write_periods(at, Contract.objects.filter(pk=contract.pk))
    periods = contract.billing_periods.select_related("contract__customer", "contract__rate_card")
    period = periods.filter(starting_at__lte=at, ending_before__gt=at).first()
    if period is None:
        raise CommandError(f"--period {text}: {contract} has no billing period there.")
    return period
