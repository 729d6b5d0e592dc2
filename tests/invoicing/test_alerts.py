"""Alerts: once per crossing, again after they recovered or in a new period."""

from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from pytest_django import Settings

from contracts.models import Contract
from invoicing.alerts import check_alerts
from invoicing.close import close_periods
from invoicing.crossings import Measure, changes, percent
from invoicing.delivering import deliver
from invoicing.models import Alert, AlertRule, Invoice, OutgoingEvent, WebhookEndpoint
from invoicing.spend_thresholds import bill_now
from tests.factories import day, sell, send, user

pytestmark = pytest.mark.django_db

CREDIT = {"credits": [{"key": "trial", "access": [{"amount": "20", "starting_at": "2026-01-01T00:00:00Z"}]}]}


def look(on: int, month: int = 1) -> int:
    rows = list(Contract.objects.select_related("customer", "rate_card").order_by("pk"))
    found = check_alerts(rows, day(on, month))
    assert not found.failed
    return found.done


def rule(kind: str, limit: str, **more: Any) -> AlertRule:
    made = AlertRule(name=f"{kind} {limit}", kind=kind, limit=Decimal(limit), **more)
    made.full_clean()
    made.save()
    return made


def reasons() -> list[str]:
    return [row.reason.partition(": ")[2] for row in Alert.objects.filter(recovered_at=None).order_by("pk")]


def test_what_begins_and_what_ends() -> None:
    half = Measure("commit", "a", Decimal(50), "")
    full = Measure("commit", "b", Decimal(100), "")
    assert changes("commit", Decimal(80), [half, full], {}) == ([full], [])
    assert changes("commit", Decimal(80), [half, full], {"b": 1}) == ([], [])
    assert changes("commit", Decimal(80), [half], {"a": 1, "b": 2}) == ([], [1, 2])
    assert changes("days_left", Decimal(9), [Measure("days_left", "a", Decimal(10), "")], {"a": 1}) == ([], [1])
    assert changes("balance", Decimal(50), [Measure("balance", "", Decimal(50), "")], {})[0]
    assert percent(Decimal(1), Decimal(8)) == Decimal("12.5")


def test_spend_once_and_again_in_the_next_period() -> None:
    (contract,) = sell(used=[10])  # 5.00
    rule("spend", "10", currency="USD")
    rule("spend", "1", currency="EUR")
    assert look(11) == 0
    send(contract.customer.key, 10, day(11))
    assert look(12) == 1
    assert look(13) == 0
    close_periods(day(1, 2))
    send(contract.customer.key, 30, day(2, 2))
    assert look(3, 2) == 2  # January's is over, February's begins
    assert [row.recovered_at is None for row in Alert.objects.order_by("pk")] == [False, True]


def test_a_balance_that_falls_and_is_filled() -> None:
    (contract,) = sell(used=[20], deal=CREDIT)
    rule("balance", "10")
    rule("commit", "75")
    assert look(11) == 1
    assert "10.00" in reasons()[0]
    assert reasons()[0].endswith(" left of commits and credits.")
    send(contract.customer.key, 10, day(12))
    assert look(13) == 1
    assert reasons()[1] == "75% of trial used."
    more = [*CREDIT["credits"], {"key": "more", "access": [{"amount": "50", "starting_at": "2026-01-13T00:00:00Z"}]}]
    Contract.objects.update(deal={"credits": more})
    assert look(14) == 1
    assert reasons() == ["75% of trial used."]


def test_a_share_of_the_spend_threshold() -> None:
    sell(used=[17], deal={"spend_threshold": {"amount": "10"}})
    rule("threshold", "80")
    assert look(11) == 1
    assert reasons() == ["85% of the spend threshold reached."]


def test_an_allowance() -> None:
    (contract,) = sell(used=[])
    meter = contract.rate_card.rates.get().product.meter
    assert meter is not None
    terms = {"kind": "metered", "feature": "calls", "meter": meter.key, "limit": "100"}
    Contract.objects.update(deal={"entitlements": [terms]})
    rule("entitlement", "90", feature="calls")
    rule("entitlement", "1", feature="other")
    send(contract.customer.key, 89, day(10))
    assert look(11) == 0
    send(contract.customer.key, 1, day(11))
    assert look(12) == 1
    assert reasons() == ["90% of calls used (90 of 100)."]
    assert look(1, 2) == 1  # counted anew


def test_a_quantity_of_a_product() -> None:
    (contract,) = sell(used=[1500])
    product = contract.rate_card.rates.get().product.key
    rule("usage", "2000", feature=product)
    rule("usage", "1", feature="other")
    assert look(11) == 0
    send(contract.customer.key, 500, day(11))
    assert look(12) == 1
    assert reasons() == [f"2,000 of {product} used in this period."]
    assert look(1, 2) == 1  # a new period
    assert reasons() == []


