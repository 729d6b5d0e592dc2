"""Every deal that is written in the test-suite: in its modules, scenarios and cases."""

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from contracts.deal import Deal
from contracts.deal_format import DealError, deal_as_dict, parse_deal
from invoicing.billing_file.reading import read_documents

TESTS = Path(__file__).resolve().parent.parent
PARTS = frozenset(Deal.__struct_fields__)
UTC = ZoneInfo("UTC")

# A value in every field that there is.
WHERE: dict[str, Any] = {"model": "gpt-4o", "region": "eu"}
SCOPE = {"products": ["tokens"], "tags": ["compute"], "where": WHERE}
DATED = {"starting_at": "2026-01-01T10:30:00+00:00", "ending_before": "2027-01-01T00:00:00+00:00"}
FUNDS = {
    "name": "A name",
    "priority": 5,
    "scope": SCOPE,
    "rollover": {"fraction": "0.5", "of": "remaining"},
    "unit": "credit",
}
RECURRING = {
    **FUNDS,
    **DATED,
    "amount": "9",
    "every": "week",
    "proration": "none",
    "periods": 2,
    "per_seat_of": "seats",
}
TIERS = [{"up_to": "5", "unit_amount": "7", "flat_amount": "1", "size": "2"}, {"unit_amount": "6"}]
PERCENT_TIERS = [{"up_to": "5", "percent": "7", "flat_amount": "1"}, {"percent": "6"}]
PRICES: list[dict[str, Any]] = [
    {"model": "per_unit", "unit_amount": "0.00000005", "free_units": "10", "minimum": "1", "maximum": "2"},
    {"model": "package", "size": "10", "amount": "2", "free_units": "3"},
    {"model": "graduated", "tiers": TIERS},
    {"model": "volume", "tiers": TIERS},
    {"model": "flat", "amount": "20"},
    {
        "model": "percentage",
        "percent": "2.9",
        "fixed_amount": "0.3",
        "free_events": "3",
        "free_amount": "250",
        "minimum_per_event": "1",
        "maximum_per_event": "5",
    },
    {"model": "graduated_percentage", "tiers": PERCENT_TIERS},
    {"model": "dynamic", "multiplier": "1.2"},
]
OVERRIDE = {**DATED, "scope": SCOPE, "target": "commit", "for_commits": ["y1"]}
EVERYTHING: dict[str, Any] = {
    "usage_filter": {"region": ["eu", "us"]},
    "usage_customers": ["acme-labs"],
    "commits": [
        {
            **FUNDS,
            "key": "y1",
            "access": [{**DATED, "amount": "10"}],
            "invoices": [{"amount": "8", "at": "2026-01-01"}],
            "rate": "commit",
            "overage_multiplier": "1.5",
        },
        {"key": "y2", "kind": "postpaid", "access": [{**DATED, "amount": "10"}]},
    ],
    "credits": [{**FUNDS, "key": "trial", "access": [{"amount": "5"}]}],
    "recurring_credits": [{**RECURRING, "key": "monthly"}],
    "recurring_commits": [
        {**RECURRING, "key": "pack", "invoice_amount": "7", "rate": "commit", "overage_multiplier": "2"}
    ],
    "overrides": [
        {**OVERRIDE, "kind": "multiplier", "multiplier": "0.9", "priority": 1},
        {**OVERRIDE, "kind": "tiered", "tiers": [{"up_to": "5", "multiplier": "0.8"}, {}], "priority": 2},
        *({**OVERRIDE, "kind": "overwrite", "price": price, "unit": "credit"} for price in PRICES),
    ],
    "discounts": [{**DATED, "percent": "15", "scope": SCOPE, "name": "Partner"}, {"amount": "50"}],
    "subscriptions": [
        {
            **DATED,
            "key": "seats",
            "product": "seat",
            "quantity": "10",
            "billed": "arrears",
            "every": "year",
            "prorated": False,
            "increases": "next_invoice",
            "decreases": "at_once",
            "seats": ["ada", "ben, jr"],
            "changes": [{"at": "2026-02-10", "quantity": "14"}],
        }
    ],
    "charges": [
        {
            "key": "setup",
            "product": "onboarding",
            "amount": "500",
            "quantity": "2",
            "at": "2026-01-01",
            "every": "month",
            "ending_before": "2026-07-01",
        }
    ],
    "minimums": [{**DATED, "amount": "87", "scope": SCOPE}],
    "spend_threshold": {"amount": "250"},
    "balance_threshold": {
        "amount": "5",
        "recharge_to": "20",
        "unit": "credit",
        "paid_fraction": "0.5",
        "excluded": ["trial"],
        "usable": "when_paid",
    },
    "entitlements": [
        {"kind": "boolean", "feature": "sso", "enabled": False},
        {"kind": "static", "feature": "plan", "value": "pro"},
        {"kind": "static", "feature": "projects", "value": 12},
        {
            "kind": "metered",
            "feature": "calls",
            "meter": "calls",
            "limit": "100",
            "soft": True,
            "reset": "minute",
            "where": WHERE,
        },
    ],
}


@cache
def deal_documents() -> list[dict[str, Any]]:
    """Each once, as it is stored."""
    found = {}
    for written in (EVERYTHING, *_in_modules(), *_in_files()):
        try:
            deal = deal_as_dict(parse_deal(written, UTC))
        except DealError:
            continue  # the tests of bad input
        if deal:
            found[json.dumps(deal, sort_keys=True)] = deal
    return list(found.values())


def _in_modules() -> Iterator[Any]:
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                try:
                    yield from _deals(ast.literal_eval(node))
                except ValueError:
                    continue  # a name or a call in it


def _in_files() -> Iterator[Any]:
    for path in sorted(TESTS.rglob("*.yaml")):
        for written in read_documents(path):
            yield from _deals(written.value)


def _deals(written: Any) -> Iterator[Any]:
    """The objects in a document that have parts of a deal, without their other fields."""
    if isinstance(written, dict):
        parts = {name: value for name, value in written.items() if name in PARTS}
        if parts:
            yield parts
        for value in written.values():
            yield from _deals(value)
    elif isinstance(written, list | tuple):
        for value in written:
            yield from _deals(value)
