"""End early, renew and change seats from the page of a contract."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from contracts.models import Amendment, Contract, DealGuardrails, Standing
from invoicing.close import close_periods
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("roles")]
FAR = factories.day(1, year=2098)  # nothing here may be over when the tests run
STEPS = ("end_early", "renew", "change_seats")
REASON = {"reason": "as agreed"}


def agreed(**terms: Any) -> Contract:
    seat = factories.ProductFactory.create(key="seat", kind="subscription", meter=None)
    deal = {"subscriptions": [{"key": "seats", "product": "seat", "quantity": "5"}]}
    rate = factories.RateFactory.create(product=seat)
    given = {"rate_card": rate.rate_card, "deal": deal, "ending_before": FAR, "timezone": "America/New_York"}
    return factories.ContractFactory.create(**{**given, **terms})


def signed_in(role: str = "Sales ops") -> Client:
    client = Client()
    client.force_login(factories.user(role))
    return client


def url_of(step: str, contract: Contract) -> str:
    return reverse(f"admin:contracts_contract_{step}", args=[contract.pk])


def page_url(contract: Contract) -> str:
    return reverse("admin:contracts_contract_change", args=[contract.pk])


def offered(client: Client, contract: Contract) -> list[str]:
    page = client.get(page_url(contract)).content.decode()
    return [step for step in STEPS if url_of(step, contract) in page]


def filled(client: Client, url: str, **given: str) -> dict[str, str]:
    """What the browser sends: the form as it came, with what was typed."""
    form = client.get(url).context["form"]
    return {field.html_name: str(field.value() or "") for field in form} | REASON | given


def errors_of(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200
    return {name: list(texts) for name, texts in response.context["form"].errors.items()}


def told(response: Any) -> str:
    return str(list(get_messages(response.wsgi_request))[-1])


class TestOffered:
    def test_where_they_apply(self) -> None:
        client = signed_in()
        contract = agreed()
        assert offered(client, contract) == list(STEPS)
        for without, left in (
            ({"deal": {}}, ["end_early", "renew"]),
            ({"ending_before": None}, ["end_early", "change_seats"]),
            ({"ending_before": factories.day(1, month=2)}, ["renew"]),
            ({"status": Standing.DRAFT}, []),
        ):
            other = factories.ContractFactory.create(
                **{"rate_card": contract.rate_card, "deal": contract.deal, "ending_before": FAR, **without}
            )
            assert offered(client, other) == left, without

    @pytest.mark.parametrize("role", ["Finance", "Auditor", "Deal desk"])
    def test_to_those_who_may(self, role: str) -> None:
        client, contract = signed_in(role), agreed()
        assert offered(client, contract) == []
        for step in STEPS:
            assert client.get(url_of(step, contract)).status_code == 403
            assert client.post(url_of(step, contract), REASON).status_code == 403
        assert not Amendment.objects.exists()


class TestEnd:
    def test_it_ends_at_the_contracts_midnight_once(self) -> None:
        client, contract = signed_in(), agreed()
        url = url_of("end_early", contract)
        given = filled(client, url, day="2097-03-01")
        for _ in range(2):
            assert client.post(url, given).headers["Location"] == page_url(contract)
        contract.refresh_from_db()
        assert contract.ending_before is not None
        assert contract.ending_before.isoformat() == "2097-03-01T05:00:00+00:00"
        amendment = Amendment.objects.get()
        assert (amendment.kind, amendment.reason) == ("end", "as agreed")
        assert amendment.created_by is not None

    def test_what_is_wrong_stands_at_its_field(self) -> None:
        client = signed_in()
        contract = agreed(timezone="UTC")
        close_periods(factories.day(2, month=2), contract.key)
        url = url_of("end_early", contract)
        given = filled(client, url, day="2026-01-15")
        closed = errors_of(client.post(url, given))
        assert closed["day"][0].startswith("The period up to 2026-02-01T00:00:00+00:00 is closed")
        assert errors_of(client.post(url, {**given, "day": "2099-01-01"}))["day"][0].startswith("The contract ends on")
        missing = errors_of(client.post(url, {**given, "day": "", "reason": ""}))
        assert set(missing) == {"day", "reason"}
        assert 'value="2026-01-15"' in client.post(url, given).content.decode()
        assert not Amendment.objects.exists()


class TestRenew:
    def test_the_successor_goes_on_from_the_end_and_says_what_rolls_over(self) -> None:
        commit = {"key": "year", "access": [{"amount": "100"}], "rollover": {"fraction": "0.5"}}
        client, contract = signed_in(), agreed(deal={"commits": [commit]})
        url = url_of("renew", contract)
        assert "rolls over: year (up to 50% of what it was)" in client.get(url).content.decode()
        given = filled(client, url, key="next", ending_before="2099-01-01")
        response = client.post(url, given)
        made = Contract.objects.get(key="next")
        assert response.headers["Location"] == page_url(made)
        assert (made.renews, made.starting_at, made.status) == (contract, FAR, Standing.ACTIVE)
        assert made.ending_before == factories.day(1, year=2099).replace(hour=5)
        assert offered(client, contract) == ["end_early"]
        assert client.post(url, given).headers["Location"] == page_url(made)
        assert Contract.objects.count() == 2

    def test_a_key_that_is_taken_stands_at_its_field(self) -> None:
        client, contract = signed_in(), agreed()
        url = url_of("renew", contract)
        other = factories.ContractFactory.create()
        taken = errors_of(client.post(url, filled(client, url, key=other.key)))
        assert taken == {"key": [f"{other.key} is the key of another contract."]}
        early = errors_of(client.post(url, filled(client, url, key="next", ending_before="2097-01-01")))
        assert "ending_before" in early

    def test_beyond_the_guardrails_it_waits(self) -> None:
        DealGuardrails.objects.create(max_term_months=1)
        client, contract = signed_in(), agreed()
        url = url_of("renew", contract)
        response = client.post(url, filled(client, url, key="next"))
        assert told(response).startswith("This waits for a second person: ")
        assert Contract.objects.get(key="next").status == Standing.AWAITING_APPROVAL


class TestSeats:
    def test_so_many_from_a_day_on(self) -> None:
        client, contract = signed_in(), agreed()
        url = url_of("change_seats", contract)
        given = filled(client, url, subscription="seats", quantity="8", day="2097-03-01", seats="ann\nbo\n")
        assert client.post(url, given).status_code == 302
        contract.refresh_from_db()
        (subscription,) = contract.deal["subscriptions"]
        assert subscription["changes"] == [{"at": "2097-03-01T05:00:00+00:00", "quantity": "8"}]
        assert subscription["seats"] == ["ann", "bo"]
        more = filled(client, url, subscription="seats", quantity="9", day="2097-04-01")
        assert client.post(url, more).status_code == 302
        contract.refresh_from_db()
        assert contract.deal["subscriptions"][0]["seats"] == ["ann", "bo"]

    @pytest.mark.parametrize(
        ("typed", "field"),
        [
            ({"quantity": "-1"}, "quantity"),
            ({"quantity": "many"}, "quantity"),
            ({"quantity": "1", "seats": "ann\nbo"}, "seats"),
            ({"quantity": "3", "seats": "ann\nann"}, "seats"),
            ({"subscription": "other"}, "subscription"),
            ({"day": "2099-01-01"}, "day"),
            ({"day": "2020-01-01"}, "day"),
        ],
    )
    def test_what_is_wrong_stands_at_its_field(self, typed: dict[str, str], field: str) -> None:
        client, contract = signed_in(), agreed()
        url = url_of("change_seats", contract)
        given = {"subscription": "seats", "quantity": "8", "day": "2097-03-01", **typed}
        errors = errors_of(client.post(url, filled(client, url, **given)))
        assert list(errors) == [field]
        assert not Amendment.objects.exists()
