"""Customers and lines in the words of Stripe's requests."""

import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from billing_project.decimals import plain
from billing_project.errors import RuleError
from contracts.models import Customer
from contracts.period_text import period_text
from invoicing.models import Invoice, InvoiceLine, StripeCustomer, StripePush
from invoicing.stripe_items import Charged, Item

KEY = "countinghouse_key"
POSITION = "countinghouse_position"
LONGEST_NUMBER = 26
LONGEST_FIELD = 140
EU = {
    *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV"),
    *("MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
}
# https://docs.stripe.com/tax/calculating: what kind of tax ID the customers of a country have.
TAX_IDS = {
    **dict.fromkeys(EU, "eu_vat"),
    "AU": "au_abn", "CA": "ca_gst_hst", "CH": "ch_vat", "GB": "gb_vat", "IN": "in_gst", "NO": "no_vat", "NZ": "nz_gst",
    "SG": "sg_gst", "US": "us_ein", "ZA": "za_vat",
}  # fmt: skip
# Where the country alone does not tell the tax: what a postal code there looks like.
POSTAL_CODES = {"US": r"\b\d{5}(?:-\d{4})?\b", "CA": r"\b[A-Z]\d[A-Z] ?\d[A-Z]\d\b"}


def customer_params(payer: Customer, known: StripeCustomer) -> dict[str, Any]:
    params: dict[str, Any] = {
        "name": payer.name,
        "description": payer.key,
        "metadata": {KEY: str(known.key), "key": payer.key},
    }
    if payer.email:
        params["email"] = payer.email
    if where := address(payer):
        params["address"] = where
    return params


def invoice_params(push: StripePush, payer: StripeCustomer) -> dict[str, Any]:
    invoice = push.invoice
    collection = payer.collection or settings.STRIPE_COLLECTION
    params: dict[str, Any] = {
        "customer": str(payer.stripe_id),
        "currency": str(invoice.total.currency).lower(),
        "auto_advance": False,
        "collection_method": collection,
        "pending_invoice_items_behavior": "exclude",
        "metadata": {KEY: str(push.key), "number": str(invoice.number)},
    }
    if collection == "send_invoice":
        params["days_until_due"] = invoice.net_days
    if len(str(invoice.number)) <= LONGEST_NUMBER:
        params["number"] = str(invoice.number)
    if invoice.bill_to.get("tax_id"):
        params["custom_fields"] = [{"name": "Tax ID", "value": invoice.bill_to["tax_id"][:LONGEST_FIELD]}]
    return params


def item_params(push: StripePush, item: Item, customer: str, stripe_invoice: str, currency: str) -> dict[str, Any]:
    return {
        "customer": customer,
        "invoice": stripe_invoice,
        "currency": currency.lower(),
        "amount": item.amount,
        "description": item.words,
        "discountable": False,
        "period": {"start": int(item.starting_at.timestamp()), "end": int(item.ending_before.timestamp())},
        "metadata": {KEY: str(push.key), POSITION: str(item.position)},
    }


def charged(invoice: Invoice, line: InvoiceLine) -> Charged:
    words = [line.name, *(f"{name}: {value}" for name, value in line.group.items())]
    if line.unit_amount is not None and line.kind != "tax":
        words.append(f"{plain(line.billed_quantity)} × {plain(line.unit_amount)} {invoice.total.currency}")
    elif line.billed_quantity not in (0, 1) and line.kind != "tax":
        words.append(f"quantity {plain(line.billed_quantity)}")
    if (line.starting_at, line.ending_before) != (invoice.starting_at, invoice.ending_before):
        words.append(period_text(line.starting_at, line.ending_before, invoice.contract.zone))
    return Charged(line.product, line.kind, ", ".join(words), line.amount, line.starting_at, line.ending_before)


def address(payer: Customer) -> dict[str, str]:
    first, *more = payer.address.splitlines() or [""]
    found = {"line1": first, "line2": ", ".join(more), "country": payer.country, "state": payer.region}
    return {name: text for name, text in found.items() if text}


def taxed_customer(payer: Customer) -> dict[str, Any]:
    """Whom Stripe Tax computes for. Raises RuleError for an address that does not tell where the tax is due."""
    where = address(payer)
    if not payer.country:
        raise RuleError(f"Stripe Tax needs the country of {payer}: give it on the customer's page.", code="no_country")
    if payer.country in POSTAL_CODES:
        codes: Sequence[str] = re.findall(POSTAL_CODES[payer.country], payer.address)
        if not codes:
            raise RuleError(
                f"Stripe Tax needs the postal code of {payer}: write it into the address on the customer's page.",
                code="no_postal_code",
            )
        where["postal_code"] = codes[-1]
    found: dict[str, Any] = {"address": where, "address_source": "billing"}
    if payer.tax_id and payer.country in TAX_IDS:
        found["tax_ids"] = [{"type": TAX_IDS[payer.country], "value": payer.tax_id}]
    return found
