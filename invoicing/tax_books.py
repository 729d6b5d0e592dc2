"""What the books say of tax: the sums of invoices and credit notes, and what is owed of each rate."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from billing_project.decimals import plain
from catalog.money import ZERO, add, negate, subtract
from invoicing.models import FROZEN, CreditNote, Invoice, InvoiceLine, JournalPosting, Status
from invoicing.revenue import TAX
from invoicing.taxation import read_taxes

# Rate and currency.
Place = tuple[str, str]


def taxes_add_up() -> Iterator[str]:
    """The tax of an invoice is the sum of its taxes by rate, and each that is charged is a line of that amount."""
    charged: dict[int, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    rows = InvoiceLine.objects.filter(kind="tax").values_list("invoice", "tax_key", "amount")
    for number, key, amount in rows.iterator():
        charged[number][key] = add([charged[number][key], amount])
    for invoice in Invoice.objects.exclude(taxes=[]).iterator():
        taxes = {tax.key: tax.amount for tax in read_taxes(invoice.taxes) if tax.amount}
        if add(taxes.values()) != invoice.tax or taxes != charged.get(invoice.pk, {}):
            yield f"Invoice {invoice.pk} ({invoice}): its taxes by rate are not its tax lines, or not {invoice.tax}."


def tax_owed_is_what_was_charged() -> Iterator[str]:
    """Of each rate the books owe what issued invoices charged, less what credit notes took back."""
    charged = _charged()
    rows = JournalPosting.objects.filter(account=TAX).values_list("product", "entry__currency")
    for key, currency, total in rows.annotate(sum=Sum("amount")).order_by("product"):
        documents = charged.pop((key, currency), ZERO)
        if add([documents, total]):
            owed = plain(negate(total))
            yield f"Tax {key or 'of customers'}: documents charge {plain(documents)} {currency}, the books {owed}."
    for (key, currency), amount in charged.items():
        if amount:
            yield f"Tax {key or 'of customers'}: documents charge {plain(amount)} {currency}, the books nothing."


def _charged() -> dict[Place, Decimal]:
    found: dict[Place, Decimal] = defaultdict(Decimal)
    issued = Invoice.objects.filter(status__in=FROZEN).exclude(status=Status.VOID)
    by_number: dict[str, list[tuple[Place, Decimal]]] = {}
    for number, taxes, tax, currency in issued.exclude(tax=0).values_list("number", "taxes", "tax", "currency"):
        by_number[number or ""] = list(_parts(taxes, tax, currency))
        for place, amount in by_number[number or ""]:
            found[place] = add([found[place], amount])
    # What an earlier invoice of the period charged is in the whole tax of the period once more.
    earlier = InvoiceLine.objects.filter(kind="already_invoiced", invoice__in=issued)
    for number in earlier.values_list("source", flat=True):
        for place, amount in by_number.get(number, ()):
            found[place] = subtract(found[place], amount)
    notes = CreditNote.objects.filter(status=CreditNote.Status.ISSUED).exclude(tax=0)
    for taxes, tax, currency in notes.values_list("taxes", "tax", "invoice__currency"):
        for place, amount in _parts(taxes, tax, currency):
            found[place] = subtract(found[place], amount)
    return found


def _parts(taxes: Any, tax: Decimal, currency: str) -> Iterator[tuple[Place, Decimal]]:
    """The tax of a document by rate; older ones know only its sum."""
    if not taxes:
        yield ("", currency), tax
    for each in read_taxes(taxes):
        yield (each.key, currency), each.amount
