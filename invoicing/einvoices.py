"""Issued documents as electronic invoices of EN 16931; what is missing is named with its remedy."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from billing_project.errors import RuleError
from catalog.group_values import group_text
from catalog.money import EXACT, ONE, ZERO, add, divide, minor_unit, multiply, negate, round_amount
from invoicing.cii import cii
from invoicing.credit_notes import taxes_of
from invoicing.edocument import (
    CREDIT_NOTE,
    INVOICE,
    OUTSIDE,
    Allowance,
    EDocument,
    ELine,
    PartyDetails,
    TaxPart,
    is_vat_id,
    merged,
)
from invoicing.factur_x import FILE_NAME, XMP
from invoicing.models import CreditNote, Invoice, InvoiceLine
from invoicing.pdf import Carried
from invoicing.taxation import TaxTotal, read_taxes
from invoicing.ubl import ubl

TAKEN_OFF = ("draw", "discount")
NO_LINES = ("tax", "already_invoiced", *TAKEN_OFF)
MOMENT = timedelta(microseconds=1)
CENT = Decimal("0.01")
MOST_PLACES = 10  # of a price: what more there is does not change a cent
OWED_BY_BUYER = ("AE", "K")
Taxes = Mapping[str, TaxTotal]


def xml_of(document: Invoice | CreditNote) -> bytes:
    """As UBL. Raises RuleError that names what EN 16931 demands and the document lacks."""
    return ubl(_said(document))


def factur_x(document: Invoice | CreditNote) -> Carried:
    """As CII, for its PDF to carry (Factur-X, ZUGFeRD). Raises RuleError like `xml_of`."""
    said = _said(document)
    return Carried(FILE_NAME, cii(said), datetime.combine(said.issued_on, time(), UTC), XMP)


def _said(document: Invoice | CreditNote) -> EDocument:
    return _of_invoice(document) if isinstance(document, Invoice) else _of_credit_note(document)


def _of_invoice(invoice: Invoice) -> EDocument:
    rows = [row for row in invoice.lines.order_by("position") if not row.unit]
    earlier = [row for row in rows if row.kind == "already_invoiced"]
    totals = taxes_of(invoice)
    taxes = _known(totals, invoice)
    _check_rates(rows, taxes)
    zone = invoice.contract.zone
    lines = tuple(_line(row, row.amount, taxes, zone) for row in rows if row.kind not in NO_LINES)
    if not lines:
        raise RuleError("Nothing is charged on it: an electronic invoice needs a line.", path="lines")
    preceding = Invoice.objects.filter(number__in=[row.source for row in earlier]).order_by("number")
    return EDocument(
        kind=INVOICE,
        number=invoice.number or "",
        issued_on=_day(invoice.issued_at, zone),
        due_on=_day(invoice.due_at, zone) if invoice.due_at else None,
        currency=_currency(invoice),
        first_day=_day(invoice.starting_at, zone),
        last_day=_day(invoice.ending_before - MOMENT, zone),
        contract=invoice.contract.key,
        purchase_order=invoice.purchase_order,
        seller=_seller(invoice.seller, totals),
        buyer=_buyer(invoice.bill_to, totals),
        terms=f"{invoice.net_days} days net.",
        lines=lines,
        allowances=tuple(_allowances(rows, taxes)),
        taxes=merged(_part(tax) for tax in totals),
        prepaid=negate(add(row.amount for row in earlier)),
        preceding=tuple((each.number or "", _day(each.issued_at, zone)) for each in preceding),
        iban=invoice.seller.get("iban", ""),
        bic=invoice.seller.get("bic", ""),
    )


def _of_credit_note(note: CreditNote) -> EDocument:
    invoice = note.invoice
    totals = read_taxes(note.taxes)
    taxes = _known(totals, invoice)
    rows = list(note.lines.select_related("line").order_by("line__position"))
    _check_rates([row.line for row in rows], taxes)
    zone = invoice.contract.zone
    return EDocument(
        kind=CREDIT_NOTE,
        number=note.number or "",
        issued_on=_day(note.issued_at, zone),
        due_on=None,
        currency=_currency(invoice),
        first_day=_day(invoice.starting_at, zone),
        last_day=_day(invoice.ending_before - MOMENT, zone),
        contract=invoice.contract.key,
        purchase_order=invoice.purchase_order,
        seller=_seller(note.seller, totals),
        buyer=_buyer(note.bill_to, totals),
        terms="No longer due; what was paid already is given back or offset.",
        lines=tuple(_line(row.line, row.amount, taxes, zone) for row in rows),
        allowances=(),
        taxes=merged(_part(tax) for tax in totals),
        preceding=((invoice.number or "", _day(invoice.issued_at, zone)),),
        notes=(note.reason,),
    )


def _day(instant: datetime | None, zone: ZoneInfo) -> date:
    if instant is None:
        raise RuleError("Only what is issued has an electronic form.", code="not_issued")
    return instant.astimezone(zone).date()


def _known(totals: tuple[TaxTotal, ...], invoice: Invoice) -> Taxes:
    if not totals:
        raise RuleError(
            f"{invoice} says nothing of tax. Give the customer a tax treatment, or its country a tax rate (0% is one "
            "too), and void it: what replaces it has it.",
            path="customer.tax",
        )
    if len({tax.category == OUTSIDE for tax in totals}) > 1:
        raise RuleError("What is outside the scope of tax needs an invoice of its own.", path="taxes")
    return {tax.key: tax for tax in totals}


def _check_rates(rows: list[InvoiceLine], taxes: Taxes) -> None:
    for row in rows:
        if row.kind not in ("tax", "already_invoiced") and row.tax_key not in taxes:
            raise RuleError(f"No tax rate covers {row.name}.", path=f"lines[{row.position}].tax_key")


def _currency(invoice: Invoice) -> str:
    currency = str(invoice.total.currency)
    if minor_unit(currency) < CENT:
        raise RuleError(f"EN 16931 knows amounts of two places; {currency} has more.", path="currency")
    return currency


def _part(tax: TaxTotal) -> TaxPart:
    return TaxPart(tax.category, tax.percent, tax.base, tax.amount, tax.note or tax.name)


def _line(row: InvoiceLine, amount: Decimal, taxes: Taxes, zone: ZoneInfo) -> ELine:
    quantity, price = _priced(row, amount)
    tax = taxes[row.tax_key]
    return ELine(
        position=row.position,
        name=row.name,
        description=group_text(row.group),
        quantity=quantity,
        price=price,
        amount=amount,
        category=tax.category,
        percent=tax.percent,
        first_day=_day(row.starting_at, zone),
        last_day=_day(max(row.ending_before - MOMENT, row.starting_at), zone),
    )


def _priced(row: InvoiceLine, amount: Decimal) -> tuple[Decimal, Decimal]:
    """Quantity and price of a line that make its amount; where they do not (tiers, a part of a charge, a credit), one
    piece at the amount. A price is never below zero, so the quantity is.
    """
    whole = row.share is None or row.share == 1
    if whole and row.unit_amount is not None and row.billed_quantity and amount == row.amount:
        rate = ONE if row.gross_amount is None or not row.gross_amount else divide(row.amount, row.gross_amount)
        price = multiply(row.unit_amount, rate)
        if row.gross_amount is not None:
            price = price.quantize(ONE.scaleb(-MOST_PLACES), context=EXACT)
        if price >= 0 and round_amount(multiply(row.billed_quantity, price), "USD") == amount:
            return row.billed_quantity, price
    return (ONE, amount) if amount >= 0 else (negate(ONE), negate(amount))


def _allowances(rows: list[InvoiceLine], taxes: Taxes) -> Iterator[Allowance]:
    """What discounts take off and commits and credits pay, by name and tax: tax is due on the rest."""
    sums: dict[tuple[str, str, Decimal], Decimal] = {}
    for row in rows:
        if row.kind in TAKEN_OFF:
            tax = taxes[row.tax_key]
            reason = f"Covered by {row.name}" if row.kind == "draw" else row.name
            place = reason, tax.category, tax.percent
            sums[place] = add([sums.get(place, ZERO), negate(row.amount)])
    for (reason, category, percent), amount in sums.items():
        if amount:
            yield Allowance(reason, amount, category, percent)


def _seller(seller: Mapping[str, str], totals: tuple[TaxTotal, ...]) -> PartyDetails:
    made = _party(seller)
    if not made.name or not made.country:
        missing = "name" if not made.name else "country"
        raise RuleError(
            f"The seller's {missing} is not known: set SELLER_{missing.upper()} before invoices are issued.",
            path=f"seller.{missing}",
        )
    outside = any(tax.category == OUTSIDE for tax in totals)
    if not outside and not made.tax_id:
        raise RuleError("The seller's tax ID is not known: set SELLER_TAX_ID.", path="seller.tax_id")
    if not made.registration and (outside or not is_vat_id(made.tax_id)):
        raise RuleError(
            "The seller's registration is not known: without a VAT ID on the invoice set SELLER_REGISTRATION.",
            path="seller.registration",
        )
    return made


def _buyer(buyer: Mapping[str, str], totals: tuple[TaxTotal, ...]) -> PartyDetails:
    made = _party(buyer)
    if not made.country:
        raise RuleError(
            "It was issued without the customer's country. Give the customer its country and void the invoice: what "
            "replaces it has it.",
            path="customer.country",
        )
    if not made.tax_id and any(tax.category in OWED_BY_BUYER for tax in totals):
        raise RuleError("The customer owes the tax, and its tax ID is not on the invoice.", path="customer.tax.id")
    return made


def _party(party: Mapping[str, str]) -> PartyDetails:
    lines = tuple(line.strip() for line in party.get("address", "").splitlines() if line.strip())
    return PartyDetails(
        party.get("name", ""), lines, party.get("country", ""), party.get("tax_id", ""),
        party.get("registration", ""), party.get("email", ""),
    )  # fmt: skip
