"""Billing periods are written once and read from then on."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from contracts.billing_periods import period_at, redraw_periods, write_periods
from contracts.models import BillingPeriod, Contract
from tests.factories import ContractFactory, day

pytestmark = pytest.mark.django_db


def spans(contract: Contract) -> list[tuple[str, str]]:
    return [
        (f"{period.starting_at:%m-%d %H:%M}", f"{period.ending_before:%m-%d %H:%M}")
        for period in contract.billing_periods.order_by("starting_at")
    ]


def test_periods_follow_the_calendar_and_the_first_and_last_may_be_short() -> None:
    contract = ContractFactory.create(starting_at=day(10), ending_before=day(5, month=3))
    assert write_periods(day(1, month=6)) == 3
    assert spans(contract) == [
        ("01-10 00:00", "02-01 00:00"),
        ("02-01 00:00", "03-01 00:00"),
        ("03-01 00:00", "03-05 00:00"),
    ]


def test_boundaries_fall_at_local_midnight_across_a_clock_change() -> None:
    contract = ContractFactory.create(timezone="Europe/Berlin", starting_at=datetime(2026, 2, 28, 23, tzinfo=UTC))
    write_periods(day(15, month=4))
    assert spans(contract) == [("02-28 23:00", "03-31 22:00"), ("03-31 22:00", "04-30 22:00")]


def test_writing_again_adds_only_what_is_missing() -> None:
    contract = ContractFactory.create()
    assert write_periods(day(15)) == 1
    assert write_periods(day(15)) == 0
    assert write_periods(day(31)) == 0
    assert write_periods(day(1, month=2)) == 1
    assert len(spans(contract)) == 2


def test_a_contract_that_has_not_started_has_no_period() -> None:
    contract = ContractFactory.create(starting_at=day(10))
    assert period_at(contract, day(9)) is None
    assert spans(contract) == []
    period = period_at(contract, day(10))
    assert period
    assert period.starting_at == day(10)


def test_there_is_no_period_after_the_end() -> None:
    contract = ContractFactory.create(ending_before=day(20))
    assert period_at(contract, day(20)) is None
    period = period_at(contract, day(19))
    assert period
    assert period.ending_before == day(20)


def test_redrawing_leaves_closed_periods_as_they_are() -> None:
    contract = ContractFactory.create()
    write_periods(day(15, month=3))
    BillingPeriod.objects.filter(contract=contract, starting_at=day(1)).update(closed_at=timezone.now())
    contract.ending_before = day(10, month=2)
    contract.save()
    redraw_periods(contract, day(15, month=3))
    assert spans(contract) == [("01-01 00:00", "02-01 00:00"), ("02-01 00:00", "02-10 00:00")]
    assert contract.billing_periods.filter(closed_at__isnull=False).count() == 1


def test_writing_takes_as_many_queries_for_many_contracts_as_for_one() -> None:
    ContractFactory.create()
    with CaptureQueriesContext(
        connection,
    ) as one:
        write_periods(day(1))
    ContractFactory.create_batch(20)
    with CaptureQueriesContext(connection) as many:
        assert write_periods(day(1)) == 20
    assert len(many) == len(one)
