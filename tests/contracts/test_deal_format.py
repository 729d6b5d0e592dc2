"""Deals as people write them: what they become, and what is wrong with them by path."""

import json
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from contracts.deal import ContractDocument
from contracts.deal_format import Catalog, DealError, deal_as_dict, deal_of, parse_contract, parse_deal
from contracts.products import ProductTerms
from tests.contracts.worked import ZONE, D, unit

BERLIN = ZoneInfo("Europe/Berlin")
CATALOG = Catalog(
    {
        "tokens": ProductTerms("tokens", "Tokens", "m", "sum", pricing_keys=("model",), tags=("ai",)),
        "seat": ProductTerms("seat", "Seat", kind="subscription"),
        "setup": ProductTerms("setup", "Setup", kind="fixed"),
    },
    frozenset({"credit"}),
    {"calls": ["model"]},
)
EVERYTHING: dict[str, Any] = {
    "usage_filter": {"region": ["eu"]},
    "commits": [
        {
            "key": "y1",
            "kind": "prepaid",
            "access": [{"amount": "10000", "starting_at": "2026-01-01", "ending_before": "2027-01-01"}],
            "invoices": [{"amount": "8000", "at": "2026-01-01"}],
            "priority": 10,
            "scope": {"products": ["tokens"], "tags": ["ai"], "where": {"model": "gpt-4o"}},
            "rate": "commit",
            "rollover": {"fraction": "0.5", "of": "remaining"},
            "overage_multiplier": "1.5",
        }
    ],
    "credits": [{"key": "trial", "access": [{"amount": 5}], "unit": "credit"}],
    "recurring_credits": [{"key": "monthly", "amount": "100", "every": "month", "proration": "first", "periods": 2}],
    "recurring_commits": [{"key": "pack", "amount": "100", "invoice_amount": "75", "per_seat_of": "seats"}],
    "overrides": [
        {"kind": "multiplier", "multiplier": "0.9", "scope": {"tags": ["ai"]}, "for_commits": ["y1"], "priority": 1},
        {"kind": "overwrite", "price": unit("1"), "scope": {"products": ["tokens"], "where": {"model": "gpt-4o"}}},
        {"kind": "tiered", "tiers": [{"up_to": "10", "multiplier": "0.8"}, {"up_to": None, "multiplier": "0.7"}]},
    ],
    "discounts": [{"percent": "15"}, {"amount": "50", "starting_at": "2026-02-01"}],
    "subscriptions": [
        {"key": "seats", "product": "seat", "quantity": "10", "changes": [{"at": "2026-02-10", "quantity": "14"}]}
    ],
    "charges": [{"key": "setup", "product": "setup", "amount": "500", "at": "2026-01-01"}],
    "minimums": [{"amount": "87"}],
    "spend_threshold": {"amount": "100"},
    "balance_threshold": {"amount": "5", "recharge_to": "20"},
    "entitlements": [
        {"kind": "boolean", "feature": "sso", "requires_balance": True},
        {
            "kind": "metered",
            "feature": "calls",
            "meter": "calls",
            "limit": "1000",
            "reset": "minute",
            "where": {"model": "a"},
            "requires_balance": True,
            "balances": ["y1"],
        },
    ],
}


def test_a_deal_survives_being_written_and_read() -> None:
    deal = parse_deal(EVERYTHING, BERLIN, CATALOG)
    assert parse_deal(json.loads(json.dumps(deal_as_dict(deal))), ZONE, CATALOG) == deal


def test_a_bare_date_is_local_midnight() -> None:
    deal = parse_deal(EVERYTHING, BERLIN)
    assert deal.commits[0].invoices[0].at.isoformat() == "2025-12-31T23:00:00+00:00"
    where = {"credits": [{"key": "a", "access": [{"amount": 1}], "scope": {"where": {"at": "2026-01-01"}}}]}
    assert parse_deal(where, BERLIN).credits[0].scope.where == {"at": "2026-01-01"}