def test_days_left_of_a_commit() -> None:
    """20.00 until the end of January: 31 days are left on the first, 10 from the 22nd on."""
    access = [{"amount": "20", "starting_at": "2026-01-01T00:00:00Z", "ending_before": "2026-02-01T00:00:00Z"}]
    without_end = {"key": "other", "access": [{"amount": "1", "starting_at": "2026-01-01T00:00:00Z"}]}
    sell(used=[10], deal={"credits": [{"key": "trial", "access": access}, without_end]})
    rule("days_left", "10")
    assert look(21) == 0
    assert look(22) == 1
    assert reasons() == ["10 days left to use 15.00 USD of trial (until 2026-01-31)."]
    assert look(31) == 0
    assert look(1, 2) == 1
    assert reasons() == []


def test_of_a_commit_that_is_used_up_no_days_are_left() -> None:
    access = [{"amount": "5", "starting_at": "2026-01-01T00:00:00Z", "ending_before": "2026-02-01T00:00:00Z"}]
    sell(used=[10], deal={"credits": [{"key": "trial", "access": access}]})
    rule("days_left", "30")
    assert look(20) == 0


@pytest.mark.books_unchecked
def test_an_invoices_total_once_from_the_first_look_to_the_payment() -> None:
    """It is reached while the period runs; draft, in review and issued are the same crossing."""
    (contract,) = sell(used=[10])  # 5.00
    rule("invoice", "8")
    assert look(11) == 0
    send(contract.customer.key, 10, day(11))
    assert look(12) == 1
    assert reasons() == ["The invoice from 2026-01-01 comes to 10.00 USD."]
    close_periods(day(1, 2))
    assert look(1, 2) == 0
    close_periods(day(3, 2))
    assert look(3, 2) == 0
    assert Invoice.objects.get().status == "in_review"
    Invoice.objects.update(status="approved")
    Invoice.objects.update(status="issued", number="INV-7", issued_at=day(4, 2))
    assert look(5, 2) == 0
    Invoice.objects.update(status="paid")
    assert look(6, 2) == 1
    assert reasons() == []
    assert Alert.objects.count() == 1


def test_the_total_of_a_threshold_invoice() -> None:
    sell(used=[50], deal={"spend_threshold": {"amount": "20"}})
    bill_now(list(Contract.objects.select_related("customer", "rate_card")), day(12))
    rule("invoice", "25")
    assert look(13) == 1
    assert reasons() == ["INV-000001 comes to 25.00 USD."]


@pytest.mark.books_unchecked
def test_what_is_overdue() -> None:
    sell(used=[50], deal={"spend_threshold": {"amount": "20"}}, net_days=1)
    bill_now(list(Contract.objects.select_related("customer", "rate_card")), day(12))
    rule("overdue", "10")
    assert look(20) == 0
    assert look(23) == 1
    assert reasons()[0].endswith("of INV-000001 is overdue by 10 days.")
    Invoice.objects.update(status="paid")
    assert look(24) == 1
    assert reasons() == []


def test_one_customers_rule_is_no_one_elses() -> None:
    mine, _ = sell(2, used=[10])
    rule("spend", "1", customer=mine.customer)
    assert look(11) == 1
    assert Alert.objects.get().contract == mine


def test_they_are_told(settings: Settings) -> None:
    settings.EMAIL_URL = "smtp://nowhere"
    WebhookEndpoint.objects.create(url="https://example.com/")
    sell(used=[20], deal=CREDIT)
    rule("balance", "10", emails=["ops@acme.test"])
    look(11)
    assert OutgoingEvent.objects.get().type == "balance.low"
    deliver(webhooks=False)
    (sent,) = mail.outbox
    assert sent.to == ["ops@acme.test"]
    assert sent.subject.startswith("balance 10: ")
    assert "left of commits and credits" in sent.body


def test_the_number_of_queries_does_not_grow(django_assert_max_num_queries: Any) -> None:
    sell(12, used=[10], deal=CREDIT)
    rule("balance", "1")
    rule("spend", "100")
    rule("overdue", "1")
    rule("invoice", "1000")
    rule("days_left", "1")
    look(11)
    with django_assert_max_num_queries(30):
        look(11)


@pytest.mark.usefixtures("roles")
def test_the_pages(client: Client) -> None:
    client.force_login(user("Finance"))
    sell(used=[20], deal=CREDIT)
    given = {
        "name": "Low",
        "kind": "balance",
        "limit": "10",
        "currency": "USD",
        "emails": "a@b.test, c@d.test",
        "active": "on",
    }
    sent = client.post("/admin/invoicing/alertrule/add/", given)
    assert sent.status_code == 302, sent.content.decode()
    assert AlertRule.objects.get().emails == ["a@b.test", "c@d.test"]
    look(11)
    assert "left of commits and credits" in client.get("/admin/invoicing/alert/?standing=yes").content.decode()
    assert "Low" in client.get("/admin/invoicing/alertrule/").content.decode()
    refused = client.post("/admin/invoicing/alertrule/add/", {**given, "feature": "calls"})
    assert "Only alerts on allowances and on usage look at a feature or product." in refused.content.decode()
