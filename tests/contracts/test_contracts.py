"""Customers, their keys, and contracts that can be billed."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from contracts.billing_periods import write_periods
from contracts.models import Anchor, BillingPeriod, Contract, Customer, CustomerKey
from tests.factories import ContractFactory, CustomerFactory, RateCardFactory, day

pytestmark = pytest.mark.django_db


def refused(row: models.Model) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    return caught.value.message_dict


def contract(**fields: Any) -> Contract:
    """An unsaved contract."""
    made: Contract = ContractFactory.build(
        **{"customer": CustomerFactory.create(), "rate_card": RateCardFactory.create(), **fields}
    )
    return made


def test_the_main_key_of_a_customer_is_one_of_its_keys() -> None:
    customer = CustomerFactory.create(key="acme")
    customer.save()
    assert list(customer.keys.values_list("key", flat=True)) == ["acme"]


def test_a_key_belongs_to_one_customer() -> None:
    acme = CustomerFactory.create(key="acme")
    CustomerKey.objects.create(customer=acme, key="acme-eu")
    other = CustomerFactory.create()
    alias = CustomerKey(customer=other, key="acme-eu")
    assert refused(alias) == {"key": ["This key already belongs to a customer."]}
    with pytest.raises(IntegrityError), transaction.atomic():
        alias.save()
    assert refused(Customer(key="acme-eu", name="Late")) == {"key": [f"acme-eu is already a key of {acme}."]}


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "CET+1", "../etc/passwd"])
def test_a_time_zone_exists(zone: str) -> None:
    assert "timezone" in refused(Customer(key="acme", name="Acme", timezone=zone))
    assert "timezone" in refused(contract(timezone=zone))


def test_a_contract_takes_currency_and_zone_from_its_card_and_customer() -> None:
    made = contract(
        customer=CustomerFactory.create(timezone="Asia/Kolkata"), rate_card=RateCardFactory.create(currency="JPY")
    )
    made.full_clean()
    made.save()
    assert (made.currency, made.timezone) == ("JPY", "Asia/Kolkata")


def test_a_contract_ends_after_it_starts() -> None:
    made = contract(starting_at=day(2), ending_before=day(2))
    assert refused(made)["ending_before"] == ["A contract must end after it starts."]
    with pytest.raises(IntegrityError, match="contract_ends_after_it_starts"), transaction.atomic():
        made.save()


def test_a_rate_card_in_another_currency_is_refused() -> None:
    made = contract(currency="EUR", rate_card=RateCardFactory.create(currency="USD"))
    assert refused(made) == {"rate_card": ["The card is in USD, the contract in EUR: choose a card in EUR."]}


def test_contracts_of_a_customer_do_not_overlap() -> None:
    first = ContractFactory.create(starting_at=day(10), ending_before=day(20))
    for start, end in [(day(1), None), (day(19), day(25)), (day(1), day(11)), (day(12), day(13))]:
        made = contract(customer=first.customer, starting_at=start, ending_before=end)
        assert refused(made)["starting_at"] == [
            f"Overlaps contract {first} (10 January 2026 to 20 January 2026): end that one first."
        ]
        with pytest.raises(IntegrityError, match="contracts_do_not_overlap"), transaction.atomic():
            made.save()
    for start, end in [(day(1), day(10)), (day(20), None)]:
        made = contract(customer=first.customer, starting_at=start, ending_before=end)
        made.full_clean()
        made.save()


def test_an_anchor_at_a_date_needs_the_date() -> None:
    assert "anchor_date" in refused(contract(billing_anchor=Anchor.DATE))
    contract(billing_anchor=Anchor.DATE, anchor_date=date(2026, 1, 15)).full_clean()


def test_what_is_billed_stays_as_it_was() -> None:
    made = ContractFactory.create(starting_at=day(1))
    write_periods(day(1, month=3), Contract.objects.filter(pk=made.pk))
    BillingPeriod.objects.filter(contract=made, starting_at=day(1)).update(closed_at=timezone.now())
    for name, value in [("starting_at", day(2)), ("timezone", "Asia/Tokyo"), ("billing_every", "day")]:
        changed = Contract.objects.get(pk=made.pk)
        setattr(changed, name, value)
        assert refused(changed) == {name: ["Periods of this contract are closed already: end it and write a new one."]}
    made.ending_before = day(20)
    assert refused(made)["ending_before"][0].startswith("The period up to 1 February 2026 is closed already")
    made.ending_before = day(1, month=2)
    made.full_clean()


def test_the_currency_of_a_contract_cannot_change() -> None:
    made = ContractFactory.create()
    made.rate_card, made.currency = RateCardFactory.create(currency="EUR"), "EUR"
    assert refused(made) == {"currency": ["The contract is in USD; its currency cannot change."]}


class TestParsedDeal:
    WRITTEN = {"charges": [{"key": "setup", "product": "onboarding", "amount": "500", "at": "2026-01-01"}]}

    def test_what_many_agree_is_read_once(self) -> None:
        first, second = contract(deal=self.WRITTEN, timezone="UTC"), contract(deal={**self.WRITTEN}, timezone="UTC")
        assert first.parsed_deal is second.parsed_deal

    def test_days_are_those_of_the_contract(self) -> None:
        first = contract(deal=self.WRITTEN, timezone="UTC").parsed_deal.charges[0]
        second = contract(deal=self.WRITTEN, timezone="Europe/Berlin").parsed_deal.charges[0]
        assert (first.at, second.at) == (day(1), day(1) - timedelta(hours=1))

    def test_one_that_is_not_saved_may_hold_decimals(self) -> None:
        written = {"charges": [{**self.WRITTEN["charges"][0], "amount": Decimal("500.5")}]}
        assert contract(deal=written, timezone="UTC").parsed_deal.charges[0].amount == Decimal("500.5")
