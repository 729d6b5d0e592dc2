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
    for place, amount in _charged_by_invoices():
        found[place] = add([found[place], amount])
    notes = CreditNote.objects.filter(status=CreditNote.Status.ISSUED).exclude(tax=0)
    for taxes, tax, currency in notes.values_list("taxes", "tax", "invoice__currency"):
        for place, amount in _parts(taxes, tax, currency):
            found[place] = subtract(found[place], amount)
    return found


def _charged_by_invoices() -> Iterator[tuple[Place, Decimal]]:
    """What each invoice charges for itself: it shows the tax of its period whole, and subtracts earlier invoices of the
    period, that of a later threshold those before it.
    """
    frozen = Invoice.objects.filter(status__in=FROZEN)
    earlier: dict[str, list[str]] = defaultdict(list)
    lines = InvoiceLine.objects.filter(kind="already_invoiced", invoice__in=frozen).order_by("invoice", "position")
    for number, source in lines.values_list("invoice__number", "source"):
        earlier[number or ""].append(source)
    rows = frozen.exclude(tax=0, taxes=[]).values_list("number", "taxes", "tax", "currency")
    shown = {number or "": dict(_parts(taxes, tax, currency)) for number, taxes, tax, currency in rows}
    own: dict[str, dict[Place, Decimal]] = {}

    def charged_by(number: str) -> dict[Place, Decimal]:
        # A voided invoice charges nothing any more; what later ones took off for it stays off them all the same.
        if number not in own:
            sums = defaultdict(Decimal, shown.get(number, {}))
            for source in earlier.get(number, ()):
                for place, amount in charged_by(source).items():
                    sums[place] = subtract(sums[place], amount)
            own[number] = sums
        return own[number]

    for number in frozen.exclude(status=Status.VOID).values_list("number", flat=True):
        yield from charged_by(number or "").items()


def _parts(taxes: Any, tax: Decimal, currency: str) -> Iterator[tuple[Place, Decimal]]:
    """The tax of a document by rate; older ones know only its sum."""
    if not taxes:
        yield ("", currency), tax
    for each in read_taxes(taxes):
        yield (each.key, currency), each.amount
