"""What Stripe is told of customers and lines, in words that their customers read there."""

from typing import Any

from billing_project.decimals import plain
from contracts.models import Customer
from contracts.period_text import period_text
from invoicing.models import Invoice, InvoiceLine, StripeCustomer
from invoicing.stripe_items import Charged

KEY = "countinghouse_key"


def charged(invoice: Invoice, line: InvoiceLine) -> Charged:
    words = [line.name, *(f"{name}: {value}" for name, value in line.group.items())]
    if line.unit_amount is not None and line.kind != "tax":
        words.append(f"{plain(line.billed_quantity)} × {plain(line.unit_amount)} {invoice.total.currency}")
    elif line.billed_quantity not in (0, 1) and line.kind != "tax":
        words.append(f"quantity {plain(line.billed_quantity)}")
    if (line.starting_at, line.ending_before) != (invoice.starting_at, invoice.ending_before):
        words.append(period_text(line.starting_at, line.ending_before, invoice.contract.zone))
    return Charged(line.product, line.kind, ", ".join(words), line.amount, line.starting_at, line.ending_before)


def customer_params(payer: Customer, known: StripeCustomer) -> Any:
    first, *more = payer.address.splitlines() or [""]
    params: dict[str, Any] = {
        "name": payer.name,
        "description": payer.key,
        "metadata": {KEY: str(known.key), "key": payer.key},
    }
    if payer.email:
        params["email"] = payer.email
    if first:
        params["address"] = {"line1": first, "line2": ", ".join(more)} if more else {"line1": first}
    return params
