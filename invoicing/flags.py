"""What about an invoice needs somebody's look, and why."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

from django.conf import settings

from billing_project.decimals import plain
from catalog.money import divide, multiply, round_amount, subtract
from catalog.price_text import amount_text
from contracts.models import Contract
from contracts.period_text import day_text
from invoicing.models import AddedLine, Invoice, Status

HUNDRED = Decimal(100)
ENDS_SOON = timedelta(days=30)
LOOK_BACK = timedelta(days=800)  # two periods of a year


def flags_of(totals: Sequence[tuple[Invoice, Decimal]]) -> dict[int, list[str]]:
    """What a statement alone does not tell, by invoice. Expects the contract selected along, and the totals of now."""
    invoices = [invoice for invoice, _ in totals]
    before = totals_before(invoices)
    added = set(AddedLine.objects.filter(invoice__in=invoices).values_list("invoice", "kind"))
    renewed = _customers_with_later_contracts({invoice.contract_id: invoice.contract for invoice in invoices}.values())
    found = {}
    for invoice, total in totals:
        flags = [
            _change_flag(total, before.get(invoice.pk), str(invoice.total.currency)),
            "A line was written by hand." if (invoice.pk, "manual") in added else "",
            "Bills late usage of an earlier invoice." if (invoice.pk, "correction") in added else "",
            "" if invoice.contract_id in renewed else _end_flag(invoice),
            f"Replaces {invoice.replaces}, which was voided." if invoice.replaces_id else "",
        ]
        found[invoice.pk] = [flag for flag in flags if flag]
    return found


def totals_before(invoices: Iterable[Invoice]) -> Mapping[int, Decimal]:
    """The total of the contract's invoice of the same kind before each, by invoice; none, no entry."""
    wanted = [invoice for invoice in invoices if invoice.kind == Invoice.Kind.USAGE]
    if not wanted:
        return {}
    earliest = min(invoice.starting_at for invoice in wanted) - LOOK_BACK
    rows = Invoice.objects.filter(
        contract__in={invoice.contract_id for invoice in wanted}, kind=Invoice.Kind.USAGE, ending_before__gt=earliest
    ).exclude(status=Status.VOID)
    ends = {
        (contract, ending_before): total
        for contract, ending_before, total in rows.values_list("contract", "ending_before", "total")
    }
    # Periods of a contract follow each other without a gap.
    return {
        invoice.pk: ends[invoice.contract_id, invoice.starting_at]
        for invoice in wanted
        if (invoice.contract_id, invoice.starting_at) in ends
    }


def change_percent(total: Decimal, before: Decimal) -> Decimal | None:
    """How far a total is from the one before, in percent of it; None where that was zero."""
    if not before:
        return None
    return divide(multiply(subtract(total, before), HUNDRED), before.copy_abs())


def _change_flag(total: Decimal, before: Decimal | None, currency: str) -> str:
    if before is None:
        return ""
    change = change_percent(total, before)
    if change is None or change.copy_abs() <= settings.REVIEW_CHANGE_PERCENT:
        return ""
    shown = plain(round_amount(change.copy_abs(), "JPY"))
    return f"{shown}% {'more' if change > 0 else 'less'} than the invoice before, {amount_text(before, currency)}."


def _end_flag(invoice: Invoice) -> str:
    contract = invoice.contract
    end = contract.ending_before
    if end is None or not invoice.ending_before <= end <= invoice.ending_before + ENDS_SOON:
        return ""
    return f"The contract ends before {day_text(end, contract.zone)} and no other follows."


def _customers_with_later_contracts(contracts: Iterable[Contract]) -> set[int]:
    """The contracts, by key, whose customer has one that goes on after their end."""
    ending = [contract for contract in contracts if contract.ending_before is not None]
    if not ending:
        return set()
    others = list(
        Contract.objects.filter(customer__in={contract.customer_id for contract in ending}, shadow=False).values_list(
            "customer", "ending_before"
        )
    )
    return {
        contract.pk
        for contract in ending
        if any(
            customer == contract.customer_id
            and (end is None or (contract.ending_before and end > contract.ending_before))
            for customer, end in others
        )
    }
