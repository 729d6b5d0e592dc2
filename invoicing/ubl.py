"""Invoices and credit notes as XML of UBL 2.1. Pure."""

from datetime import date
from decimal import Decimal
from xml.etree import ElementTree

from billing_project.decimals import plain
from invoicing.edocument import (
    CREDIT_TRANSFER,
    INTRA_COMMUNITY,
    INVOICE,
    ONE,
    OUTSIDE,
    SPECIFICATION,
    TYPE_CODES,
    WITH_REASON,
    Allowance,
    EDocument,
    ELine,
    PartyDetails,
    is_vat_id,
    printable,
)

ROOT = "urn:oasis:names:specification:ubl:schema:xsd:{kind}-2"
SPACES = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}

Element = ElementTree.Element


def ubl(document: EDocument) -> bytes:
    """The XML of a document, in UTF-8."""
    # Names are written with their prefixes: registered ones would be shared by all threads.
    spaces = {f"xmlns:{prefix}": space for prefix, space in SPACES.items()}
    root = Element(document.kind, {"xmlns": ROOT.format(kind=document.kind), **spaces})
    _head(root, document)
    _references(root, document)
    _party(_add(root, "cac:AccountingSupplierParty"), document.seller, document)
    _party(_add(root, "cac:AccountingCustomerParty"), document.buyer, document)
    delivery = _add(root, "cac:Delivery")
    _add(delivery, "cbc:ActualDeliveryDate", document.last_day.isoformat())
    if document.has(INTRA_COMMUNITY):
        address = _add(_add(delivery, "cac:DeliveryLocation"), "cac:Address")
        _add(_add(address, "cac:Country"), "cbc:IdentificationCode", document.buyer.country)
    _payment(root, document)
    for allowance in document.allowances:
        _allowance(root, allowance, document.currency)
    _taxes(root, document)
    _totals(root, document)
    for line in document.lines:
        _line(root, line, document)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written + b"\n"


def _head(root: Element, document: EDocument) -> None:
    _add(root, "cbc:CustomizationID", SPECIFICATION)
    _add(root, "cbc:ID", document.number)
    _add(root, "cbc:IssueDate", document.issued_on.isoformat())
    if document.kind == INVOICE and document.due_on:
        _add(root, "cbc:DueDate", document.due_on.isoformat())
    _add(root, f"cbc:{document.kind}TypeCode", TYPE_CODES[document.kind])
    for note in document.notes:
        _add(root, "cbc:Note", note)
    _add(root, "cbc:DocumentCurrencyCode", document.currency)
    if document.purchase_order:
        _add(root, "cbc:BuyerReference", document.purchase_order)
    _period(root, document.first_day, document.last_day)


def _references(root: Element, document: EDocument) -> None:
    if document.purchase_order:
        _add(_add(root, "cac:OrderReference"), "cbc:ID", document.purchase_order)
    for number, day in document.preceding:
        reference = _add(_add(root, "cac:BillingReference"), "cac:InvoiceDocumentReference")
        _add(reference, "cbc:ID", number)
        if day is not None:
            _add(reference, "cbc:IssueDate", day.isoformat())
    _add(_add(root, "cac:ContractDocumentReference"), "cbc:ID", document.contract)


def _party(around: Element, party: PartyDetails, document: EDocument) -> None:
    made = _add(around, "cac:Party")
    address = _add(made, "cac:PostalAddress")
    names = ("cbc:StreetName", "cbc:AdditionalStreetName")
    for name, text in zip(names, party.address, strict=False):
        _add(address, name, text)
    if party.address[2:]:
        _add(_add(address, "cac:AddressLine"), "cbc:Line", ", ".join(party.address[2:]))
    _add(_add(address, "cac:Country"), "cbc:IdentificationCode", party.country)
    if party.tax_id and not document.has(OUTSIDE):  # an invoice that is outside the scope of tax may not name the ids
        scheme = _add(made, "cac:PartyTaxScheme")
        _add(scheme, "cbc:CompanyID", party.tax_id)
        _add(_add(scheme, "cac:TaxScheme"), "cbc:ID", "VAT" if is_vat_id(party.tax_id) else "TAX")
    legal = _add(made, "cac:PartyLegalEntity")
    _add(legal, "cbc:RegistrationName", party.name)
    if party.registration:
        _add(legal, "cbc:CompanyID", party.registration)
    if party.email:
        _add(_add(made, "cac:Contact"), "cbc:ElectronicMail", party.email)


