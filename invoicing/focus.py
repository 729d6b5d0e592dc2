"""Invoice lines in the columns of FOCUS 1.2 (the FinOps Open Cost and Usage Specification). Pure.

A row is a line of an issued invoice, or what a credit note took off one; the billed costs of an invoice id add up to
what the document came to. Custom columns begin with `x_`, as the specification asks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from catalog.money import EXACT, ZERO, add, multiply
from invoicing.exports.columns import Column, Kind

COLUMNS = (
    Column("BilledCost", Kind.NUMBER),
    Column("BillingAccountId"),
    Column("BillingAccountName"),
    Column("BillingAccountType"),
    Column("BillingCurrency"),
    Column("BillingPeriodEnd", Kind.INSTANT),
    Column("BillingPeriodStart", Kind.INSTANT),
    Column("ChargeCategory"),
    Column("ChargeClass"),
    Column("ChargeDescription"),
    Column("ChargeFrequency"),
    Column("ChargePeriodEnd", Kind.INSTANT),
    Column("ChargePeriodStart", Kind.INSTANT),
    Column("CommitmentDiscountCategory"),
    Column("CommitmentDiscountId"),
    Column("CommitmentDiscountName"),
    Column("CommitmentDiscountStatus"),
    Column("CommitmentDiscountType"),
    Column("ConsumedQuantity", Kind.NUMBER),
    Column("ConsumedUnit"),
    Column("ContractedCost", Kind.NUMBER),
    Column("ContractedUnitPrice", Kind.NUMBER),
    Column("EffectiveCost", Kind.NUMBER),
    Column("InvoiceId"),
    Column("InvoiceIssuerName"),
    Column("ListCost", Kind.NUMBER),
    Column("ListUnitPrice", Kind.NUMBER),
    Column("PricingCategory"),
    Column("PricingCurrency"),
    Column("PricingQuantity", Kind.NUMBER),
    Column("PricingUnit"),
    Column("ProviderName"),
    Column("PublisherName"),
    Column("ServiceCategory"),
    Column("ServiceName"),
    Column("SkuId"),
    Column("SkuMeter"),
    Column("SkuPriceId"),
    Column("SubAccountId"),
    Column("SubAccountName"),
    Column("SubAccountType"),
    Column("Tags", Kind.JSON),
    Column("x_Contract"),
    Column("x_CustomUnitAmount", Kind.NUMBER),
    Column("x_EventCount", Kind.INTEGER),
    Column("x_InvoicePosition", Kind.INTEGER),
    Column("x_LineKind"),
)
# A product says its category with a tag such as `focus:Compute`.
TAG = "focus:"
SERVICE_CATEGORIES = (
    *("AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools"),
    *("Multicloud", "Identity", "Integration", "Internet of Things", "Management and Governance", "Media", "Migration"),
    *("Mobile", "Networking", "Security", "Storage", "Web", "Other"),
)
CATEGORIES = {
    **dict.fromkeys(("usage", "percent_of_spend", "conversion"), "Usage"),
    **dict.fromkeys(("subscription", "fixed", "commit_purchase"), "Purchase"),
    **dict.fromkeys(("discount", "draw"), "Credit"),
    "tax": "Tax",
}
ADJUSTMENT = "Adjustment"
PRICED = ("Usage", "Purchase")
FREQUENCIES = {
    **dict.fromkeys(("usage", "percent_of_spend", "conversion", "draw", "discount"), "Usage-Based"),
    **dict.fromkeys(("subscription", "minimum"), "Recurring"),
}
PLACES = Decimal("1e-18")


@dataclass(frozen=True, slots=True)
class Charge:
    """A line of an issued document with what FOCUS wants to know about it. Amounts are in the currency, before tax.

    `list_amount`: what the rate card alone would have charged, unrounded. `released`: how much of the price of a
    prepaid commit a draw uses up. `correction`: of a period invoiced before.
    """

    document: str
    position: int | None
    kind: str
    product: str
    name: str
    group: Mapping[str, Any]
    starting_at: datetime
    ending_before: datetime
    billed_from: datetime
    billed_until: datetime
    currency: str
    amount: Decimal
    amount_exact: Decimal
    list_amount: Decimal
    quantity: Decimal | None
    billed_quantity: Decimal | None
    unit: str
    consumed_unit: str
    pricing_unit: str
    dynamic: bool
    meter: str
    events: int | None
    balance: str
    released: Decimal
    correction: bool
    seller: str
    account: tuple[str, str]
    customer: tuple[str, str]
    contract: str
    service: str
    tags: tuple[str, ...] = ()


def service_category(tags: tuple[str, ...]) -> str:
    """The first tag that names one, else Other."""
    known = {each.lower(): each for each in SERVICE_CATEGORIES}
    named = (known.get(tag.removeprefix(TAG).lower()) for tag in tags if tag.startswith(TAG))
    return next((each for each in named if each), "Other")


def focus_row(charge: Charge) -> dict[str, Any]:
    """A value for each of COLUMNS; numbers have at most 18 places."""
    row = _row(charge)
    return {name: _held(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _held(value: Decimal) -> Decimal:
    exponent = value.as_tuple().exponent
    return value.quantize(PLACES, ROUND_HALF_UP, EXACT) if isinstance(exponent, int) and exponent < -18 else value


def _row(charge: Charge) -> dict[str, Any]:
    category = CATEGORIES.get(charge.kind, ADJUSTMENT)
    priced = category in PRICED and not charge.correction
    # A line in a custom pricing unit costs nothing here: the line that converts the units does.
    billed = ZERO if charge.unit else charge.amount
    quantity, contracted, listed = _prices(charge) if priced else (None, billed, billed)
    used = category == "Usage" and not charge.correction and charge.kind == "usage"
    return {
        "BilledCost": billed,
        "BillingAccountId": charge.account[0],
        "BillingAccountName": charge.account[1],
        "BillingAccountType": "Payer",
        "BillingCurrency": charge.currency,
        "BillingPeriodEnd": charge.billed_until,
        "BillingPeriodStart": charge.billed_from,
        "ChargeCategory": category,
        "ChargeClass": "Correction" if charge.correction else None,
        "ChargeDescription": charge.name,
        "ChargeFrequency": FREQUENCIES.get(charge.kind, "One-Time"),
        "ChargePeriodEnd": charge.ending_before,
        "ChargePeriodStart": charge.starting_at,
        **_commitment(charge, category),
        "ConsumedQuantity": charge.quantity if used else None,
        "ConsumedUnit": charge.consumed_unit if used else None,
        "ContractedCost": contracted,
        "ContractedUnitPrice": _unit_price(contracted, quantity),
        "EffectiveCost": _effective(charge, billed),
        "InvoiceId": charge.document,
        "InvoiceIssuerName": charge.seller,
        "ListCost": listed,
        "ListUnitPrice": _unit_price(listed, quantity),
        "PricingCategory": _pricing_category(charge) if priced else None,
        "PricingCurrency": charge.unit or charge.currency,
        "PricingQuantity": quantity,
        "PricingUnit": (charge.pricing_unit if charge.billed_quantity else "Fees") if quantity is not None else None,
        "ProviderName": charge.seller,
        "PublisherName": charge.seller,
        "ServiceCategory": service_category(charge.tags),
        "ServiceName": charge.service,
        **_sku(charge, category),
        "SubAccountId": charge.customer[0],
        "SubAccountName": charge.customer[1],
        "SubAccountType": "Customer",
        "Tags": dict(charge.group),
        "x_Contract": charge.contract,
        "x_CustomUnitAmount": charge.amount if charge.unit else None,
        "x_EventCount": charge.events,
        "x_InvoicePosition": charge.position,
        "x_LineKind": charge.kind,
    }


def _prices(charge: Charge) -> tuple[Decimal, Decimal, Decimal]:
    """Quantity, contracted and list cost; a fee whatever the quantity is one of itself. Unit prices are never below
    zero, so what gives money back has a quantity below zero.
    """
    if charge.unit:
        return charge.billed_quantity or Decimal(1), ZERO, ZERO
    if charge.billed_quantity:
        sign = -1 if charge.amount_exact < 0 < charge.billed_quantity else 1
        return multiply(charge.billed_quantity, Decimal(sign)), charge.amount_exact, charge.list_amount
    return Decimal(-1 if charge.amount_exact < 0 else 1), charge.amount_exact, charge.list_amount


def _unit_price(cost: Decimal, quantity: Decimal | None) -> Decimal | None:
    return None if quantity is None else EXACT.divide(cost, quantity)


def _effective(charge: Charge, billed: Decimal) -> Decimal:
    """What is paid in advance costs when it is drawn."""
    if charge.kind == "commit_purchase":
        return ZERO
    return add([billed, charge.released]) if charge.kind == "draw" else billed


def _pricing_category(charge: Charge) -> str:
    if charge.balance and charge.kind != "commit_purchase":
        return "Committed"
    return "Dynamic" if charge.dynamic else "Standard"


def _commitment(charge: Charge, category: str) -> dict[str, Any]:
    known = charge.balance or None
    return {
        "CommitmentDiscountCategory": "Spend" if known else None,
        "CommitmentDiscountId": f"{charge.contract}/{charge.balance}" if known else None,
        "CommitmentDiscountName": known,
        "CommitmentDiscountStatus": "Used" if known and category == "Usage" else None,
        "CommitmentDiscountType": "Commit or credit" if known else None,
    }


def _sku(charge: Charge, category: str) -> dict[str, Any]:
    if category == "Tax" or not (charge.product or category in PRICED):
        return {"SkuId": None, "SkuMeter": None, "SkuPriceId": None}
    sku = charge.product or charge.kind
    group = ",".join(f"{key}={value}" for key, value in sorted(charge.group.items()))
    return {
        "SkuId": sku,
        "SkuMeter": charge.meter or charge.name,
        "SkuPriceId": f"{sku}[{group}]" if group else sku,
    }
