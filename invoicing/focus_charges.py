"""The charges of a customer's issued invoices and credit notes, for FOCUS."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Q

from billing_project.errors import RuleError
from catalog.models import Product, Rate
from catalog.money import ZERO, negate
from catalog.price_format import parse_price
from catalog.pricing import charge
from contracts.models import Customer
from invoicing.focus import Charge, focus_row
from invoicing.focus_commitments import committed, paid_by_commits
from invoicing.models import CreditNoteLine, Invoice, InvoiceLine, Status

BILLED = (Status.ISSUED, Status.PAID, Status.UNCOLLECTIBLE)
MOST_LINES = 100_000
# Priced by the quantity alone: what the card would have charged can be worked out from the line.
BY_QUANTITY = ("per_unit", "package", "graduated", "volume", "flat")


def focus_rows(customer: Customer, since: datetime | None, until: datetime | None) -> list[dict[str, Any]]:
    """FOCUS rows of invoices and credit notes of a customer issued in a span, in the order of issue.

    A voided invoice and what it took back are left out. Raises RuleError for more than MOST_LINES lines.
    """
    issued = _between("issued_at", since, until)
    invoices = list(
        Invoice.objects.filter(issued, customer=customer, status__in=BILLED)
        .select_related("customer__parent", "payer", "contract")
        .order_by("issued_at", "pk")
    )
    lines = InvoiceLine.objects.filter(invoice__in=invoices)
    credited = CreditNoteLine.objects.filter(
        _between("credit_note__issued_at", since, until),
        credit_note__status="issued",
        credit_note__invoice__customer=customer,
    )
    if lines.count() + credited.count() > MOST_LINES:
        raise RuleError(f"More than {MOST_LINES:,} lines: ask for a shorter time.", code="too_many", path="since")
    known = _Known(list(lines.order_by("invoice", "position")), invoices)
    notes = credited.select_related(
        "credit_note", "line__invoice__customer", "line__invoice__payer", "line__invoice__contract"
    )
    found = [*_charges(invoices, known), *_credits(list(notes.order_by("credit_note", "line__position")))]
    return [focus_row(each) for each in found]


def _between(name: str, since: datetime | None, until: datetime | None) -> Q:
    chosen = Q()
    if since:
        chosen &= Q(**{f"{name}__gte": since})
    if until:
        chosen &= Q(**{f"{name}__lt": until})
    return chosen


class _Known:
    """What lines are made with: list prices, products, and what commits shift; a query each for all lines."""

    def __init__(self, lines: Sequence[InvoiceLine], invoices: Sequence[Invoice]) -> None:
        self.lines: dict[int, list[InvoiceLine]] = defaultdict(list)
        for line in lines:
            self.lines[line.invoice_id].append(line)
        self.products = _products({line.product for line in lines})
        keys = {int(each) for line in lines if (each := _rate_key(line))}
        self.prices = dict(Rate.objects.filter(pk__in=keys).values_list("pk", "price"))
        self.paid = paid_by_commits(lines, {invoice.pk: invoice for invoice in invoices})

    def list_amount(self, line: InvoiceLine) -> Decimal:
        """By the rate card alone, where an override gave the line its price."""
        price = self.prices.get(int(_rate_key(line) or 0))
        if ";" not in line.rate or price is None or price.get("model") not in BY_QUANTITY or line.share is not None:
            exact: Decimal = line.amount_exact
            return exact
        amount: Decimal = charge(parse_price(price), line.billed_quantity, line.prior_quantity).amount
        return amount


def _products(keys: set[str]) -> Mapping[str, Product]:
    return {each.key: each for each in Product.objects.select_related("meter").filter(key__in=keys)}


def _rate_key(line: InvoiceLine) -> str:
    kind, _, key = line.rate.partition(";")[0].partition(":")
    return key if kind == "rate" else ""


def _charges(invoices: Sequence[Invoice], known: _Known) -> Iterator[Charge]:
    for invoice in invoices:
        for line in known.lines[invoice.pk]:
            yield Charge(
                document=str(invoice.number),
                amount=line.amount,
                amount_exact=line.amount_exact,
                list_amount=known.list_amount(line),
                quantity=line.quantity,
                billed_quantity=line.billed_quantity,
                events=line.events,
                shifted=known.paid.shifted.get(line.pk, ZERO),
                committed=committed(line, invoice, known.paid.drawn.get(line.pk)),
                correction=line.kind == "correction",
                **_place(invoice, line, known.products.get(line.product)),
            )


def _credits(rows: Sequence[CreditNoteLine]) -> Iterator[Charge]:
    """What credit notes took off, line by line, and the tax of each."""
    products = _products({row.line.product for row in rows})
    taxed: set[int] = set()
    for row in rows:
        note, invoice = row.credit_note, row.line.invoice
        given: dict[str, Any] = {
            "list_amount": negate(row.amount),
            "amount": negate(row.amount),
            "amount_exact": negate(row.amount),
        }
        nothing: dict[str, Any] = {"quantity": None, "billed_quantity": None, "events": None}
        place = _place(invoice, row.line, products.get(row.line.product))
        yield Charge(document=str(note.number), correction=True, **given, **nothing, **place)
        if note.tax and note.pk not in taxed:
            taxed.add(note.pk)
            tax: dict[str, Any] = dict.fromkeys(given, negate(note.tax))
            named = {"kind": "tax", "product": "", "name": "Tax", "group": {}, "meter": "", "balance": ""}
            yield Charge(document=str(note.number), correction=True, **tax, **nothing, **{**place, **named})


def _place(invoice: Invoice, line: InvoiceLine, product: Product | None) -> dict[str, Any]:
    payer = invoice.paid_by
    seller = str(invoice.seller.get("name") or "")
    unit = product.meter.value_property if product and product.meter else ""
    return {
        "position": line.position,
        "kind": line.kind,
        "product": line.product,
        "name": line.name,
        "group": line.group,
        "starting_at": line.starting_at,
        "ending_before": line.ending_before,
        "billed_from": invoice.starting_at,
        "billed_until": invoice.ending_before,
        "currency": str(invoice.total.currency),
        "unit": line.unit,
        "consumed_unit": unit or "Events",
        "pricing_unit": product.name if product else "Units",
        "dynamic": (line.price or {}).get("model") == "dynamic",
        "meter": line.meter,
        "balance": line.balance,
        "seller": seller,
        "account": (payer.key, payer.name),
        "customer": (invoice.customer.key, invoice.customer.name),
        "contract": invoice.contract.key,
        "service": product.name if product else line.name,
        "tags": tuple(product.tags) if product else (),
    }
