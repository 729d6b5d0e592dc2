"""Deal guardrails: what goes beyond them, and that only a second person can agree to it."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied

from billing_project.errors import ConflictError, RuleError
from billing_project.history import authored_by
from contracts.amendments import amend, grant_credit
from contracts.approval import (
    approve_amendment,
    approve_contract,
    excesses_of,
    reject_amendment,
    reject_contract,
    settle,
)
from contracts.deal_format import parse_deal
from contracts.guardrails import Guardrails, Proposal, excesses, new_excesses
from contracts.models import Amendment, Contract, DealGuardrails, Standing
from contracts.proration import Calendar
from contracts.unclaimed import number_of_unclaimed_keys, unclaimed_usage
from invoicing.close import close_periods
from invoicing.drafts import live_statement
from invoicing.models import Invoice
from tests.factories import ContractFactory, day, sell, user

UTC_ZONE = ZoneInfo("UTC")
LIMITS = Guardrails(
    max_discount_percent=Decimal(20),
    max_discount_amount=Decimal(50),
    max_reduction_percent=Decimal(30),
    max_free_amount=Decimal(500),
    max_term_months=12,
    max_net_days=45,
    overwrites_need_approval=True,
)
THOUSAND = [{"amount": "1000", "ending_before": "2027-01-01"}]
PRICE = {"model": "per_unit", "unit_amount": "1"}


def beyond(limits: Guardrails = LIMITS, net_days: int = 30, end: datetime | None = None, **deal: Any) -> list[str]:
    calendar = Calendar(UTC_ZONE, day(1), end or day(1, 1, 2027))
    units = {"credit": Decimal("0.10")}
    return [
        str(each) for each in excesses(Proposal(parse_deal(deal, UTC_ZONE), calendar, "USD", net_days, units), limits)
    ]


@pytest.mark.parametrize(
    ("deal", "expected"),
    [
        ({"discounts": [{"percent": "20"}]}, []),
        ({"discounts": [{"percent": "20.1"}]}, ["discounts: 20.1% off, above 20%"]),
        # 1 less 0.9 times 0.85
        ({"discounts": [{"percent": "10"}, {"percent": "15"}]}, ["discounts: 23.5% off, above 20%"]),
        ({"discounts": [{"percent": "15", "ending_before": "2026-02-01"},
                        {"percent": "15", "starting_at": "2026-02-01"}]}, []),
        ({"discounts": [{"amount": "50"}, {"amount": "51"}]}, ["discounts[1].amount: 51 off an invoice, above 50"]),
        ({"overrides": [{"kind": "multiplier", "multiplier": "0.7"}]}, []),
        ({"overrides": [{"kind": "multiplier", "multiplier": "0.65"}]},
         ["overrides[0]: rates lowered by 35%, above 30%"]),
        ({"overrides": [{"kind": "tiered", "tiers": [{"up_to": "5", "multiplier": "0.9"}, {"multiplier": "0.5"}]}]},
         ["overrides[0]: rates lowered by 50%, above 30%"]),
        ({"overrides": [{"kind": "overwrite", "price": PRICE, "scope": {"products": ["calls"]}}]},
         ["overrides[0]: a price of its own for calls"]),
        ({"credits": [{"key": "a", "access": [{"amount": "500"}]}]}, []),
        ({"credits": [{"key": "a", "access": [{"amount": "501"}]}]}, ["credits: 501 USD given away, above 500"]),
        ({"credits": [{"key": "a", "unit": "credit", "access": [{"amount": "5000"}]}]}, []),
        # 12 months of 50
        ({"recurring_credits": [{"key": "a", "amount": "50"}]}, ["credits: 600 USD given away, above 500"]),
        # 1,000 for 400
        ({"commits": [{"key": "a", "access": THOUSAND, "invoices": [{"amount": "400", "at": "2026-01-01"}]}]},
         ["credits: 600 USD given away, above 500"]),
        ({"commits": [{"key": "a", "access": THOUSAND, "invoices": [{"amount": "1000", "at": "2026-01-01"}]}]}, []),
        ({"commits": [{"key": "a", "kind": "postpaid", "access": THOUSAND}]}, []),
    ],
)  # fmt: skip
def test_each_way_of_giving_something_away(deal: dict[str, Any], expected: list[str]) -> None:
    assert beyond(**deal) == expected


def test_term_and_payment() -> None:
    assert beyond(net_days=46) == ["net_days: 46 days to pay, above 45"]
    assert beyond(end=day(2, 1, 2027)) == ["ending_before: lasts longer than 12 months"]
    assert beyond(Guardrails(), net_days=3650, discounts=[{"percent": "100"}]) == []


def test_only_what_is_new_needs_to_be_agreed_to() -> None:
    calendar = Calendar(UTC_ZONE, day(1))

    def found(percent: str, free: str) -> Any:
        deal = {"discounts": [{"percent": percent}], "credits": [{"key": "a", "access": [{"amount": free}]}]}
        return excesses(Proposal(parse_deal(deal, UTC_ZONE), calendar, "USD", 30), LIMITS)

    assert new_excesses(found("30", "1"), found("30", "1")) == []
    assert [each.path for each in new_excesses(found("30", "1"), found("30", "900"))] == ["credits"]
    assert [each.path for each in new_excesses(found("30", "1"), found("31", "1"))] == ["discounts"]


@pytest.fixture
def guardrails(roles: None) -> DealGuardrails:
    return DealGuardrails.objects.create(currency="", max_discount_percent=20, max_free_amount=500)


@pytest.fixture
def sales(roles: None) -> User:
    return user("Sales ops")


@pytest.fixture
def desk(roles: None) -> User:
    return user("Deal desk")


def waiting(author: User, **contract: Any) -> Contract:
    """A contract with 30% off, written by somebody; 10 units at 0.50 used in January."""
    with authored_by(author):
        (made,) = sell(deal={"discounts": [{"percent": "30"}]}, **contract)
        settle(made)
        made.save()
    return made


@pytest.mark.django_db
class TestAContract:
    def test_inside_the_guardrails_is_active_at_once(self, guardrails: DealGuardrails) -> None:
        made = ContractFactory.create(deal={"discounts": [{"percent": "20"}]})
        assert settle(made) == []
        assert made.status == Standing.ACTIVE

    def test_the_guardrails_of_its_currency_go_before_those_of_any(self, guardrails: DealGuardrails) -> None:
        made = ContractFactory.create(deal={"discounts": [{"percent": "30"}]})
        assert excesses_of(made)
        DealGuardrails.objects.create(currency="USD", max_discount_percent=40)
        assert not excesses_of(made)

    def test_that_waits_bills_nothing_and_its_usage_is_unclaimed(self, guardrails: DealGuardrails, sales: User) -> None:
        made = waiting(sales)
        assert made.status == Standing.AWAITING_APPROVAL
        close_periods(day(2, month=3))
        assert not Invoice.objects.exists()
        assert live_statement(made, day(10)) is None
        assert [(row.key, row.events) for row in unclaimed_usage()] == [(made.customer.key, 1)]
        assert number_of_unclaimed_keys() == 1

    def test_is_approved_by_a_second_person_and_bills_from_its_start(
        self, guardrails: DealGuardrails, sales: User, desk: User
    ) -> None:
        made = waiting(sales)
        approved = approve_contract(made.pk, desk, "Strategic.")
        assert (approved.status, approved.status_note, approved.approved_by) == ("active", "Strategic.", desk)
        close_periods(day(2, month=2))
        assert str(Invoice.objects.get().total) == "$3.50"
        assert unclaimed_usage() == []
        with pytest.raises(ConflictError, match="is active"):
            approve_contract(made.pk, desk)

    def test_is_never_approved_by_whoever_wrote_it(self, guardrails: DealGuardrails, sales: User, desk: User) -> None:
        made = waiting(sales)
        with pytest.raises(PermissionDenied, match="approve_contract"):
            approve_contract(made.pk, sales)
        with authored_by(desk):
            made.net_days = 40
            made.save()
        with pytest.raises(RuleError, match="second person"):
            approve_contract(made.pk, desk)
        approve_contract(made.pk, user("Finance"))

    def test_that_is_rejected_is_a_draft_with_the_reason(
        self, guardrails: DealGuardrails, sales: User, desk: User
    ) -> None:
        made = waiting(sales)
        with pytest.raises(RuleError, match="Say why"):
            reject_contract(made.pk, desk, " ")
        rejected = reject_contract(made.pk, desk, "Too much.")
        assert (rejected.status, rejected.status_note) == ("draft", "Too much.")
        # Whoever rejected it wrote nothing of it, and may approve the next version.
        with authored_by(sales):
            settle(rejected)
            rejected.save()
        approve_contract(made.pk, desk)


@pytest.mark.django_db
class TestAnAmendment:
    def test_beyond_the_guardrails_waits_and_the_terms_in_force_stay(
        self, guardrails: DealGuardrails, sales: User, desk: User
    ) -> None:
        (contract,) = sell()
        made = grant_credit(contract, "sorry", Decimal(600), sales, starting_at=day(1), reason="Outage.")
        assert (made.status, made.beyond) == ("waiting", ["credits: 600 USD given away, above 500"])
        contract.refresh_from_db()
        assert contract.deal == {}
        with pytest.raises(PermissionDenied):
            approve_amendment(made.pk, sales)
        made = approve_amendment(made.pk, desk, "Agreed.")
        contract.refresh_from_db()
        assert (made.status, made.decided_by, contract.deal["credits"][0]["key"]) == ("applied", desk, "sorry")
        with pytest.raises(ConflictError, match="in force"):
            reject_amendment(made.pk, desk, "No.")

    def test_is_not_approved_by_whoever_asked_for_it(self, guardrails: DealGuardrails, desk: User) -> None:
        (contract,) = sell()
        made = grant_credit(contract, "sorry", Decimal(600), desk, starting_at=day(1))
        with pytest.raises(RuleError, match="second person"):
            approve_amendment(made.pk, desk)

    def test_is_rejected_and_nothing_changes(self, guardrails: DealGuardrails, sales: User, desk: User) -> None:
        (contract,) = sell()
        made = grant_credit(contract, "sorry", Decimal(600), sales, starting_at=day(1))
        reject_amendment(made.pk, desk, "Smaller.")
        contract.refresh_from_db()
        assert contract.deal == {}

    def test_of_terms_that_changed_meanwhile_must_be_asked_for_again(
        self, guardrails: DealGuardrails, sales: User, desk: User
    ) -> None:
        (contract,) = sell()
        made = grant_credit(contract, "sorry", Decimal(600), sales, starting_at=day(1))
        grant_credit(contract, "small", Decimal(5), sales, starting_at=day(1))
        with pytest.raises(ConflictError, match="ask again"):
            approve_amendment(made.pk, desk)

    def test_into_a_period_that_closed_meanwhile_is_refused(
        self, guardrails: DealGuardrails, sales: User, desk: User
    ) -> None:
        (contract,) = sell()
        made = grant_credit(contract, "sorry", Decimal(600), sales, starting_at=day(1))
        close_periods(day(2, month=2))
        with pytest.raises(RuleError, match="is closed"):
            approve_amendment(made.pk, desk)

    def test_of_a_deal_that_was_approved_waits_only_for_what_is_new(
        self, guardrails: DealGuardrails, sales: User, desk: User
    ) -> None:
        contract = approve_contract(waiting(sales).pk, desk)
        assert grant_credit(contract, "small", Decimal(5), sales, starting_at=day(1)).status == "applied"
        more = amend(contract, day(1), {"add": {"discounts": [{"percent": "1"}]}}, sales)
        assert more.status == Amendment.Status.WAITING
