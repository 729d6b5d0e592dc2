"""Every billing period gets exactly one invoice: run again, run twice at once, killed and started again."""

import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from billing_project.errors import RuleError
from contracts.granting import grant_shared_credit
from contracts.models import BillingPeriod, Contract
from invoicing.close import close_periods
from invoicing.models import Invoice, InvoiceLine, Status
from tests.factories import ContractFactory, RateFactory, amounts, day, sell, send
from tests.processes import environment

ROOT = Path(__file__).resolve().parents[2]


def close(*arguments: str) -> str:
    out = StringIO()
    call_command("close_periods", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def statuses() -> list[str]:
    return list(Invoice.objects.order_by("starting_at").values_list("status", flat=True))


def started_close() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "close_periods", "--as-of", "2026-01-01"],
        cwd=ROOT,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def count_closed(output: str) -> int:
    match = re.match(r"(\d+) periods closed", output)
    assert match, output
    return int(match[1])


@pytest.mark.django_db
class TestOneRun:
    def test_a_period_is_closed_once(self) -> None:
        sell(contracts=3)
        assert close("--as-of", "2026-02-01") == ("3 periods closed for 15.00 USD; 0 invoices put in the review queue.")
        assert close("--as-of", "2026-02-01") == "0 periods closed; 0 invoices put in the review queue."
        assert Invoice.objects.count() == 3
        assert {tuple(amounts(invoice)) for invoice in Invoice.objects.all()} == {((Decimal(10), Decimal(5)),)}

    def test_a_period_is_due_at_its_end_and_not_before(self) -> None:
        sell()
        assert close_periods(day(1, month=2) - timedelta(microseconds=1)).closed == 0
        assert close_periods(day(1, month=2)).closed == 1

    def test_every_period_that_was_missed_is_closed(self) -> None:
        sell()
        assert close_periods(day(15, month=5)).closed == 4
        assert list(Invoice.objects.order_by("starting_at").values_list("total", flat=True)) == [5, 0, 0, 0]

    def test_contracts_that_agreed_alike_are_cut_where_their_own_balances_begin(self) -> None:
        one, other, third = sell(contracts=3, used=[])
        for customer in (one.customer, other.customer, third.customer):
            send(customer.key, 10, day(10))
            send(customer.key, 10, day(20))
        grant_shared_credit(other.customer, "sorry", Decimal(2), None, starting_at=day(15))
        close_periods(day(2, month=2))
        for contract in (one, third):
            assert amounts(Invoice.objects.get(contract=contract)) == [(Decimal(20), Decimal(10))]
        lines = [(Decimal(quantity), Decimal(amount)) for quantity, amount in ((10, 5), (4, 2), (6, 3), (0, -2))]
        assert amounts(Invoice.objects.get(contract=other)) == lines

    def test_a_draft_goes_to_review_only_after_the_grace(self, settings: Any) -> None:
        settings.INVOICE_GRACE_HOURS = 24
        sell()
        assert close_periods(day(1, month=2)).reviewed == 0
        assert close_periods(datetime(2026, 2, 1, 23, 59, 59, tzinfo=UTC)).reviewed == 0
        assert statuses() == [Status.DRAFT]
        assert close_periods(day(2, month=2)).reviewed == 1
        assert close_periods(day(2, month=2)).reviewed == 0
        assert statuses() == [Status.IN_REVIEW]

    def test_usage_that_comes_within_the_grace_is_on_the_invoice(self) -> None:
        (contract,) = sell()
        close_periods(day(1, month=2))
        send(contract.customer.key, 7, day(31))
        close_periods(day(2, month=2))
        assert amounts(Invoice.objects.get()) == [(Decimal(17), Decimal("8.5"))]

    def test_usage_belongs_to_the_period_of_its_time(self) -> None:
        (contract,) = sell(used=[])
        send(contract.customer.key, 1, datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC))
        send(contract.customer.key, 2, day(1, month=2))
        close_periods(day(1, month=3))
        january, february = Invoice.objects.order_by("starting_at")
        assert amounts(january) == [(Decimal(1), Decimal("0.5"))]
        assert amounts(february) == [(Decimal(2), Decimal(1))]

    def test_usage_without_a_rate_is_kept_on_the_invoice_as_unrated(self) -> None:
        rate = RateFactory.create(starting_at=day(15))
        contract = ContractFactory.create(rate_card=rate.rate_card)
        send(contract.customer.key, 3, day(2))
        send(contract.customer.key, 4, day(20))
        close_periods(day(1, month=2))
        invoice = Invoice.objects.get()
        assert amounts(invoice) == [(Decimal(4), Decimal(2))]
        assert invoice.unrated == [{"product": rate.product.key, "group": {}, "quantity": "3"}]
        assert invoice.attention == ["Some usage has no rate: add one to the rate card."]

    def test_a_dry_run_changes_nothing(self) -> None:
        sell(contracts=2)
        assert close("--as-of", "2026-02-02", "--dry-run") == (
            "Dry run, nothing changed. 2 periods closed for 10.00 USD; 2 invoices put in the review queue."
        )
        assert not Invoice.objects.exists()
        assert not InvoiceLine.objects.exists()
        assert not BillingPeriod.objects.exists()

    def test_one_contract_can_be_closed_alone(self) -> None:
        first, second = sell(contracts=2)
        assert count_closed(close("--as-of", "2026-02-02", "--contract", second.key)) == 1
        assert Invoice.objects.get().contract == second
        assert not first.billing_periods.exists()
        assert count_closed(close("--as-of", "2026-02-02")) == 1

    def test_what_cannot_be_understood_is_refused(self) -> None:
        with pytest.raises(CommandError, match="there is no contract with this key"):
            call_command("close_periods", "--contract", "nobody")
        for text in ("yesterday", "2026-13-01", "2026-02-30", ""):
            with pytest.raises(CommandError, match="--as-of"):
                call_command("close_periods", "--as-of", text)

    def test_an_instant_without_a_zone_is_utc(self) -> None:
        sell(timezone="Europe/Berlin", starting_at=datetime(2025, 12, 31, 23, tzinfo=UTC))
        assert count_closed(close("--as-of", "2026-01-31T22:59:59")) == 0
        assert count_closed(close("--as-of", "2026-02-01T00:00:00+01:00")) == 1


