"""Invoices and credit notes as XML of UN/CEFACT's Cross Industry Invoice (D16B), which Factur-X puts into PDFs. Pure.

Elements are written in the order of the schema.
"""

from datetime import date
from decimal import Decimal
from xml.etree import ElementTree

from billing_project.decimals import plain
from invoicing.edocument import (
    CREDIT_TRANSFER,
    INTRA_COMMUNITY,
    ONE,
    OUTSIDE,
    SPECIFICATION,
    TYPE_CODES,
    WITH_REASON,
    Allowance,
    EDocument,
    ELine,
    PartyDetails,
    TaxPart,
    is_vat_id,
    printable,
)

SPACES = {
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "qdt": "urn:un:unece:uncefact:data:standard:QualifiedDataType:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
}
CCYYMMDD = "102"  # of UNTDID 2379
VAT_ID, OTHER_TAX_ID = "VA", "FC"

Element = ElementTree.Element


def cii(document: EDocument) -> bytes:
    """The XML of a document, in UTF-8."""
    root = Element("rsm:CrossIndustryInvoice", {f"xmlns:{prefix}": space for prefix, space in SPACES.items()})
    context = _add(root, "rsm:ExchangedDocumentContext")
    _add(_add(context, "ram:GuidelineSpecifiedDocumentContextParameter"), "ram:ID", SPECIFICATION)
    head = _add(root, "rsm:ExchangedDocument")
    _add(head, "ram:ID", document.number)
    _add(head, "ram:TypeCode", TYPE_CODES[document.kind])
    _date(_add(head, "ram:IssueDateTime"), document.issued_on)
    for note in document.notes:
        _add(_add(head, "ram:IncludedNote"), "ram:Content", note)
    transaction = _add(root, "rsm:SupplyChainTradeTransaction")
    for line in document.lines:
        _line(transaction, line)
    _agreement(transaction, document)
    delivery = _add(transaction, "ram:ApplicableHeaderTradeDelivery")
    if document.has(INTRA_COMMUNITY):
        address = _add(_add(delivery, "ram:ShipToTradeParty"), "ram:PostalTradeAddress")
        _add(address, "ram:CountryID", document.buyer.country)
    _date(_add(_add(delivery, "ram:ActualDeliverySupplyChainEvent"), "ram:OccurrenceDateTime"), document.last_day)
    _settlement(transaction, document)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written + b"\n"


def _line(around: Element, line: ELine) -> None:
    made = _add(around, "ram:IncludedSupplyChainTradeLineItem")
    _add(_add(made, "ram:AssociatedDocumentLineDocument"), "ram:LineID", str(line.position))
    product = _add(made, "ram:SpecifiedTradeProduct")
    _add(product, "ram:Name", line.name)
    if line.description:
        _add(product, "ram:Description", line.description)
    price = _add(_add(made, "ram:SpecifiedLineTradeAgreement"), "ram:NetPriceProductTradePrice")
    _add(price, "ram:ChargeAmount", plain(line.price))
    quantity = _add(_add(made, "ram:SpecifiedLineTradeDelivery"), "ram:BilledQuantity", plain(line.quantity))
    quantity.set("unitCode", ONE)
    settled = _add(made, "ram:SpecifiedLineTradeSettlement")
    _category(_add(settled, "ram:ApplicableTradeTax"), line.category, line.percent)
    _period(settled, line.first_day, line.last_day)
    _add(_add(settled, "ram:SpecifiedTradeSettlementLineMonetarySummation"), "ram:LineTotalAmount", plain(line.amount))


def _agreement(around: Element, document: EDocument) -> None:
    made = _add(around, "ram:ApplicableHeaderTradeAgreement")
    if document.purchase_order:
        _add(made, "ram:BuyerReference", document.purchase_order)
    _party(_add(made, "ram:SellerTradeParty"), document.seller, document)
    _party(_add(made, "ram:BuyerTradeParty"), document.buyer, document)
    if document.purchase_order:
        _add(_add(made, "ram:BuyerOrderReferencedDocument"), "ram:IssuerAssignedID", document.purchase_order)
    _add(_add(made, "ram:ContractReferencedDocument"), "ram:IssuerAssignedID", document.contract)


def _party(made: Element, party: PartyDetails, document: EDocument) -> None:
    _add(made, "ram:Name", party.name)
    if party.registration:
        _add(_add(made, "ram:SpecifiedLegalOrganization"), "ram:ID", party.registration)
    if party.email:
        contact = _add(_add(made, "ram:DefinedTradeContact"), "ram:EmailURIUniversalCommunication")
        _add(contact, "ram:URIID", party.email)
    address = _add(made, "ram:PostalTradeAddress")
    texts = (*party.address[:2], ", ".join(party.address[2:]))
    for name, text in zip(("ram:LineOne", "ram:LineTwo", "ram:LineThree"), texts, strict=False):
        if text:
            _add(address, name, text)
    _add(address, "ram:CountryID", party.country)
    if party.tax_id and not document.has(OUTSIDE):  # an invoice that is outside the scope of tax may not name the ids
        number = _add(_add(made, "ram:SpecifiedTaxRegistration"), "ram:ID", party.tax_id)
        number.set("schemeID", VAT_ID if is_vat_id(party.tax_id) else OTHER_TAX_ID)