def test_a_whole_contract_has_its_own_zone() -> None:
    columns = {"key": "c", "customer": "acme", "rate_card": "list", "starting_at": "2026-01-01"}
    contract = parse_contract({**columns, **EVERYTHING, "timezone": "America/New_York"}, BERLIN, CATALOG)
    assert contract.starting_at.isoformat() == "2026-01-01T05:00:00+00:00"
    assert deal_of(contract).commits == contract.commits
    with pytest.raises(DealError, match="timezone: 'Mars/Base' is not a time zone name"):
        parse_contract({**columns, "timezone": "Mars/Base"}, BERLIN)


def with_change(path: str, value: Any) -> dict[str, Any]:
    """The whole deal with one field changed; `path` as `commits.0.access.0.amount`."""
    changed: dict[str, Any] = json.loads(json.dumps(EVERYTHING))
    *steps, last = path.split(".")
    place: Any = changed
    for step in steps:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return changed


@pytest.mark.parametrize(
    ("change", "value", "path", "code"),
    [
        ("commits.0.access.0.amount", "-1", "commits[0].access[0].amount", "invalid"),
        ("commits.0.access.0.amount", "many", "commits[0].access[0].amount", "value"),
        ("commits.0.access.0.amount", 0.1, "commits[0].access[0].amount", "number"),
        ("commits.0.access.0.amount", True, "commits[0].access[0].amount", "type"),
        ("commits.0.access.0.amount", "NaN", "commits[0].access[0].amount", "invalid"),
        ("commits.0.access.0.starting_at", "2026-01-01T00:00:00", "commits[0].access[0].starting_at", "type"),
        ("commits.0.access.0.starting_at", "soon", "commits[0].access[0].starting_at", "value"),
        ("commits.0.access.0.ending_before", "2025-01-01", "commits[0].access[0].ending_before", "invalid"),
        ("commits.0.access", [], "commits[0].access", "invalid"),
        ("commits.0.colour", "red", "commits[0].colour", "unknown_field"),
        ("commits.0.kind", "free", "commits[0].kind", "value"),
        ("commits.0.key", "", "commits[0].key", "type"),
        ("commits.0.priority", -1, "commits[0].priority", "type"),
        ("commits.0.rollover.fraction", "2", "commits[0].rollover.fraction", "invalid"),
        ("credits.0.key", "y1", "credits[0].key", "repeated"),
        ("credits.0.unit", "token", "credits[0].unit", "unknown"),
        ("commits.0.scope.products.0", "gone", "commits[0].scope.products[0]", "unknown"),
        ("commits.0.scope.tags.0", "gone", "commits[0].scope.tags[0]", "unknown"),
        ("commits.0.scope.where", {"colour": "red"}, "commits[0].scope.where", "group"),
        ("recurring_commits.0.per_seat_of", "chairs", "recurring_commits[0].per_seat_of", "unknown"),
        ("overrides.0.kind", "half", "overrides[0].kind", "value"),
        ("overrides.0.for_commits.0", "y2", "overrides[0].for_commits[0]", "unknown"),
        ("overrides.1.price", {"model": "per_unit"}, "overrides[1].price.unit_amount", "missing"),
        ("overrides.1.scope.where", {}, "overrides[1].scope.where", "group"),
        ("overrides.1.scope", {}, "overrides[1].scope", "overwrite"),
        ("overrides.2.tiers", [{"up_to": "10"}], "overrides[2].tiers[0].up_to", "invalid"),
        ("discounts.0.amount", "5", "discounts[0].percent", "invalid"),
        ("discounts.0.percent", "101", "discounts[0].percent", "invalid"),
        ("subscriptions.0.product", "setup", "subscriptions[0].product", "kind"),
        ("subscriptions.0.seats", ["a", "a"], "subscriptions[0].seats", "invalid"),
        ("charges.0.product", "gone", "charges[0].product", "unknown"),
        ("balance_threshold.amount", "4.99", "balance_threshold.amount", "invalid"),
        ("balance_threshold.recharge_to", "14", "balance_threshold.recharge_to", "invalid"),
        ("balance_threshold.usable", "later", "balance_threshold.usable", "value"),
        ("balance_threshold.excluded", ["gone"], "balance_threshold.excluded[0]", "unknown"),
        ("entitlements.1.feature", "sso", "entitlements[0].feature", "repeated"),
        ("entitlements.0.requires_balance", "yes", "entitlements[0].requires_balance", "type"),
        ("entitlements.1.requires_balance", False, "entitlements[1].balances", "invalid"),
        ("entitlements.1.balances", ["y9"], "entitlements[1].balances[0]", "unknown"),
        ("entitlements.1.meter", "gone", "entitlements[1].meter", "unknown"),
        ("entitlements.1.where", {"colour": "red"}, "entitlements[1].where.colour", "group"),
        ("entitlements.1.reset", "second", "entitlements[1].reset", "value"),
        ("minimums", {}, "minimums", "type"),
    ],
)
def test_every_fault_names_its_field(change: str, value: Any, path: str, code: str) -> None:
    with pytest.raises(DealError) as refused:
        parse_deal(with_change(change, value), BERLIN, CATALOG)
    assert (refused.value.faults[0].path, refused.value.faults[0].code) == (path, code)