@pytest.fixture
def many_periods(real_commits: None) -> int:
    """Two contracts billed by the day for two years: several chunks."""
    sell(contracts=2, billing_every="day", starting_at=day(1, year=2024), ending_before=day(1))
    return 2 * (366 + 365)


def each_period_has_one_invoice(total: int) -> None:
    assert BillingPeriod.objects.filter(closed_at__isnull=False).count() == total
    assert Invoice.objects.count() == total
    assert Invoice.objects.values("period").distinct().count() == total


def test_two_closes_at_once_share_the_work(many_periods: int) -> None:
    runs = [started_close() for _ in range(2)]
    ended = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], ended
    assert sum(count_closed(output) for output, _ in ended) == many_periods
    each_period_has_one_invoice(many_periods)


def test_a_close_that_was_killed_goes_on_where_it_stopped(many_periods: int) -> None:
    run = started_close()
    deadline = time.monotonic() + 60
    while not Invoice.objects.exists():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.kill()
    run.communicate()
    done = Invoice.objects.count()
    assert 0 < done < many_periods
    assert BillingPeriod.objects.filter(closed_at__isnull=False).count() == done
    assert count_closed(close("--as-of", "2026-01-01")) == many_periods - done
    each_period_has_one_invoice(many_periods)
    assert Contract.objects.count() == 2


@pytest.mark.django_db
def test_late_usage_that_cannot_be_looked_for_does_not_stop_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuleError("The events of January 2026 are archived.")

    monkeypatch.setattr("invoicing.close.find_late_usage", refuse)
    sell()
    errors = StringIO()
    call_command("close_periods", "--as-of", "2026-02-02", stdout=StringIO(), stderr=errors)
    assert Invoice.objects.get().status == "in_review"
    assert "Late usage was not looked for: The events of January 2026 are archived." in errors.getvalue()
