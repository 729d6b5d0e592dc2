"""What an electronic invoice or credit note of EN 16931 says, however it is written down. Pure.

Amounts have two places. What EN 16931 demands is expected to be there: `einvoices` looks for it and names what is not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from catalog.money import ZERO, add, negate, subtract

SPECIFICATION = "urn:cen.eu:en16931:2017"
INVOICE, CREDIT_NOTE = "Invoice", "CreditNote"
TYPE_CODES = {INVOICE: "380", CREDIT_NOTE: "381"}  # of UNTDID 1001
CREDIT_TRANSFER = "30"  # of UNTDID 4461
ONE = "C62"  # a piece, in UN/ECE recommendation 20
# With these nothing is charged, and the reason must be said.
WITH_REASON = ("E", "AE", "K", "G", "O")
OUTSIDE, INTRA_COMMUNITY = "O", "K"


@dataclass(frozen=True, slots=True)
class PartyDetails:
    """Seller or buyer; `country` is two letters of ISO 3166."""

    name: str
    address: tuple[str, ...]
    country: str
    tax_id: str = ""
    registration: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class TaxPart:
    """What is due by one category and percentage."""

    category: str
    percent: Decimal
    base: Decimal
    amount: Decimal
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ELine:
    """A line: `price` is not below zero, quantity times price is the amount to the cent."""

    position: int
    name: str
    description: str
    quantity: Decimal
    price: Decimal
    amount: Decimal
    category: str
    percent: Decimal
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is taken off as a whole, a discount or what a commit paid; below zero it is a charge."""

    reason: str
    amount: Decimal
    category: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class EDocument:
    """An invoice or credit note. `prepaid` was billed before; `preceding` are the invoices it refers to."""

    kind: str
    number: str
    issued_on: date
    due_on: date | None
    currency: str
    first_day: date
    last_day: date
    contract: str
    purchase_order: str
    seller: PartyDetails
    buyer: PartyDetails
    terms: str
    lines: tuple[ELine, ...]
    allowances: tuple[Allowance, ...]
    taxes: tuple[TaxPart, ...]
    prepaid: Decimal = ZERO
    preceding: tuple[tuple[str, date | None], ...] = ()
    iban: str = ""
    bic: str = ""
    notes: tuple[str, ...] = ()

    @property
    def of_lines(self) -> Decimal:
        return add(line.amount for line in self.lines)

    @property
    def allowed(self) -> Decimal:
        return add(each.amount for each in self.allowances if each.amount >= 0)

    @property
    def charged(self) -> Decimal:
        return add(negate(each.amount) for each in self.allowances if each.amount < 0)

    @property
    def before_tax(self) -> Decimal:
        return subtract(add([self.of_lines, self.charged]), self.allowed)

    @property
    def tax(self) -> Decimal:
        return add(tax.amount for tax in self.taxes)

    @property
    def total(self) -> Decimal:
        return add([self.before_tax, self.tax])

    @property
    def payable(self) -> Decimal:
        return subtract(self.total, self.prepaid)

    def has(self, category: str) -> bool:
        """Whether some of it falls under a category of tax."""
        return any(tax.category == category for tax in self.taxes)


def is_vat_id(tax_id: str) -> bool:
    """A VAT identifier begins with its country."""
    return tax_id[:2].isascii() and tax_id[:2].isalpha() and tax_id[:2].isupper()


def printable(text: str) -> str:
    """XML has no place for control characters."""
    return "".join(each for each in text if each in "\t\n" or each >= " ")


def merged(parts: Iterable[TaxPart]) -> tuple[TaxPart, ...]:
    """One part for each category and percentage, as EN 16931 wants them, whatever our rates are called."""
    found: dict[tuple[str, Decimal], TaxPart] = {}
    for part in parts:
        place = part.category, part.percent
        known = found.get(place)
        if known is None:
            found[place] = part
        else:
            reason = known.reason if part.reason in known.reason else f"{known.reason} {part.reason}".strip()
            found[place] = TaxPart(
                part.category, part.percent, add([known.base, part.base]), add([known.amount, part.amount]), reason
            )
    return tuple(found.values())
