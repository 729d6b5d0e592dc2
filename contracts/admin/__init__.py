"""The pages of customers, contracts and unclaimed usage."""

from contracts.admin import contracts, customers

__all__ = ["contracts", "customers"]