def _settlement(around: Element, document: EDocument) -> None:
    made = _add(around, "ram:ApplicableHeaderTradeSettlement")
    if document.iban:
        _add(made, "ram:PaymentReference", document.number)
    _add(made, "ram:InvoiceCurrencyCode", document.currency)
    if document.iban:
        means = _add(made, "ram:SpecifiedTradeSettlementPaymentMeans")
        _add(means, "ram:TypeCode", CREDIT_TRANSFER)
        _add(_add(means, "ram:PayeePartyCreditorFinancialAccount"), "ram:IBANID", document.iban)
        if document.bic:
            _add(_add(means, "ram:PayeeSpecifiedCreditorFinancialInstitution"), "ram:BICID", document.bic)
    for tax in document.taxes:
        _tax(made, tax)
    _period(made, document.first_day, document.last_day)
    for allowance in document.allowances:
        _allowance(made, allowance)
    terms = _add(made, "ram:SpecifiedTradePaymentTerms")
    _add(terms, "ram:Description", document.terms)
    if document.due_on is not None:
        _date(_add(terms, "ram:DueDateDateTime"), document.due_on)
    _totals(made, document)
    for number, day in document.preceding:
        reference = _add(made, "ram:InvoiceReferencedDocument")
        _add(reference, "ram:IssuerAssignedID", number)
        if day is not None:
            _date(_add(reference, "ram:FormattedIssueDateTime"), day, "qdt")


def _tax(around: Element, tax: TaxPart) -> None:
    made = _add(around, "ram:ApplicableTradeTax")
    _add(made, "ram:CalculatedAmount", plain(tax.amount))
    _add(made, "ram:TypeCode", "VAT")
    if tax.reason and tax.category in WITH_REASON:
        _add(made, "ram:ExemptionReason", tax.reason)
    _add(made, "ram:BasisAmount", plain(tax.base))
    _rate(made, tax.category, tax.percent)


def _allowance(around: Element, allowance: Allowance) -> None:
    made = _add(around, "ram:SpecifiedTradeAllowanceCharge")
    _add(_add(made, "ram:ChargeIndicator"), "udt:Indicator", "true" if allowance.amount < 0 else "false")
    _add(made, "ram:ActualAmount", plain(allowance.amount.copy_abs()))
    _add(made, "ram:Reason", allowance.reason)
    _category(_add(made, "ram:CategoryTradeTax"), allowance.category, allowance.percent)


def _category(made: Element, category: str, percent: Decimal) -> None:
    _add(made, "ram:TypeCode", "VAT")
    _rate(made, category, percent)


def _rate(made: Element, category: str, percent: Decimal) -> None:
    _add(made, "ram:CategoryCode", category)
    if category != OUTSIDE:
        _add(made, "ram:RateApplicablePercent", plain(percent))


def _totals(around: Element, document: EDocument) -> None:
    made = _add(around, "ram:SpecifiedTradeSettlementHeaderMonetarySummation")
    _add(made, "ram:LineTotalAmount", plain(document.of_lines))
    for name, amount in (("Charge", document.charged), ("Allowance", document.allowed)):
        if amount:
            _add(made, f"ram:{name}TotalAmount", plain(amount))
    _add(made, "ram:TaxBasisTotalAmount", plain(document.before_tax))
    _add(made, "ram:TaxTotalAmount", plain(document.tax)).set("currencyID", document.currency)
    _add(made, "ram:GrandTotalAmount", plain(document.total))
    if document.prepaid:
        _add(made, "ram:TotalPrepaidAmount", plain(document.prepaid))
    _add(made, "ram:DuePayableAmount", plain(document.payable))


def _period(around: Element, first: date, last: date) -> None:
    made = _add(around, "ram:BillingSpecifiedPeriod")
    _date(_add(made, "ram:StartDateTime"), first)
    _date(_add(made, "ram:EndDateTime"), last)


def _date(around: Element, day: date, space: str = "udt") -> None:
    _add(around, f"{space}:DateTimeString", f"{day:%Y%m%d}").set("format", CCYYMMDD)


def _add(around: Element, name: str, text: str = "") -> Element:
    made = ElementTree.SubElement(around, name)
    made.text = printable(text) or None
    return made
