"""Customers, contracts and unclaimed usage in the admin."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse

from contracts.models import BillingPeriod, Contract, Customer, CustomerKey
from contracts.period_text import instant_text, period_text
from tests import factories
from tests.factories import day

pytestmark = pytest.mark.django_db
ADD_CUSTOMER = "admin:contracts_customer_add"
ADD_CONTRACT = "admin:contracts_contract_add"
BERLIN = ZoneInfo("Europe/Berlin")
UNCLAIMED = "admin:contracts_unclaimed"


@pytest.fixture
def sales(client: Client) -> Client:
    client.force_login(factories.user("Sales ops"))
    return client


def errors(response: Any) -> dict[str, list[str]]:
    return dict(response.context["adminform"].form.errors)


def text_of(client: Client, url: str, **query: str) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def customer_form(*aliases: str, **fields: str) -> dict[str, str]:
    form = {"name": "Acme", "timezone": "UTC", "payer": "parent", **fields}
    for number, alias in enumerate(aliases):
        form[f"keys-{number}-key"] = alias
    return {**form, "keys-TOTAL_FORMS": str(len(aliases)), "keys-INITIAL_FORMS": "0"}


def contract_form(**fields: Any) -> dict[str, Any]:
    """What the page of a contract sends: from 1 January 2026, by month."""
    form = {
        "key": "acme-2026",
        "starting_at_0": "2026-01-01",
        "starting_at_1": "",
        "ending_before_0": "",
        "ending_before_1": "",
        "billing_every": "month",
        "billing_anchor": "calendar",
        "net_days": "30",
        "billing_periods-TOTAL_FORMS": "0",
        "billing_periods-INITIAL_FORMS": "0",
    }
    return {**form, **fields}


def new_contract(**fields: Any) -> dict[str, Any]:
    customer = fields.pop("customer", None) or factories.CustomerFactory.create()
    card = fields.pop("rate_card", None) or factories.RateCardFactory.create()
    return contract_form(customer=customer.pk, rate_card=card.pk, **fields)


def change_url(contract: Contract) -> str:
    return reverse("admin:contracts_contract_change", args=[contract.pk])


def test_a_customer_with_aliases(sales: Client) -> None:
    sales.post(reverse(ADD_CUSTOMER), customer_form("acme-eu", "acme us", key="acme"))
    customer = Customer.objects.get()
    assert {key.key for key in customer.keys.all()} == {"acme", "acme-eu", "acme us"}
    page = text_of(sales, reverse("admin:contracts_customer_change", args=[customer.pk]))
    assert 'value="acme-eu"' in page
    assert 'value="acme"' not in page
    assert "acme-eu" in text_of(sales, reverse("admin:contracts_customer_changelist"))


def test_a_key_belongs_to_one_customer(sales: Client) -> None:
    CustomerKey.objects.create(customer=factories.CustomerFactory.create(name="Hooli"), key="acme")
    response = sales.post(reverse(ADD_CUSTOMER), customer_form(key="acme"))
    assert errors(response) == {"key": ["acme is already a key of Hooli."]}
    response = sales.post(reverse(ADD_CUSTOMER), customer_form("acme", key="acme-2"))
    assert response.context["inline_admin_formsets"][0].formset.errors == [
        {"key": ["This key already belongs to a customer."]}
    ]


def test_the_customers_own_key_is_no_alias(sales: Client) -> None:
    response = sales.post(reverse(ADD_CUSTOMER), customer_form("acme", key="acme"))
    (formset,) = response.context["inline_admin_formsets"]
    assert formset.formset.errors == [{"key": ["This is the customer's own key: it need not be an alias too."]}]


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"timezone": "Berlin"}, "timezone", "Berlin is not a time zone name, such as Europe/Berlin or UTC."),
        ({"email": "nobody"}, "email", "Enter a valid email address."),
        ({"key": "a b"}, "key", "Use letters, digits"),
    ],
)
def test_errors_of_a_customer(sales: Client, change: dict[str, str], field: str, message: str) -> None:
    response = sales.post(reverse(ADD_CUSTOMER), customer_form(**{"key": "acme", **change}))
    assert errors(response)[field][0].startswith(message)


def test_a_customers_page_shows_this_months_usage(sales: Client) -> None:
    meter = factories.MeterFactory.create(name="Calls", aggregation="count")
    customer = factories.CustomerFactory.create()
    factories.send(customer.key, 1, datetime.now(UTC))
    page = text_of(sales, reverse("admin:contracts_customer_change", args=[customer.pk]))
    assert meter.name in page


def test_a_contract_starts_at_midnight_where_it_was_agreed(sales: Client) -> None:
    customer = factories.CustomerFactory.create(timezone="Europe/Berlin")
    sales.post(reverse(ADD_CONTRACT), new_contract(customer=customer, ending_before_0="2026-07-01"))
    contract = Contract.objects.get()
    assert contract.starting_at == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert contract.ending_before == datetime(2026, 6, 30, 22, tzinfo=UTC)
    assert (contract.timezone, contract.currency) == ("Europe/Berlin", "USD")
    page = text_of(sales, change_url(contract))
    assert 'value="2026-01-01"' in page
    assert 'value="2026-07-01"' in page
    assert 'name="key"' not in page
    assert 'name="customer"' not in page
    assert "1 Jan – 30 Jun 2026" in text_of(sales, reverse("admin:contracts_contract_changelist"))


def test_a_contract_may_start_at_a_time_of_day(sales: Client) -> None:
    sales.post(reverse(ADD_CONTRACT), new_contract(timezone="Asia/Kolkata", starting_at_1="14:20"))
    assert Contract.objects.get().starting_at == datetime(2026, 1, 1, 8, 50, tzinfo=UTC)


def test_a_saved_contract_has_its_billing_periods(sales: Client) -> None:
    sales.post(reverse(ADD_CONTRACT), new_contract())
    contract = Contract.objects.get()
    first = contract.billing_periods.order_by("starting_at")[0]
    assert (first.starting_at, first.ending_before) == (day(1), day(1, month=2))
    page = text_of(sales, change_url(contract))
    assert reverse("admin:invoicing_period", args=[first.pk]) in page
    assert reverse("admin:invoicing_live_draft", args=[contract.pk]) in text_of(
        sales, reverse("admin:contracts_contract_changelist")
    )


def test_changed_terms_redraw_the_open_periods(sales: Client) -> None:
    sales.post(reverse(ADD_CONTRACT), new_contract())
    contract = Contract.objects.get()
    form = contract_form(
        rate_card=contract.rate_card.pk, timezone="UTC", billing_anchor="date", anchor_date="2026-01-16"
    )
    assert sales.post(change_url(contract), form).status_code == 302
    spans = contract.billing_periods.order_by("starting_at").values_list("starting_at", "ending_before")
    assert list(spans[:2]) == [(day(1), day(16)), (day(16), day(16, month=2))]


def test_an_anchor_date_is_kept_only_where_it_counts(sales: Client) -> None:
    sales.post(reverse(ADD_CONTRACT), new_contract(anchor_date="2026-01-16"))
    assert Contract.objects.get().anchor_date is None


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"ending_before_0": "2025-12-31"}, "ending_before", "A contract must end after it starts."),
        ({"ending_before_0": "2026-01-01"}, "ending_before", "A contract must end after it starts."),
        ({"currency": "EUR"}, "rate_card", "The card is in USD, the contract in EUR: choose a card in EUR."),
        ({"currency": "EURO"}, "currency", "Ensure this value has at most 3 characters"),
        ({"timezone": "Berlin"}, "timezone", "Berlin is not a time zone name"),
        ({"billing_anchor": "date"}, "anchor_date", "Give the date the periods start at"),
        ({"starting_at_0": ""}, "starting_at", "This field is required."),
        ({"customer": ""}, "customer", "This field is required."),
        ({"net_days": "-1"}, "net_days", "Ensure this value is greater than or equal to 0."),
    ],
)
def test_errors_of_a_contract(sales: Client, change: dict[str, str], field: str, message: str) -> None:
    response = sales.post(reverse(ADD_CONTRACT), new_contract() | change)
    assert errors(response)[field][0].startswith(message)
    assert not Contract.objects.exists()


def test_a_contract_moves_to_no_card_in_another_currency(sales: Client) -> None:
    contract = factories.ContractFactory.create()
    euros = factories.RateCardFactory.create(currency="EUR")
    response = sales.post(change_url(contract), contract_form(rate_card=euros.pk, timezone="UTC"))
    assert errors(response) == {"rate_card": ["The card is in EUR, the contract in USD: choose a card in USD."]}


def test_contracts_of_a_customer_do_not_overlap(sales: Client) -> None:
    other = factories.ContractFactory.create(name="First")
    response = sales.post(reverse(ADD_CONTRACT), new_contract(customer=other.customer, starting_at_0="2026-05-01"))
    assert errors(response) == {
        "starting_at": ["Overlaps contract First (1 January 2026 to an open end): end that one first."]
    }


def test_what_is_billed_stays(sales: Client) -> None:
    contract = factories.reviewed().contract
    form = contract_form(rate_card=contract.rate_card.pk, timezone="UTC", billing_every="year")
    assert errors(sales.post(change_url(contract), form)) == {
        "billing_every": ["Periods of this contract are closed already: end it and write a new one."]
    }
    form = contract_form(rate_card=contract.rate_card.pk, timezone="UTC", ending_before_0="2026-01-20")
    assert list(errors(sales.post(change_url(contract), form))) == ["ending_before"]
    form = contract_form(rate_card=contract.rate_card.pk, timezone="UTC", ending_before_0="2026-03-01")
    assert sales.post(change_url(contract), form).status_code == 302
    assert BillingPeriod.objects.filter(closed_at__isnull=False).exists()


def test_unclaimed_usage_becomes_a_customers(sales: Client) -> None:
    customer = factories.CustomerFactory.create()
    for number in (3, 5):
        factories.send("acme & co", 1, day(number))
    factories.send(customer.key, 1, day(4))
    page = text_of(sales, reverse(UNCLAIMED))
    assert "acme &amp; co" in page
    assert "3 Jan 2026" in page
    assert "5 Jan 2026" in page
    assert customer.key not in page
    assert "Choose the customer." in sales.post(reverse(UNCLAIMED), {"keys": ["acme & co"]}).content.decode()
    assert "Choose the keys" in sales.post(reverse(UNCLAIMED), {"customer": customer.pk}).content.decode()
    response = sales.post(reverse(UNCLAIMED), {"keys": ["acme & co"], "customer": customer.pk}, follow=True)
    assert "(2 events)" in response.content.decode()
    assert response.redirect_chain[-1][0] == reverse(UNCLAIMED)
    assert "Every event belongs to a customer." in response.content.decode()


def test_only_who_may_change_customers_assigns_usage(client: Client) -> None:
    customer = factories.CustomerFactory.create()
    factories.send("lost", 1, day(3))
    client.force_login(factories.user("Auditor"))
    assert "lost" in text_of(client, reverse(UNCLAIMED))
    answer = client.post(reverse(UNCLAIMED), {"keys": ["lost"], "customer": customer.pk})
    assert (answer.status_code, CustomerKey.objects.filter(key="lost").exists()) == (403, False)


def test_a_main_key_cannot_be_taken_from_its_customer(sales: Client) -> None:
    customer = factories.CustomerFactory.create()
    main = customer.keys.get()
    alias = CustomerKey.objects.create(customer=customer, key="other")
    for key, status in ((main, 403), (alias, 302)):
        url = reverse("admin:contracts_customerkey_delete", args=[key.pk])
        assert sales.post(url, {"post": "yes"}).status_code == status


@pytest.mark.parametrize("role", ["Finance", "Auditor"])
def test_other_roles_read_only(client: Client, role: str) -> None:
    contract = factories.ContractFactory.create()
    factories.send("nobody", 1, day(3))
    client.force_login(factories.user(role))
    for page in ("customer", "contract", "customerkey"):
        assert client.get(reverse(f"admin:contracts_{page}_add")).status_code == 403
        text_of(client, reverse(f"admin:contracts_{page}_changelist"))
    for url in (change_url(contract), reverse("admin:contracts_customer_change", args=[contract.customer.pk])):
        text_of(client, url)
        assert client.post(url, contract_form()).status_code == 403
        assert client.post(url.replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert "from 1 Jan 2026" in text_of(client, change_url(contract))
    assert "Add as alias" not in text_of(client, reverse(UNCLAIMED))


def test_strangers_see_nothing(client: Client) -> None:
    client.force_login(factories.user("Service"))
    assert client.get(reverse(UNCLAIMED)).status_code == 403
    client.logout()
    assert client.get(reverse(UNCLAIMED)).status_code == 302


def berlin(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=BERLIN).astimezone(UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (berlin(2026, 1, 1), berlin(2026, 2, 1), "1 – 31 Jan 2026"),
        (berlin(2026, 1, 1), berlin(2026, 4, 1), "1 Jan – 31 Mar 2026"),
        (berlin(2025, 12, 16), berlin(2026, 1, 16), "16 Dec 2025 – 15 Jan 2026"),
        (berlin(2026, 1, 1), berlin(2026, 1, 2), "1 Jan 2026"),
        (berlin(2026, 1, 1, 14, 20), berlin(2026, 2, 1), "1 Jan 2026 14:20 – 1 Feb 2026 00:00"),
        (berlin(2026, 1, 1), None, "from 1 Jan 2026"),
    ],
)
def test_periods_as_text(start: datetime, end: datetime | None, text: str) -> None:
    assert period_text(start, end, BERLIN) == text


def test_instants_as_text() -> None:
    assert instant_text(berlin(2026, 1, 2), BERLIN) == "2 Jan 2026"
    assert instant_text(berlin(2026, 1, 2, 0, 30), BERLIN) == "2 Jan 2026 00:30"
    assert instant_text(berlin(2026, 1, 2, 0, 30, 5), BERLIN) == "2 Jan 2026 00:30:05"
