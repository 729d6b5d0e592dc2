"""The tax of customers, from their own settings and the rates there are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal

from django.conf import settings

from catalog.models import TaxRate
from catalog.money import divide
from contracts.models import Customer, TaxTreatment
from invoicing.taxation import HUNDRED, Tax, TaxRules

_ASKING_NOBODY: ContextVar[bool] = ContextVar("asking_nobody", default=False)
# Name, code of EN 16931 and words on the invoice of what is not charged.
TREATMENTS: dict[str, tuple[str, str, str]] = {
    TaxTreatment.EXEMPT: ("Tax exempt", "E", ""),
    TaxTreatment.REVERSE_CHARGE: (
        "Reverse charge",
        "AE",
        "Reverse charge: the recipient of the service is liable for the tax (Article 196 of Directive 2006/112/EC).",
    ),
    TaxTreatment.INTRA_COMMUNITY: (
        "Intra-community supply",
        "K",
        "Exempt intra-community supply (Article 138 of Directive 2006/112/EC).",
    ),
    TaxTreatment.EXPORT: ("Export", "G", "Export: not taxed here."),
    TaxTreatment.OUTSIDE: ("Outside the scope of tax", "O", "Outside the scope of tax."),
}


@contextmanager
def asking_nobody() -> Iterator[None]:
    """Within it Stripe Tax is asked nothing, whatever the settings say: what is simulated is nobody's sale."""
    token = _ASKING_NOBODY.set(True)
    try:
        yield
    finally:
        _ASKING_NOBODY.reset(token)


def by_stripe(customer: Customer) -> bool:
    """Whether Stripe Tax computes what a customer pays: it is switched on, and the customer has no terms of its own."""
    switched_on = bool(settings.STRIPE_TAX and settings.STRIPE_SECRET_KEY and not _ASKING_NOBODY.get())
    return switched_on and not customer.tax_treatment and customer.tax_rate is None


class TaxTerms:
    """The rates of tax there are, for any number of customers."""

    def __init__(self, rates: Sequence[TaxRate]) -> None:
        self._rates = rates

    def rules(self, customer: Customer) -> TaxRules:
        """What decides the tax of invoices addressed to a customer; nothing here where Stripe Tax does."""
        if by_stripe(customer):
            return TaxRules()
        if customer.tax_treatment:
            name, category, words = TREATMENTS[customer.tax_treatment]
            note = customer.tax_note or words
            return TaxRules(Tax(Decimal(0), name, customer.tax_treatment, category, customer.country, note=note))
        if customer.tax_rate is not None:
            return TaxRules(Tax(customer.tax_rate, country=customer.country) if customer.tax_rate else None)
        if not self._rates:
            return TaxRules()
        rates = tuple(
            _tax(row) for row in self._rates if row.country == customer.country and row.region in ("", customer.region)
        )
        return TaxRules(rates=rates, expected=True)


def _tax(row: TaxRate) -> Tax:
    return Tax(
        rate=divide(row.percent, HUNDRED),
        name=row.name,
        key=row.key,
        category=row.category,
        country=row.country,
        region=row.region,
        product_category=row.product_category,
        inclusive=row.inclusive,
        note=row.note,
        starting_at=row.starting_at,
        ending_before=row.ending_before,
    )
