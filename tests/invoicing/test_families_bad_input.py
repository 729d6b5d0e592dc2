"""Families and shared funds in billing files: everything that cannot be meant is refused by the path of its field."""

import copy
from typing import Any

import pytest
from django.utils import timezone

from contracts.models import Contract, Customer
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.faults import FileError
from invoicing.billing_file.parsing import parse

pytestmark = pytest.mark.django_db
POOL: dict[str, Any] = {"key": "pool", "access": [{"amount": "100", "ending_before": "2027-01-01"}]}
FILE: dict[str, Any] = {
    "rate_cards": [{"key": "usd", "currency": "USD"}, {"key": "eur", "currency": "EUR"}],
    "customers": [
        {"key": "group", "commits": [POOL]},
        {"key": "a", "parent": "group"},
        {"key": "b", "parent": "a", "payer": "self"},
    ],
    "contracts": [
        {
            "key": "first",
            "customer": "a",
            "rate_card": "usd",
            "starting_at": "2026-01-01",
            "ending_before": "2026-03-01",
        },
        {"key": "second", "customer": "a", "rate_card": "usd", "starting_at": "2026-03-01", "renews": "first"},
    ],
}


def changed(place: str, value: Any) -> dict[str, Any]:
    """The file with another value at a place such as `customers.0.parent`."""
    document = copy.deepcopy(FILE)
    here: Any = document
    *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    for part in path:
        here = here[part]
    here[last] = value
    return document


def apply(document: object) -> list[str]:
    return [each.action for each in apply_entries(parse([("", document)]), timezone.now())]


def test_a_family_is_applied_and_a_second_time_changes_nothing() -> None:
    assert set(apply(FILE)) == {"create"}
    assert set(apply(FILE)) == {"unchanged"}
    group = Customer.objects.get(key="group")
    assert group.funds["commits"][0]["currency"] == "USD"
    assert Contract.objects.get(key="second").renews == Contract.objects.get(key="first")


@pytest.mark.parametrize(
    ("place", "value", "path", "message"),
    [
        ("customers.1.parent", "nobody", "customers[1].parent", "there is no customer nobody"),
        ("customers.0.parent", "b", "customers[0].parent", "cannot stand below itself"),
        ("customers.1.parent", "a", "customers[1].parent", "a below a: a customer cannot stand below itself"),
        ("customers.1.parent", 7, "customers[1].parent", "expected `str | null`, got `int`"),
        ("customers.2.payer", "uncle", "customers[2].payer", "invalid enum value"),
        ("customers.0.commits.0.access", [], "customers[0].commits[0].access", "at least one amount"),
        ("customers.0.commits.0.contracts", ["x"], "customers[0].commits[0].contracts[0]", "no contract of group"),
        ("customers.0.commits.0.contracts", ["first", "first"], "customers[0].commits[0].contracts", "twice"),
        ("customers.0.commits.0.currency", "EURO", "customers[0].commits[0].currency", "matching regex"),
        ("customers.0.commits.0.currency", "XQQ", "customers[0].commits[0].currency", "ISO 4217"),
        ("customers.0.commits.0.billed_by", "x", "customers[0].commits[0].billed_by", "no contract of group"),
        (
            "customers.0.commits.0.invoices",
            [{"amount": "5", "at": "2026-01-01"}],
            "customers[0].commits[0].billed_by",
            "it can be first, second",
        ),
        ("customers.0.commits.0.scope", {"products": ["x"]}, "customers[0].commits[0].scope.products[0]", "no product"),
        ("customers.0.commits.0.nonsense", 1, "customers[0].commits[0].nonsense", "is not a field here"),
        ("customers.0.credits", [POOL], "customers[0].credits[0].key", "used twice"),
        ("contracts.1.rate_card", "eur", "contracts[1].renews", "in USD: renew it with the same"),
        ("contracts.1.starting_at", "2026-03-02", "contracts[1].renews", "ends 2026-03-01"),
        ("contracts.1.renews", "nothing", "contracts[1].renews", "there is no contract nothing"),
        ("contracts.1.renews", "second", "contracts[1].renews", "there is no contract second"),
        ("contracts.0.usage_customers", ["group"], "contracts[0].usage_customers[0]", "no customer below a"),
        ("contracts.0.usage_customers", ["b", "b"], "contracts[0].usage_customers[1]", "named twice"),
    ],
)
def test_refused_by_its_path(place: str, value: Any, path: str, message: str) -> None:
    with pytest.raises(FileError) as caught:
        apply(changed(place, value))
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert path in found, found
    assert message.lower() in found[path].lower()
    assert not Customer.objects.exists()


def test_mixed_currencies_must_be_told() -> None:
    document = changed("contracts.1", {"key": "b", "customer": "b", "rate_card": "eur", "starting_at": "2026-01-01"})
    with pytest.raises(FileError, match=r"commits\[0\].currency: name the currency: it can be EUR, USD"):
        apply(document)
    document["customers"][0]["commits"][0] = {**POOL, "currency": "EUR", "contracts": ["first"]}
    with pytest.raises(FileError, match=r"commits\[0\].contracts\[0\]: first is in USD, this in EUR"):
        apply(document)


def test_usage_is_billed_by_one_contract_only() -> None:
    document = changed("contracts.0.usage_customers", ["b"])
    document["contracts"].append({"key": "own", "customer": "b", "rate_card": "usd", "starting_at": "2026-02-01"})
    with pytest.raises(FileError, match=r"contracts\[2\].starting_at: Usage of b is billed by first"):
        apply(document)
    document["contracts"][2]["starting_at"] = "2026-03-01"
    apply(document)
    document["contracts"][1]["usage_customers"] = ["b"]
    with pytest.raises(FileError, match=r"contracts\[1\].usage_customers\[0\]: usage of b is billed by own"):
        apply(document)


def test_a_cycle_through_customers_that_are_there_is_refused() -> None:
    apply(FILE)
    with pytest.raises(FileError, match=r"customers\[0\].parent: .*cannot stand below itself"):
        apply({"customers": [{"key": "group", "parent": "b", "commits": [POOL]}]})