def _payment(root: Element, document: EDocument) -> None:
    if document.iban:
        means = _add(root, "cac:PaymentMeans")
        _add(means, "cbc:PaymentMeansCode", CREDIT_TRANSFER)
        _add(means, "cbc:PaymentID", document.number)
        account = _add(means, "cac:PayeeFinancialAccount")
        _add(account, "cbc:ID", document.iban)
        if document.bic:
            _add(_add(account, "cac:FinancialInstitutionBranch"), "cbc:ID", document.bic)
    _add(_add(root, "cac:PaymentTerms"), "cbc:Note", document.terms)


def _allowance(root: Element, allowance: Allowance, currency: str) -> None:
    made = _add(root, "cac:AllowanceCharge")
    _add(made, "cbc:ChargeIndicator", "true" if allowance.amount < 0 else "false")
    _add(made, "cbc:AllowanceChargeReason", allowance.reason)
    _amount(made, "cbc:Amount", allowance.amount.copy_abs(), currency)
    _category(made, "cac:TaxCategory", allowance.category, allowance.percent)


def _taxes(root: Element, document: EDocument) -> None:
    made = _add(root, "cac:TaxTotal")
    _amount(made, "cbc:TaxAmount", document.tax, document.currency)
    for tax in document.taxes:
        part = _add(made, "cac:TaxSubtotal")
        _amount(part, "cbc:TaxableAmount", tax.base, document.currency)
        _amount(part, "cbc:TaxAmount", tax.amount, document.currency)
        _category(part, "cac:TaxCategory", tax.category, tax.percent, tax.reason)


def _category(around: Element, name: str, category: str, percent: Decimal, reason: str = "") -> None:
    made = _add(around, name)
    _add(made, "cbc:ID", category)
    if category != OUTSIDE:
        _add(made, "cbc:Percent", plain(percent))
    if reason and category in WITH_REASON:
        _add(made, "cbc:TaxExemptionReason", reason)
    _add(_add(made, "cac:TaxScheme"), "cbc:ID", "VAT")


def _totals(root: Element, document: EDocument) -> None:
    currency = document.currency
    made = _add(root, "cac:LegalMonetaryTotal")
    _amount(made, "cbc:LineExtensionAmount", document.of_lines, currency)
    _amount(made, "cbc:TaxExclusiveAmount", document.before_tax, currency)
    _amount(made, "cbc:TaxInclusiveAmount", document.total, currency)
    for name, amount in (("Allowance", document.allowed), ("Charge", document.charged)):
        if amount:
            _amount(made, f"cbc:{name}TotalAmount", amount, currency)
    if document.prepaid:
        _amount(made, "cbc:PrepaidAmount", document.prepaid, currency)
    _amount(made, "cbc:PayableAmount", document.payable, currency)


def _line(root: Element, line: ELine, document: EDocument) -> None:
    made = _add(root, f"cac:{document.kind}Line")
    _add(made, "cbc:ID", str(line.position))
    name = "InvoicedQuantity" if document.kind == INVOICE else "CreditedQuantity"
    _add(made, f"cbc:{name}", plain(line.quantity)).set("unitCode", ONE)
    _amount(made, "cbc:LineExtensionAmount", line.amount, document.currency)
    _period(made, line.first_day, line.last_day)
    item = _add(made, "cac:Item")
    if line.description:
        _add(item, "cbc:Description", line.description)
    _add(item, "cbc:Name", line.name)
    _category(item, "cac:ClassifiedTaxCategory", line.category, line.percent)
    price = _add(_add(made, "cac:Price"), "cbc:PriceAmount", plain(line.price))
    price.set("currencyID", document.currency)


def _period(around: Element, first: date, last: date) -> None:
    made = _add(around, "cac:InvoicePeriod")
    _add(made, "cbc:StartDate", first.isoformat())
    _add(made, "cbc:EndDate", last.isoformat())


def _amount(around: Element, name: str, amount: Decimal, currency: str) -> None:
    _add(around, name, plain(amount)).set("currencyID", currency)


def _add(around: Element, name: str, text: str = "") -> Element:
    made = ElementTree.SubElement(around, name)
    made.text = printable(text) or None
    return made
