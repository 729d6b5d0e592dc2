"""What was agreed, and with whom: customers and their keys, contracts, billing periods, balances and their ledger."""

from contracts.models.amendments import Amendment
from contracts.models.contracts import PERIOD_FIELDS, SCHEDULING, Anchor, BillingPeriod, Contract, Every, Standing
from contracts.models.customers import (
    Customer,
    CustomerKey,
    Families,
    Payer,
    TaxTreatment,
    below,
    lock_families,
    shared_commit_keys,
    timezone_name,
)
from contracts.models.ledger import LedgerEntry
from contracts.models.offers import ContractTemplate, DealGuardrails, all_guardrails, guardrails_in

__all__ = [
    "PERIOD_FIELDS",
    "SCHEDULING",
    "Amendment",
    "Anchor",
    "BillingPeriod",
    "Contract",
    "ContractTemplate",
    "Customer",
    "CustomerKey",
    "DealGuardrails",
    "Every",
    "Families",
    "LedgerEntry",
    "Payer",
    "Standing",
    "TaxTreatment",
    "all_guardrails",
    "below",
    "guardrails_in",
    "lock_families",
    "shared_commit_keys",
    "timezone_name",
]
