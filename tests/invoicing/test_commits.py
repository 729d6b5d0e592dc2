"""Commits from the close to the ledger: purchases, draws, overage, what rolls over, and nothing spent twice."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from billing_project.errors import ConflictError
from contracts.ledger import balance_of
from contracts.models import Contract, LedgerEntry
from invoicing.close import close_periods
from invoicing.lifecycle import approve, issue, return_to_review
from invoicing.models import Invoice
from tests.factories import ProductFactory, RateFactory, day, sell, send, user

YEAR = {"starting_at": "2026-01-01", "ending_before": "2026-03-01"}
COMMIT = {
    "key": "y1",
    "access": [{"amount": "100", **YEAR}],
    "invoices": [{"amount": "80", "at": "2026-01-01"}],
}
PRICE = {"model": "per_unit", "unit_amount": "1"}


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


def agreed(commit: dict[str, Any] | None = None, **deal: Any) -> Contract:
    """A contract with one commit, 60 units used in January and 60 in February, at 1.00 each."""
    terms = deepcopy({"commits": [commit or COMMIT], **deal})
    (contract,) = sell(price=PRICE, used=(60,), deal=terms)
    send(contract.customer.key, 60, day(10, month=2))
    return contract


def closed(contract: Contract, month: int) -> list[Invoice]:
    close_periods(day(2, month=month), contract.key)
    return list(Invoice.objects.filter(contract=contract).order_by("starting_at", "kind"))


def lines(invoice: Invoice) -> list[tuple[str, str, str]]:
    return [(line.kind, str(line.amount), line.balance) for line in invoice.lines.order_by("position")]


def ledger(contract: Contract) -> list[tuple[str, int]]:
    entries = LedgerEntry.objects.filter(contract=contract).order_by("pk")
    return [(entry.kind, int(entry.amount)) for entry in entries]


@pytest.mark.django_db
def test_usage_draws_on_a_commit_until_it_is_used_up() -> None:
    purchase, january, february = closed(agreed(), month=3)
    assert (purchase.kind, str(purchase.total)) == ("scheduled", "$80.00")
    assert lines(purchase) == [("commit_purchase", "80.00", "y1")]
    assert lines(january) == [("usage", "60.00", "y1"), ("draw", "-60.00", "y1")]
    assert lines(february) == [("usage", "40.00", "y1"), ("usage", "20.00", ""), ("draw", "-40.00", "y1")]
    assert [str(invoice.total) for invoice in (january, february)] == ["$0.00", "$20.00"]
    assert february.credits_applied == 40


@pytest.mark.django_db
def test_closing_again_bills_nothing_again() -> None:
    contract = agreed()
    first = [invoice.pk for invoice in closed(contract, month=3)]
    assert [invoice.pk for invoice in closed(contract, month=3)] == first


@pytest.mark.django_db
def test_a_charge_agreed_late_is_still_billed(finance: User) -> None:
    contract = agreed()
    closed(contract, month=2)
    contract.deal["commits"][0]["invoices"].append({"amount": "5", "at": "2026-01-15"})
    contract.full_clean()
    contract.save()
    scheduled = [invoice for invoice in closed(contract, month=2) if invoice.kind == "scheduled"]
    assert [str(invoice.total) for invoice in scheduled] == ["$80.00", "$5.00"]


@pytest.mark.django_db
def test_draws_are_posted_at_issue_and_the_rest_expires(finance: User) -> None:
    contract = agreed({**COMMIT, "access": [{"amount": "150", **YEAR}]})
    for invoice in closed(contract, month=3):
        issue(approve(invoice.pk, finance).pk, finance)
    assert ledger(contract) == [("start", 150), ("draw", -60), ("draw", -60), ("expiration", -30)]
    assert balance_of(contract, "y1") == 0


@pytest.mark.django_db
def test_what_is_left_rolls_over_into_the_next_window(finance: User) -> None:
    windows = [
        {"amount": "100", "starting_at": "2026-01-01", "ending_before": "2026-02-01"},
        {"amount": "10", "starting_at": "2026-02-01", "ending_before": "2026-03-01"},
    ]
    commit = {"key": "y1", "access": windows, "rollover": {"fraction": "0.25"}}
    contract = agreed(commit)
    january, february = closed(contract, month=3)
    assert lines(february)[-2:] == [("draw", "-25.00", "y1"), ("draw", "-10.00", "y1")]
    for invoice in (january, february):
        issue(approve(invoice.pk, finance).pk, finance)
    assert sorted(ledger(contract)) == sorted(
        [
            ("start", 100),
            ("draw", -60),
            ("rollover", -25),
            ("rollover", 25),
            ("expiration", -15),
            ("start", 10),
            ("draw", -25),
            ("draw", -10),
        ]
    )


@pytest.mark.django_db
def test_an_invoice_whose_draw_is_gone_is_refused_and_built_anew(finance: User) -> None:
    contract = agreed()
    _, january, february = closed(contract, month=3)
    approve(january.pk, finance)
    approve(february.pk, finance)
    send(contract.customer.key, 50, day(11), event_id="late")
    return_to_review(january.pk, finance)
    issue(approve(january.pk, finance).pk, finance)
    with pytest.raises(ConflictError, match=r"y1 has 0(\.00)? left"):
        issue(february.pk, finance)
    return_to_review(february.pk, finance)
    issue(approve(february.pk, finance).pk, finance)
    february.refresh_from_db()
    assert (str(february.total), february.credits_applied) == ("$60.00", 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.books_unchecked
def test_one_commit_is_never_spent_twice_by_two_invoices_at_once(finance: User) -> None:
    contract = agreed()
    _, january, february = closed(contract, month=3)
    for invoice in (january, february):
        approve(invoice.pk, finance)
    # Both now claim the whole commit, as two drafts built side by side would.
    draws = [{"balance": "y1", "segment": "0", "kind": "prepaid_commit", "amount": "100", "position": 2}]
    Invoice.objects.filter(pk__in=[january.pk, february.pk]).update(draws=draws)

    def attempt(pk: int) -> str:
        try:
            issue(pk, finance)
        except ConflictError:
            return "refused"
        finally:
            connection.close()
        return "issued"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, [january.pk, february.pk])) == ["issued", "refused"]
    drawn = LedgerEntry.objects.filter(contract=contract, kind="draw")
    assert [entry.amount for entry in drawn] == [-100]


@pytest.mark.django_db
@pytest.mark.parametrize("seats", ["50", "150"])
def test_a_fee_that_a_commit_paid_is_not_billed_again_when_the_terms_change(seats: str) -> None:
    contract = agreed(
        subscriptions=[{"key": "seats", "product": "seat", "quantity": seats}],
        charges=[{"key": "setup", "product": "setup", "amount": "20", "at": "2026-01-01"}],
    )
    RateFactory.create(
        product=ProductFactory.create(key="seat", kind="subscription", meter=None),
        rate_card=contract.rate_card,
        price=PRICE,
    )
    ProductFactory.create(key="setup", kind="fixed", meter=None)
    before = [(each.scheduled_at, str(each.total)) for each in closed(contract, month=2)]
    # Saving terms lets the close look at all fees anew.
    contract.refresh_from_db()
    contract.save()
    assert [(each.scheduled_at, str(each.total)) for each in closed(contract, month=2)] == before
