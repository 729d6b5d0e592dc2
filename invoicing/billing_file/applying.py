"""`apply`: what billing files say, in the database, or nothing of it.

Everything is known by its key: what is new is made, what differs is changed, the rest is left alone. What a file does
not name stays as it is.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from django.db import IntegrityError, connection, transaction

from billing_project.locks import lock
from contracts.deal_format import Fault
from invoicing.billing_file.catalog_side import apply_meters, apply_products, apply_rate_cards
from invoicing.billing_file.contract_side import apply_contracts, apply_customers, settle_customers
from invoicing.billing_file.faults import FileError
from invoicing.billing_file.packages import apply_templates
from invoicing.billing_file.parsing import Entries
from invoicing.billing_file.plan import Step
from invoicing.billing_file.tax_side import apply_tax_rates

Part = Callable[[], tuple[list[Step], list[Fault]]]


def apply_entries(entries: Entries, now: datetime, *, dry_run: bool = False) -> list[Step]:
    """Apply what files say in one transaction; with `dry_run` it is taken back. Returns what is done, in order.

    Raises FileError with everything wrong in the first section that has faults: the others build on it.
    """
    parts: list[Part] = [
        lambda: apply_meters(entries.meters),
        lambda: apply_products(entries.products),
        lambda: apply_rate_cards(entries.rate_cards),
        lambda: apply_tax_rates(entries.tax_rates),
        lambda: apply_customers(entries.customers),
        lambda: apply_templates(entries.templates),
        lambda: apply_contracts(entries.contracts, now),
    ]
    with transaction.atomic():
        # Two files applied at once would both find a key missing and make it.
        lock("billing file")
        try:
            steps = _all(parts)
            changed = {each.key for each in steps if each.kind == "customer" and each.action != "unchanged"}
            steps += _all([lambda: settle_customers(entries.customers, changed)])
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except IntegrityError as error:
            message = str(error).partition("\n")[0]
            raise FileError([Fault("", "changed", f"the database was changed at the same time: {message}")]) from error
        transaction.set_rollback(dry_run)
    return steps


def _all(parts: Sequence[Part]) -> list[Step]:
    steps: list[Step] = []
    for part in parts:
        made, faults = part()
        if faults:
            raise FileError(faults)
        steps += made
    return steps
