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
    Column("AvailabilityZone"),
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
    Column("CommitmentDiscountQuantity", Kind.NUMBER),
    Column("CommitmentDiscountStatus"),
    Column("CommitmentDiscountType"),
    Column("CommitmentDiscountUnit"),
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
    Column("PricingCurrencyContractedUnitPrice", Kind.NUMBER),
    Column("PricingCurrencyEffectiveCost", Kind.NUMBER),
    Column("PricingCurrencyListUnitPrice", Kind.NUMBER),
    Column("PricingQuantity", Kind.NUMBER),
    Column("PricingUnit"),
    Column("ProviderName"),
    Column("PublisherName"),
    Column("RegionId"),
    Column("RegionName"),
    Column("ServiceCategory"),
    Column("ServiceName"),
    Column("ServiceSubcategory"),
    Column("SkuId"),
    Column("SkuMeter"),
    Column("SkuPriceDetails", Kind.JSON),
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
# A product says what it is with a tag such as `focus:Compute` or `focus:Virtual Machines`.
TAG = "focus:"
SUBCATEGORIES = {
    "AI and Machine Learning": (
        *("AI Platforms", "Bots", "Generative AI", "Machine Learning", "Natural Language Processing"),
    ),
    "Analytics": ("Analytics Platforms", "Business Intelligence", "Data Processing", "Search", "Streaming Analytics"),
    "Business Applications": ("Productivity and Collaboration",),
    "Compute": ("Containers", "End User Computing", "Quantum Compute", "Serverless Compute", "Virtual Machines"),
    "Databases": (
        *("Caching", "Data Warehouses", "Ledger Databases", "NoSQL Databases", "Relational Databases"),
        "Time Series Databases",
    ),
    "Developer Tools": (
        *("Developer Platforms", "Continuous Integration and Deployment", "Development Environments"),
        *("Source Code Management", "Quality Assurance"),
    ),
    "Multicloud": ("Multicloud Integration",),
    "Identity": ("Identity and Access Management",),
    "Integration": ("API Management", "Messaging", "Workflow Orchestration"),
    "Internet of Things": ("IoT Analytics", "IoT Platforms"),
    "Management and Governance": (
        *("Architecture", "Compliance", "Cost Management", "Data Governance", "Disaster Recovery"),
        *("Endpoint Management", "Observability", "Support"),
    ),
    "Media": ("Content Creation", "Gaming", "Media Streaming", "Mixed Reality"),
    "Migration": ("Data Migration", "Resource Migration"),
    "Mobile": (),
    "Networking": (
        *("Application Networking", "Content Delivery", "Network Connectivity", "Network Infrastructure"),
        *("Network Routing", "Network Security"),
    ),
    "Security": ("Secret Management", "Security Posture Management", "Threat Detection and Response"),
    "Storage": ("Backup Storage", "Block Storage", "File Storage", "Object Storage", "Storage Platforms"),
    "Web": ("Application Platforms",),
    "Other": (),
}
SERVICE_CATEGORIES = tuple(SUBCATEGORIES)
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

    `list_amount`: what the rate card alone would have charged, unrounded. `shifted`: what to add to the billed cost for
    the effective one. `committed`: how much of a commit it buys or uses, and the unit of that. `correction`: of a
    period invoiced before.
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
    correction: bool
    seller: str
    account: tuple[str, str]
    customer: tuple[str, str]
    contract: str
    service: str
    tags: tuple[str, ...] = ()
    shifted: Decimal = ZERO
    committed: tuple[Decimal, str] | None = None


def service(tags: tuple[str, ...]) -> tuple[str, str]:
    """The category and subcategory of the first tag that names one; a category alone has a subcategory for the rest."""
    named = {category.lower(): (category, f"Other ({category})") for category in SUBCATEGORIES}
    named |= {each.lower(): (category, each) for category, parts in SUBCATEGORIES.items() for each in parts}
    found = (named.get(tag.removeprefix(TAG).strip().lower()) for tag in tags if tag.startswith(TAG))
    return next((each for each in found if each), named["other"])


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
    unit_prices = _unit_price(contracted, quantity), _unit_price(listed, quantity)
    effective = _effective(charge, billed)
    in_units = (_unit_price(abs(charge.amount_exact), quantity and abs(quantity)),) * 2 if charge.unit else unit_prices
    service_category, service_subcategory = service(charge.tags)
    return {
        "AvailabilityZone": _named(charge, "availability_zone"),
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
        "ContractedUnitPrice": unit_prices[0],
        "EffectiveCost": effective,
        "InvoiceId": charge.document,
        "InvoiceIssuerName": charge.seller,
        "ListCost": listed,
        "ListUnitPrice": unit_prices[1],
        "PricingCategory": _pricing_category(charge) if priced else None,
        "PricingCurrency": charge.unit or charge.currency,
        "PricingCurrencyContractedUnitPrice": in_units[0],
        "PricingCurrencyEffectiveCost": charge.amount if charge.unit else effective,
        "PricingCurrencyListUnitPrice": in_units[1],
        "PricingQuantity": quantity,
        "PricingUnit": (charge.pricing_unit if charge.billed_quantity else "Fees") if quantity is not None else None,
        "ProviderName": charge.seller,
        "PublisherName": charge.seller,
        "RegionId": _region(charge, "region_id", "region"),
        "RegionName": _region(charge, "region_name", "region", "region_id"),
        "ServiceCategory": service_category,
        "ServiceName": charge.service,
        "ServiceSubcategory": service_subcategory,
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
    return add([billed, charge.shifted])


def _pricing_category(charge: Charge) -> str:
    if charge.balance and charge.kind != "commit_purchase":
        return "Committed"
    return "Dynamic" if charge.dynamic else "Standard"


def _named(charge: Charge, name: str) -> str | None:
    """The value of a group key, whatever the case it is written in."""
    values = {key.lower(): value for key, value in charge.group.items()}
    return str(values.get(name) or "").strip() or None


def _region(charge: Charge, *names: str) -> str | None:
    """Meters that are grouped by region say where a service was provided."""
    known = _named(charge, "region_id") or _named(charge, "region")
    return next((found for name in names if (found := _named(charge, name))), None) if known else None


def _commitment(charge: Charge, category: str) -> dict[str, Any]:
    known = charge.balance or None
    quantity, unit = charge.committed if charge.committed and category in PRICED else (None, None)
    return {
        "CommitmentDiscountCategory": "Spend" if known else None,
        "CommitmentDiscountId": f"{charge.contract}/{charge.balance}" if known else None,
        "CommitmentDiscountName": known,
        "CommitmentDiscountQuantity": quantity,
        "CommitmentDiscountStatus": "Used" if known and category == "Usage" else None,
        "CommitmentDiscountType": "Commit or credit" if known else None,
        "CommitmentDiscountUnit": unit,
    }


def _sku(charge: Charge, category: str) -> dict[str, Any]:
    if category == "Tax" or not (charge.product or category in PRICED):
        return {"SkuId": None, "SkuMeter": None, "SkuPriceDetails": None, "SkuPriceId": None}
    sku = charge.product or charge.kind
    group = ",".join(f"{key}={value}" for key, value in sorted(charge.group.items()))
    return {
        "SkuId": sku,
        "SkuMeter": charge.meter or charge.name,
        # What a price depends on; keys that the specification does not define begin with x_.
        "SkuPriceDetails": {f"x_{key}": value for key, value in sorted(charge.group.items()) if value} or None,
        "SkuPriceId": f"{sku}[{group}]" if group else sku,
    }
