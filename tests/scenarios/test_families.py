"""Commits and credits that contracts share, and what a renewal takes over, from a file to invoices and balances."""

from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.scenarios.test_scenarios import Results, simulated


@pytest.fixture(scope="module")
def families(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Results:
    return simulated("families.yaml", django_db_blocker)


def billed(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Contract, kind and total of every invoice that is no draft."""
    return [(row["contract"], row["kind"], row["total"]) for row in result["invoices"] if row["status"] != "draft"]


def entries(result: dict[str, Any], balance: str, contract: str | None = None) -> list[str]:
    (row,) = [each for each in result["balances"] if (each["balance"], each["contract"]) == (balance, contract)]
    return [f"{entry['kind']} {entry['amount']}" for entry in row["ledger"]]


def test_two_contracts_draw_on_one_commit_and_one_of_them_bills_it(families: Results) -> None:
    result = families["a commit shared by two contracts"]
    assert billed(result) == [
        ("north", "scheduled", "90.00"),
        ("north", "usage", "0.00"),
        ("north", "usage", "0.00"),
        ("south", "usage", "0.00"),
        ("south", "usage", "22.00"),  # 30 of 50 are covered; tax is south's own, for it pays itself
    ]
    assert entries(result, "pool") == ["start 100.00", "draw -30.00", "draw -40.00", "draw -30.00"]


def test_invoices_go_to_the_first_above_that_pays_itself(families: Results) -> None:
    payers = {row["contract"]: row["payer"] for row in families["a commit shared by two contracts"]["invoices"]}
    assert payers == {"north": "group", "south": "south"}


def test_a_contracts_own_credit_comes_before_one_for_few_before_one_for_all(families: Results) -> None:
    result = families["contract level before customer level"]
    draws = [(line["balance"], line["amount"]) for line in result["invoices"][0]["lines"] if line["kind"] == "draw"]
    assert draws == [("own", "-5.00"), ("few", "-10.00"), ("many", "-85.00")]


def test_what_all_left_of_a_window_rolls_over_for_all(families: Results) -> None:
    result = families["a window that rolls over among three"]
    assert [total for _, _, total in billed(result)] == ["0.00", "0.00", "0.00", "25.00"]
    assert entries(result, "pool")[3:6] == ["rollover -25.00", "rollover 25.00", "expiration -25.00"]


def test_a_postpaid_commit_is_trued_up_once_after_all_that_counts_for_it(families: Results) -> None:
    result = families["a postpaid commit trued up by one for all"]
    assert billed(result) == [("ca", "usage", "80.00"), ("cb", "usage", "20.00")]
    assert entries(result, "promise") == ["start 100.00", "draw -30.00", "draw -20.00", "true_up -50.00"]


def test_a_contract_bills_the_usage_of_those_below_that_it_names(families: Results) -> None:
    assert billed(families["usage of those below"]) == [("all", "usage", "321.00")]


def test_half_of_what_was_promised_goes_on_in_the_renewal(families: Results) -> None:
    result = families["what is left moves into the renewal"]
    assert entries(result, "y", "first")[-1] == "rollover -40.00"
    assert entries(result, "y", "second")[:2] == ["rollover 40.00", "start 100.00"]
    # Rolled over comes first: it is used up, of the new commit 20 are.
    assert sorted(entries(result, "y", "second")[2:]) == ["draw -20.00", "draw -40.00"]


def test_a_shadow_spends_nothing_of_what_is_shared(families: Results) -> None:
    result = families["a shadow draws in a world of its own"]
    assert [row["credits_applied"] for row in result["invoices"]] == ["40.00", "0.00", "40.00", "0.00"]
    assert entries(result, "pool") == ["start 50.00", "draw -40.00"]
