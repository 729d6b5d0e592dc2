"""Commits that contracts of a family share, from the close to the ledger: nothing spent twice, in whatever order."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing_project.errors import ConflictError
from contracts.ledger import balance_of, entries_of, post
from contracts.models import Contract, Customer, LedgerEntry
from contracts.sharing import settle
from invoicing.books import INVARIANTS
from invoicing.close import close_periods
from invoicing.lifecycle import approve, issue, return_to_review
from invoicing.models import Invoice
from tests.factories import ContractFactory, CustomerFactory, RateFactory, day, send, user

ONE_EACH = {"model": "per_unit", "unit_amount": "1"}
JANUARY = {"starting_at": "2026-01-01T00:00:00Z", "ending_before": "2026-02-01T00:00:00Z"}
FEBRUARY = {"starting_at": "2026-02-01T00:00:00Z", "ending_before": "2026-03-01T00:00:00Z"}


@pytest.fixture
def finance(roles: None) -> User:
    return user("Finance")


def family(*used: int, access: Sequence[dict[str, Any]] = (JANUARY,), amount: str = "100", **terms: Any) -> Customer:
    """A customer that shares a commit with one child for each number: the units it used in January, at 1.00 each."""
    group: Customer = CustomerFactory.create(key="group", name="The Group")
    card = RateFactory.create(price=ONE_EACH).rate_card
    for number, units in enumerate(used):
        child = CustomerFactory.create(key=f"child-{number}", parent=group)
        ContractFactory.create(key=f"contract-{number}", customer=child, rate_card=card)
        if units:
            send(child.key, units, day(10))
    group.funds = {"commits": [{"key": "pool", "access": [{"amount": amount, **each} for each in access], **terms}]}
    settle(group)
    return group


def invoices(month: int = 2) -> list[Invoice]:
    close_periods(day(2, month=month))
    return list(Invoice.objects.order_by("starting_at", "contract__key"))


def issued(invoice: Invoice, finance: User) -> Invoice:
    """Issued, after another look where something changed since it was built."""
    for _ in range(3):
        try:
            return issue(approve(invoice.pk, finance).pk, finance)
        except ConflictError:
            if Invoice.objects.get(pk=invoice.pk).status == "approved":
                return_to_review(invoice.pk, finance)
    raise AssertionError(f"{invoice} cannot be issued")


def ledger(owner: Customer | Contract) -> list[tuple[str, str, int]]:
    return [(row.segment, row.kind, int(row.amount)) for row in entries_of(owner).order_by("pk")]


def wrong() -> list[str]:
    names = [name for name in INVARIANTS if not name.startswith("Rollups")]
    return [sentence for name in names for sentence in INVARIANTS[name]()]


@pytest.mark.django_db
def test_invoices_of_one_close_share_what_there_is(finance: User) -> None:
    group = family(70, 50)
    first, second = invoices()
    assert [(row.payer, row.credits_applied, row.total.amount) for row in (first, second)] == [
        (group, 70, 0),
        (group, 30, 20),
    ]
    # In whatever order they are issued: the window is over with the last one.
    issued(second, finance)
    assert ledger(group) == [("0", "start", 100), ("0", "draw", -30)]
    frozen = issued(first, finance)
    assert ledger(group)[2:] == [("0", "draw", -70)]
    assert frozen.bill_to["name"] == "The Group"
    assert frozen.bill_to["on_behalf_of"] == frozen.customer.name
    assert not wrong()


@pytest.mark.django_db
def test_a_close_of_some_of_a_family_sees_the_open_invoices_of_the_others(finance: User) -> None:
    family(70, 50)
    close_periods(day(2, month=2), "contract-0")
    close_periods(day(2, month=2), "contract-1")
    assert [row.credits_applied for row in invoices()] == [70, 30]


@pytest.mark.django_db
def test_what_nobody_drew_expires_when_all_are_billed(finance: User) -> None:
    group = family(20, 30)
    first, second = invoices()
    issued(first, finance)
    assert ledger(group)[-1] == ("0", "draw", -20)
    issued(second, finance)
    assert ledger(group)[-2:] == [("0", "draw", -30), ("0", "expiration", -50)]
    assert not wrong()


@pytest.mark.django_db
def test_what_rolls_over_waits_for_the_invoices_before(finance: User) -> None:
    group = family(20, 30, access=[JANUARY, FEBRUARY], rollover={"fraction": "0.1"})
    send("child-0", 15, day(10, month=2))
    january, other, february, _ = invoices(month=3)
    assert february.credits_applied == 15
    issued(january, finance)
    approve(february.pk, finance)
    with pytest.raises(ConflictError, match="issue these first"):
        issue(february.pk, finance)
    issued(other, finance)
    issue(february.pk, finance)
    assert ("0", "rollover", -10) in ledger(group)
    assert ledger(group)[-2:] == [("0-rolled", "draw", -10), ("1", "draw", -5)]
    assert not wrong()


@pytest.mark.django_db
def test_a_shared_commit_is_billed_once_by_the_contract_named(finance: User) -> None:
    family(0, 0, invoices=[{"amount": "80", "at": "2026-01-01T00:00:00Z"}], billed_by="contract-1")
    bills = [row for row in invoices() if row.kind == "scheduled"]
    assert [(row.contract.key, row.total.amount) for row in bills] == [("contract-1", 80)]
    assert len([row for row in invoices() if row.kind == "scheduled"]) == 1


@pytest.mark.django_db
def test_the_renewal_takes_over_what_is_left_even_when_it_is_agreed_late(finance: User) -> None:
    card = RateFactory.create(price=ONE_EACH).rate_card
    deal = {"commits": [{"key": "y", "access": [{"amount": "100", **JANUARY}], "rollover": {"fraction": "0.5"}}]}
    old: Contract = ContractFactory.create(rate_card=card, deal=deal, ending_before=day(1, month=2))
    send(old.customer.key, 20, day(10))
    (january,) = invoices()
    issued(january, finance)
    assert ledger(old)[-1] == ("0", "expiration", -80)
    new = ContractFactory.create(customer=old.customer, rate_card=card, renews=old, starting_at=day(1, month=2))
    send(old.customer.key, 60, day(10, month=2))
    _, february = invoices(month=3)
    assert (february.credits_applied, february.total.amount) == (50, 10)
    issued(february, finance)
    assert ledger(old)[-2:] == [("0", "expiration", 50), ("0", "rollover", -50)]
    assert ledger(new) == [("renewed-0", "rollover", 50), ("renewed-0", "draw", -50)]
    assert not wrong()


@pytest.mark.django_db(transaction=True)
@pytest.mark.books_unchecked
def test_one_shared_commit_is_never_spent_twice_at_once(finance: User) -> None:
    group = family(70, 60, 50)
    found = invoices()
    for invoice in found:
        approve(invoice.pk, finance)
    # Each now claims most of the commit, as drafts built side by side in other processes would.
    draws = [{"owner": "customer:group", "balance": "pool", "segment": "0", "amount": "60", "position": 2}]
    Invoice.objects.update(draws=draws)

    def attempt(pk: int) -> str:
        try:
            issue(pk, finance)
        except ConflictError:
            return "refused"
        finally:
            connection.close()
        return "issued"

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(attempt, [row.pk for row in found])) == ["issued", "refused", "refused"]
    drawn = LedgerEntry.objects.filter(customer=group, contract=None, kind="draw")
    assert [entry.amount for entry in drawn] == [-60]


@pytest.mark.django_db(transaction=True)
def test_of_two_customers_that_become_each_others_parent_one_is_refused() -> None:
    pair = [CustomerFactory.create(), CustomerFactory.create()]

    def attempt(number: int) -> bool:
        child = Customer.objects.get(pk=pair[number].pk)
        child.parent = pair[1 - number]
        try:
            child.save()
        except ValidationError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, range(2))) == [False, True]


@pytest.mark.django_db
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=3),
    st.lists(st.integers(0, 60), min_size=3, max_size=3),
    st.integers(0, 150),
    st.randoms(use_true_random=False),
)
def test_in_whatever_order_invoices_are_issued_the_family_pays_the_same(
    finance: User, january: list[int], february: list[int], amount: int, order: Any
) -> None:
    with transaction.atomic():  # rolled back after every example
        whole = {"starting_at": JANUARY["starting_at"], "ending_before": FEBRUARY["ending_before"]}
        group = family(*january, access=[whole], amount=str(amount))
        for number, units in enumerate(february[: len(january)]):
            if units:
                send(f"child-{number}", units, day(10, month=2))
        found = invoices(month=3)
        order.shuffle(found)
        done = [issued(each, finance) for each in found]
        used = sum(january) + sum(february[: len(january)])
        covered = sum((Decimal(row.credits_applied) for row in done), Decimal(0))
        assert covered == min(amount, used)
        assert sum((Decimal(row.total.amount) for row in done), Decimal(0)) + covered == used
        drawn = [entry.amount for entry in entries_of(group).filter(kind="draw")]
        assert -sum(drawn, Decimal(0)) == covered
        assert balance_of(group, "pool") == 0
        assert not wrong()
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_entries_of_two_owners_of_one_key_are_told_apart() -> None:
    group = family(0)
    contract = Contract.objects.get()
    for owner, amount in ((group, 5), (contract, 7), (contract.customer, 9)):
        assert post(owner, "pool", "manual", Decimal(amount), day(1), "by hand", "0")
        assert not post(owner, "pool", "manual", Decimal(amount), day(1), "by hand", "0")
    assert [balance_of(each, "pool") for each in (group, contract, contract.customer)] == [5, 7, 9]


@pytest.mark.django_db
def test_the_customers_page_shows_who_stands_below_and_what_is_shared(finance: User, client: Client) -> None:
    group = family(70, 20)
    for invoice in invoices():
        issued(invoice, finance)
    client.force_login(user("Sales ops"))
    page = client.get(reverse("admin:contracts_customer_change", args=[group.pk])).content.decode()
    assert "pool (prepaid commit)" in page
    assert "all in USD" in page
    assert "90.00" in page
    assert "child-1" in page
    client.force_login(finance)
    shown = reverse("admin:invoicing_invoice_change", args=[Invoice.objects.order_by("pk")[0].pk])
    page = client.get(shown).content.decode()
    assert f'<a class="text-link" href="{reverse("admin:contracts_customer_change", args=[group.pk])}">' in page


@pytest.mark.django_db
def test_an_override_may_hold_only_while_a_shared_commit_pays(finance: User) -> None:
    family(100, amount="60")
    contract = Contract.objects.get(key="contract-0")
    override = {"kind": "multiplier", "multiplier": "0.5", "for_commits": ["pool"]}
    contract.deal = {"overrides": [override]}
    contract.full_clean()
    contract.save()
    (invoice,) = invoices()
    # 60 pays for 120 at half the rate: all 100 units are covered by 50.
    assert (invoice.subtotal.amount, invoice.credits_applied, invoice.total.amount) == (50, 50, 0)
    contract.deal = {"overrides": [{**override, "for_commits": ["other"]}]}
    with pytest.raises(ValidationError, match="other is no commit of the contract, nor one that its customer shares"):
        contract.full_clean()


@pytest.mark.django_db
def test_usage_that_a_late_rates_meter_cannot_split_has_no_price_and_stops_nobody() -> None:
    family(10)
    contract = Contract.objects.get(key="contract-0")
    contract.deal = {"usage_filter": {"region": ["eu"]}}
    with pytest.raises(ValidationError, match="does not split usage by region"):
        contract.full_clean()
    contract.save()
    (invoice,) = invoices()
    assert invoice.total.amount == 0
    assert [each["quantity"] for each in invoice.unrated] == ["10"]
