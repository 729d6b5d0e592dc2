"""Tax: which rate holds for a line, what is due by rate, and how much of it a credit note takes back. Pure.

Tax is rounded once per rate and invoice, half up, as EN 16931 has it. Where prices include it, it is taken out of the
lines: what they come to together stays the same to the cent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from msgspec.structs import replace

from billing_project.decimals import plain
from catalog.money import ONE, ZERO, add, divide, multiply, round_amount, subtract
from contracts.lines import Line
from meters.periods import Period

HUNDRED = Decimal(100)
MOMENT = timedelta(microseconds=1)
# Typed or owed before tax, whatever prices include.
BEFORE_TAX = frozenset({"manual"})


@dataclass(frozen=True, slots=True)
class Tax:
    """A rate of tax: `rate` is a fraction, 0.19 for 19%. `category` is its code of UNCL 5305; `note` says why nothing
    is charged. It holds for products of `product_category`, from an instant to an instant.
    """

    rate: Decimal
    name: str = "Tax"
    key: str = ""
    category: str = "S"
    country: str = ""
    region: str = ""
    product_category: str = ""
    inclusive: bool = False
    note: str = ""
    starting_at: datetime | None = None
    ending_before: datetime | None = None

    @property
    def percent(self) -> Decimal:
        return multiply(self.rate, HUNDRED)

    def holds_at(self, instant: datetime) -> bool:
        started = self.starting_at is None or self.starting_at <= instant
        return started and (self.ending_before is None or instant < self.ending_before)


@dataclass(frozen=True, slots=True)
class TaxRules:
    """What decides the tax of a customer's lines: one `tax` for all of them, or the `rates` of its country.

    `expected`: some rate should be found for every line.
    """

    tax: Tax | None = None
    rates: tuple[Tax, ...] = ()
    expected: bool = False


NO_TAX = TaxRules()


@dataclass(frozen=True, slots=True)
class TaxTotal:
    """What is due by one rate: `base` is what it is due on, before tax."""

    key: str
    name: str
    category: str
    percent: Decimal
    base: Decimal
    amount: Decimal
    country: str = ""
    inclusive: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Taxed:
    """The lines with their tax keys, before tax; a line for each tax that is charged; the sums; whether a line found no
    rate although one was expected.
    """

    lines: list[Line]
    tax_lines: list[Line]
    totals: tuple[TaxTotal, ...]
    untaxed: bool


def taxed(
    lines: Sequence[Line], rules: TaxRules, categories: Mapping[str, str], period: Period, currency: str
) -> Taxed:
    """Work out the tax of lines in the currency; `categories` are the tax categories of products, by key."""
    if rules == NO_TAX:
        return Taxed(list(lines), [], (), untaxed=False)
    groups: dict[str, _Group] = {}
    found: list[Line] = []
    untaxed = False
    for line in lines:
        tax = None if line.unit else tax_of(line, rules, categories.get(line.product, ""))
        if tax is None:
            untaxed = untaxed or (rules.expected and not line.unit and bool(line.amount))
            found.append(line)
        else:
            found.append(groups.setdefault(tax.key, _Group(tax, currency)).take(line))
    sums = [(group.tax, group.total()) for group in groups.values()]
    charged = [_tax_line(tax, total, period) for tax, total in sums if total.amount]
    return Taxed(found, charged, tuple(total for _, total in sums), untaxed)


def tax_of(line: Line, rules: TaxRules, product_category: str) -> Tax | None:
    """The rate that holds for a line when its service ends; that of the product's category before the usual one, that
    of a region before the country's.
    """
    if rules.tax is not None:
        return rules.tax
    at = line.period.ending_before - MOMENT
    fitting = [tax for tax in rules.rates if tax.product_category in ("", product_category) and tax.holds_at(at)]
    return max(fitting, key=lambda tax: (tax.product_category != "", tax.region != ""), default=None)


@dataclass(slots=True)
class _Group:
    """The lines of one rate, taken one after the other."""

    tax: Tax
    currency: str
    gross: Decimal = ZERO
    net: Decimal = ZERO
    before_tax: Decimal = ZERO

    def take(self, line: Line) -> Line:
        if not self.tax.inclusive or line.kind in BEFORE_TAX:
            self.before_tax = add([self.before_tax, line.amount])
            return replace(line, tax_key=self.tax.key)
        # What all so far come to before tax, less what those before did: so the parts add up to the whole.
        self.gross = add([self.gross, line.amount])
        so_far = without_tax(self.gross, self.tax.rate, self.currency)
        amount, self.net = subtract(so_far, self.net), so_far
        exact = divide(line.amount_exact, add([ONE, self.tax.rate]))
        return replace(line, tax_key=self.tax.key, amount=amount, amount_exact=exact, gross_amount=line.amount)

    def total(self) -> TaxTotal:
        tax = self.tax
        amount = add([subtract(self.gross, self.net), round_amount(multiply(self.before_tax, tax.rate), self.currency)])
        return TaxTotal(
            tax.key,
            tax.name,
            tax.category,
            tax.percent,
            add([self.net, self.before_tax]),
            amount,
            tax.country,
            tax.inclusive,
            tax.note,
        )


def without_tax(gross: Decimal, rate: Decimal, currency: str) -> Decimal:
    """What is left of an amount without the tax it includes, rounded half up."""
    return round_amount(divide(gross, add([ONE, rate])), currency)


def _tax_line(tax: Tax, total: TaxTotal, period: Period) -> Line:
    name = f"{tax.name} {plain(tax.percent)}%"
    return Line(
        "tax",
        "",
        name,
        (),
        period,
        quantity=total.base,
        billed_quantity=total.base,
        unit_amount=tax.rate,
        amount=total.amount,
        amount_exact=total.amount if tax.inclusive else multiply(total.base, tax.rate),
        source=name,
        tax_key=tax.key,
    )


class Part(Protocol):
    """A part of a line that is credited, before tax."""

    @property
    def tax_key(self) -> str: ...
    @property
    def amount(self) -> Decimal: ...


@dataclass(frozen=True, slots=True)
class Credited:
    tax_key: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CreditedBefore:
    """What earlier credit notes took back: base and tax by key."""

    bases: Mapping[str, Decimal] = field(default_factory=dict)
    taxes: Mapping[str, Decimal] = field(default_factory=dict)


def credited_taxes(
    parts: Iterable[Part], totals: Sequence[TaxTotal], before: CreditedBefore, currency: str
) -> tuple[TaxTotal, ...]:
    """The tax in what is credited, by rate, in proportion to the invoice's; once a rate's whole base is credited, all
    of its tax is.
    """
    bases: dict[str, Decimal] = {}
    for part in parts:
        bases[part.tax_key] = add([bases.get(part.tax_key, ZERO), part.amount])
    found = []
    for total in totals:
        base = bases.get(total.key, ZERO)
        if base:
            so_far = add([before.bases.get(total.key, ZERO), base])
            # Credits and discounts may have left less to tax than the lines: never more than was charged.
            share = divide(multiply(min(so_far, total.base), total.amount), total.base) if total.base else ZERO
            amount = subtract(round_amount(share, currency), before.taxes.get(total.key, ZERO))
            found.append(
                TaxTotal(
                    total.key,
                    total.name,
                    total.category,
                    total.percent,
                    base,
                    amount,
                    total.country,
                    total.inclusive,
                    total.note,
                )
            )
    return tuple(found)


def written_taxes(totals: Iterable[TaxTotal]) -> list[dict[str, object]]:
    """As they are stored with an invoice or credit note."""
    return [
        {
            "key": total.key,
            "name": total.name,
            "category": total.category,
            "percent": plain(total.percent),
            "base": plain(total.base),
            "amount": plain(total.amount),
            "country": total.country,
            "inclusive": total.inclusive,
            "note": total.note,
        }
        for total in totals
    ]


def read_taxes(stored: Iterable[Mapping[str, object]]) -> tuple[TaxTotal, ...]:
    """As `written_taxes` wrote them."""
    return tuple(
        TaxTotal(
            str(row["key"]),
            str(row["name"]),
            str(row["category"]),
            Decimal(str(row["percent"])),
            Decimal(str(row["base"])),
            Decimal(str(row["amount"])),
            str(row["country"]),
            bool(row["inclusive"]),
            str(row["note"]),
        )
        for row in stored
    )
