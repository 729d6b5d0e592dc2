"""Pricing as code: the billing file, applied and simulated."""
