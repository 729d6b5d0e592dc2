"""What was agreed, and with whom: customers and their keys, contracts, billing periods, balances and their ledger."""

from contracts.models.contracts import PERIOD_FIELDS, SCHEDULING, Anchor, BillingPeriod, Contract, Every
from contracts.models.customers import Customer, CustomerKey, Payer, timezone_name
from contracts.models.ledger import LedgerEntry

__all__ = [
    "PERIOD_FIELDS",
    "SCHEDULING",
    "Anchor",
    "BillingPeriod",
    "Contract",
    "Customer",
    "CustomerKey",
    "Every",
    "LedgerEntry",
    "Payer",
    "timezone_name",
]
