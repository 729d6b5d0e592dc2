"""The pages of customers, contracts and unclaimed usage."""

from contracts.admin import approval, contracts, customers, templates

__all__ = ["approval", "contracts", "customers", "templates"]