def test_faults_of_meaning_are_told_together() -> None:
    changed = with_change("commits.0.scope.products", ["gone"])
    changed["charges"][0]["product"] = "gone too"
    with pytest.raises(DealError) as refused:
        parse_deal(changed, BERLIN, CATALOG)
    assert [fault.path for fault in refused.value.faults] == ["commits[0].scope.products[0]", "charges[0].product"]


def test_windows_of_one_commit_do_not_overlap() -> None:
    access = [
        {"amount": "1", "starting_at": "2026-01-01", "ending_before": "2026-02-02"},
        {"amount": "1", "starting_at": "2026-02-01", "ending_before": "2026-03-01"},
    ]
    with pytest.raises(DealError, match=r"commits\[0\].access\[1\].starting_at: overlaps the amount "):
        parse_deal(with_change("commits.0.access", access), BERLIN)


def test_a_postpaid_commit_has_one_end() -> None:
    postpaid = {"key": "p", "kind": "postpaid", "access": [{"amount": "5"}]}
    with pytest.raises(DealError, match="a postpaid commit needs an end"):
        parse_deal({"commits": [postpaid]}, BERLIN)


def test_the_schema_comes_from_the_same_definitions() -> None:
    schema = json.dumps(msgspec.json.schema(ContractDocument))
    assert all(
        f'"{name}"' in schema for name in (*EVERYTHING, "rate_card", "graduated_percentage", "minimum_per_event")
    )


def test_numbers_may_be_numbers() -> None:
    assert parse_deal({"minimums": [{"amount": D("87.5")}]}, ZONE).minimums[0].amount == D("87.5")


@pytest.mark.parametrize(
    ("priced", "deal", "wrong"),
    [
        ({"tokens"}, {}, ["usage_filter.region"]),
        (set(), {}, []),
        (set(), {"overrides": [EVERYTHING["overrides"][1]]}, ["usage_filter.region"]),
    ],
)
def test_a_usage_filter_needs_every_priced_meter_to_split_by_its_keys(
    priced: set[str], deal: dict[str, Any], wrong: list[str]
) -> None:
    catalog = Catalog(CATALOG.products, meters={"m": ["model"]}, priced=frozenset(priced))
    written = {"usage_filter": {"region": ["eu"], "model": ["gpt-4o"]} if priced else {"region": ["eu"]}, **deal}
    try:
        parse_deal(written, BERLIN, catalog)
        found = []
    except DealError as error:
        found = [each.path for each in error.faults]
    assert found == wrong
