"""The deal on the screen of a contract: what it is made of, that nothing gets lost, where faults stand."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from catalog.document_form import place_text
from contracts.deal import Deal
from contracts.deal_dates import local_text, read_document, shown_document
from contracts.deal_field import read_deal
from contracts.deal_format import deal_as_dict, parse_deal
from contracts.deal_words import TABS, deal_form, template_form
from contracts.merging import merged
from contracts.models import Contract, ContractTemplate, DealGuardrails, Standing
from contracts.templates import TemplateTerms
from tests import factories
from tests.contracts.deal_documents import EVERYTHING, deal_documents
from tests.contracts.test_admin import ADD_CONTRACT, change_url, errors, new_contract
from tests.factories import day

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Apia", "America/Havana"]


def test_every_part_of_a_deal_stands_on_a_tab() -> None:
    form = deal_form()
    assert sorted(part for parts in form["tabs"].values() for part in parts) == sorted(Deal.__struct_fields__)
    assert list(form["tabs"]) == list(TABS)


def test_the_form_knows_every_field_of_every_struct() -> None:
    types = deal_form()["types"]
    commit = {field["name"]: field for field in types["Commit"]["fields"]}
    assert {name: field["kind"] for name, field in commit.items()} == {
        "key": "text",
        "name": "text",
        "kind": "choice",
        "access": "rows",
        "invoices": "rows",
        "rate": "choice",
        "rollover": "part",
        "overage_multiplier": "number",
        "priority": "whole",
        "scope": "part",
        "unit": "text",
    }
    assert commit["rollover"]["shown_if"] == {"kind": ["prepaid"]}
    assert commit["kind"]["options"] == [["prepaid", "Prepaid"], ["postpaid", "Postpaid"]]
    assert (commit["access"]["type"], commit["access"]["required"]) == ("Access", True)
    overrides = types[types["Deal"]["fields"][0]["type"]]
    assert overrides == {
        "tag_field": "kind",
        "variants": {"multiplier": "Multiplier", "tiered": "TieredMultiplier", "overwrite": "Overwrite"},
    }


def test_a_place_in_the_words_of_the_form() -> None:
    assert place_text(deal_form(), "overrides[1].price.tiers[0].up_to") == "Price overrides 2, price, tiers 1, up to"
    assert place_text(deal_form(), "commits[0].access[2].starting_at") == "Commits 1, can be used 3, usable from"
    assert place_text(deal_form(), "usage_filter.region") == "Only this usage, region"


def test_the_suite_writes_many_deals() -> None:
    documents = deal_documents()
    assert len(documents) > 25
    assert set(EVERYTHING) == set(Deal.__struct_fields__)
    assert deal_as_dict(parse_deal(EVERYTHING, ZoneInfo("UTC"))) in documents


@given(document=st.sampled_from(deal_documents()), zone=st.sampled_from(ZONES))
def test_shown_and_saved_a_deal_is_the_same(document: dict[str, Any], zone: str) -> None:
    """Through the text of the form and back, in whatever zone."""
    shown = json.loads(json.dumps(shown_document(document, ZoneInfo(zone))))
    assert read_deal(shown, ZoneInfo(zone), None) == deal_as_dict(parse_deal(document, ZoneInfo("UTC")))


@given(
    instant=st.integers(160_000_000, 3_700_000_000).map(lambda second: datetime.fromtimestamp(second, UTC)),
    zone=st.sampled_from(ZONES),
)
def test_any_instant_comes_back(instant: datetime, zone: str) -> None:
    document = {"charges": [{"at": instant.isoformat()}]}
    back = read_document(shown_document(document, ZoneInfo(zone)), ZoneInfo(zone))
    read = parse_deal({"charges": [{**back["charges"][0], "key": "k", "product": "p", "amount": "1"}]}, ZoneInfo(zone))
    assert read.charges[0].at == instant


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        ("2026-02-28T23:00:00+00:00", "2026-03-01"),
        ("2026-03-01T13:20:00+00:00", "2026-03-01T14:20"),
        ("2026-10-25T00:30:00+00:00", "2026-10-25T02:30"),
        ("2026-10-25T01:30:00+00:00", "2026-10-25T01:30:00+00:00"),  # the second 02:30 of that night
        ("soon", "soon"),
        (None, None),
    ],
)
def test_instants_are_shown_as_local_times(instant: Any, shown: Any) -> None:
    assert local_text(instant, ZoneInfo("Europe/Berlin")) == shown


def test_group_keys_called_like_dates_are_left_alone() -> None:
    written = {"usage_filter": {"at": ["2026-01-01T00:00:00+00:00"]}}
    assert shown_document(written, ZoneInfo("Asia/Kolkata")) == written


# --- on the screen -------------------------------------------------------------------------------------------------


@pytest.fixture
def sales(client: Client) -> Client:
    client.force_login(factories.user("Sales ops"))
    return client


COMMIT = {
    "key": "y1",
    "access": [{"amount": "1000", "starting_at": "2026-01-01", "ending_before": "2027-01-01"}],
    "invoices": [{"amount": "800", "at": "2026-01-01"}],
}


@pytest.mark.django_db
def test_a_deal_is_saved_in_the_contracts_time_zone(sales: Client) -> None:
    form = new_contract(timezone="Europe/Berlin", deal=json.dumps({"commits": [COMMIT], "discounts": []}))
    assert sales.post(reverse(ADD_CONTRACT), form).status_code == 302
    contract = Contract.objects.get()
    assert contract.parsed_deal.commits[0].access[0].starting_at == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert contract.parsed_deal.commits[0].invoices[0].amount == Decimal(800)
    page = sales.get(change_url(contract)).content.decode()
    assert "&quot;starting_at&quot;: &quot;2026-01-01&quot;" in page


@pytest.mark.django_db
def test_a_page_without_the_deal_leaves_it(sales: Client) -> None:
    contract = factories.ContractFactory.create(deal={"discounts": [{"percent": "10"}]})
    form = new_contract(rate_card=contract.rate_card, timezone="UTC", name="Renamed")
    assert sales.post(change_url(contract), form).status_code == 302
    contract.refresh_from_db()
    assert (contract.name, contract.deal) == ("Renamed", {"discounts": [{"percent": "10"}]})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("deal", "path", "message"),
    [
        ({"discounts": [{"percent": "ten"}]}, "discounts[0].percent", "Write a number, such as 1250 or 0.002."),
        ({"discounts": [{"percent": "110"}]}, "discounts[0].percent", "Must not be above 100."),
        ({"charges": [{"key": "a", "product": "x", "amount": "1"}]}, "charges[0].at", "Is needed."),
        (
            {"charges": [{"key": "a", "product": "x", "amount": "1", "at": "soon"}]},
            "charges[0].at",
            "Write a date, such as 2026-03-01.",
        ),
        ({"commits": [{**COMMIT, "key": ""}]}, "commits[0].key", "Give a key without spaces at its ends."),
        (
            {"overrides": [{"kind": "multiplier", "multiplier": "1", "scope": {"products": ["no"]}}]},
            "overrides[0].scope.products[0]",
            "There is no product no.",
        ),
        (
            {
                "credits": [
                    {
                        "key": "c",
                        "access": [
                            {"amount": "1", "starting_at": "2026-01-01", "ending_before": "2026-06-01"},
                            {"amount": "1", "starting_at": "2026-03-01"},
                        ],
                    }
                ]
            },
            "credits[0].access[1].starting_at",
            "Overlaps the amount from 1 January 2026: use separate keys for separate amounts.",
        ),
    ],
)
def test_a_fault_stands_at_its_field(sales: Client, deal: Any, path: str, message: str) -> None:
    response = sales.post(reverse(ADD_CONTRACT), new_contract(deal=json.dumps(deal)))
    (fault,) = response.context["deal"]["faults"]
    assert (fault["path"], fault["message"]) == (path, message)
    assert json.loads(response.context["deal"]["text"]) == deal  # what was typed is still there
    assert not Contract.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_what_is_no_document(sales: Client, text: str) -> None:
    response = sales.post(reverse(ADD_CONTRACT), new_contract(deal=text))
    assert list(errors(response)) == ["deal"]


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["Auditor", "Finance"])
def test_others_read_the_deal(client: Client, role: str) -> None:
    contract = factories.ContractFactory.create(deal={"discounts": [{"percent": "10"}]})
    client.force_login(factories.user(role))
    response = client.get(change_url(contract))
    assert response.context["deal"]["read_only"]
    assert "&quot;percent&quot;: &quot;10&quot;" in response.content.decode()
    assert client.post(change_url(contract), {"deal": "{}"}).status_code == 403


@pytest.mark.django_db
def test_a_copy_opens_for_another_customer(sales: Client) -> None:
    contract = factories.ContractFactory.create(
        name="Pilot", net_days=14, ending_before=day(1, month=7), deal={"discounts": [{"percent": "10"}]}
    )
    page = sales.get(reverse("admin:contracts_contract_copy", args=[contract.pk]), follow=True)
    form = page.context["adminform"].form
    assert (form["name"].value(), form["net_days"].value(), form["rate_card"].value()) == (
        "Pilot",
        14,
        contract.rate_card_id,
    )
    assert json.loads(form["deal"].value()) == contract.deal
    assert form["starting_at"].value().date().isoformat() == "2026-01-01"
    assert not form["customer"].value()
    assert not form["key"].value()
    assert Contract.objects.count() == 1
    for unknown in ("0", "x"):
        assert sales.get(reverse(ADD_CONTRACT), {"copy": unknown}).status_code == 200


@pytest.mark.django_db
def test_a_contract_starts_from_a_template(sales: Client) -> None:
    document = {
        "term": "P1Y",
        "net_days": 14,
        "billing": {"every": "quarter"},
        "credits": [{"key": "trial", "access": [{"amount": "5", "starting_at": "P0D", "ending_before": "P1M"}]}],
    }
    card = factories.RateCardFactory.create()
    template = ContractTemplate.objects.create(key="starter", name="Starter", rate_card=card, document=document)
    assert "Start from" in sales.get(reverse(ADD_CONTRACT)).content.decode()
    page = sales.get(reverse(ADD_CONTRACT), {"template": str(template.pk), "day": "2026-03-01"})
    form = page.context["adminform"].form
    assert json.loads(form["deal"].value()) == {
        "credits": [
            {"key": "trial", "access": [{"amount": "5", "starting_at": "2026-03-01", "ending_before": "2026-04-01"}]}
        ]
    }
    assert (form["net_days"].value(), form["billing_every"].value()) == (14, "quarter")
    assert form["ending_before"].value().date().isoformat() == "2027-03-01"
    signed = new_contract(rate_card=card, deal=form["deal"].value())
    assert sales.post(f"{reverse(ADD_CONTRACT)}?template={template.pk}", signed).status_code == 302
    assert Contract.objects.get().template == template
    for unknown in ({"template": "0"}, {"template": str(template.pk), "day": "soon"}, {"day": "9999-12-31"}):
        unknown = {"template": str(template.pk), **unknown}
        assert sales.get(reverse(ADD_CONTRACT), unknown).status_code == 200


@pytest.mark.django_db
def test_a_templates_zone_and_anchor_come_along(sales: Client) -> None:
    card = factories.RateCardFactory.create()
    document = {
        "timezone": "Asia/Tokyo",
        "billing": {"anchor": "contract"},
        "charges": [{"key": "setup", "product": "setup", "amount": "1", "at": "P1M"}],
    }
    template = ContractTemplate.objects.create(key="starter", name="Starter", rate_card=card, document=document)
    page = sales.get(reverse(ADD_CONTRACT), {"template": str(template.pk), "day": "2026-01-31"})
    form = page.context["adminform"].form
    assert (form["timezone"].value(), form["billing_anchor"].value()) == ("Asia/Tokyo", "contract")
    assert json.loads(form["deal"].value())["charges"][0]["at"] == "2026-02-28"


# --- templates -----------------------------------------------------------------------------------------------------

ADD_TEMPLATE = "admin:contracts_contracttemplate_add"
TEMPLATE_PREVIEW = "admin:contracts_template_preview"
SETUP = {"key": "a", "product": "tables", "amount": "1"}


def test_a_template_has_the_form_of_a_deal_with_durations() -> None:
    form = template_form()
    assert form["tabs"]["Terms"] == ["term", "net_days", "timezone", "billing"]
    assert {**form["tabs"], "Terms": []} == deal_form()["tabs"]
    parts = sorted(part for parts in form["tabs"].values() for part in parts)
    assert parts == sorted(TemplateTerms.__struct_fields__)
    kinds = {field["kind"] for shape in form["types"].values() for field in shape.get("fields", ())}
    assert "duration" in kinds
    assert "instant" not in kinds


def template_fields(**document: Any) -> dict[str, Any]:
    """What the page of a new template sends."""
    card = factories.RateCardFactory.create()
    seat = {"kind": "subscription", "meter": None, "key": "seat", "name": "Seat"}
    factories.RateFactory.create(rate_card=card, product=factories.ProductFactory.create(**seat))
    return {"key": "starter", "name": "Starter", "rate_card": card.pk, "document": json.dumps(document)}


@pytest.mark.django_db
def test_a_template_is_saved_and_shown_on_its_screen(sales: Client) -> None:
    fields = template_fields(
        term="P1Y", commits=[{**COMMIT, "access": [{"amount": "5", "starting_at": "P0D"}], "invoices": []}]
    )
    assert sales.post(reverse(ADD_TEMPLATE), fields).status_code == 302
    template = ContractTemplate.objects.get()
    assert template.document["commits"][0]["access"] == [{"amount": "5", "starting_at": "P0D"}]
    page = sales.get(reverse("admin:contracts_contracttemplate_change", args=[template.pk]))
    assert json.loads(page.context["deal"]["text"]) == template.document
    client = Client()
    client.force_login(factories.user("Auditor"))
    page = client.get(reverse("admin:contracts_contracttemplate_change", args=[template.pk]))
    assert page.context["deal"]["read_only"]
    assert json.loads(page.context["deal"]["text"]) == template.document


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({"charges": [{**SETUP, "at": "PsoonM"}]}, "charges[0].at", "Write a whole number of days, weeks, months or"),
        ({"term": "P0D"}, "term", "Lasts no time at all; leave it out for a contract without an end."),
        ({"charges": [{**SETUP, "at": "P0D"}]}, "charges[0].product", "There is no product tables."),
        ({"billing": {"anchor": "soon"}}, "billing.anchor", "Is 'soon'; write calendar, contract or a date such as"),
    ],
)
def test_a_templates_fault_stands_at_its_field(sales: Client, document: Any, path: str, message: str) -> None:
    fields = template_fields(**document)
    (fault,) = sales.post(reverse(ADD_TEMPLATE), fields).context["deal"]["faults"]
    assert fault["path"] == path
    assert fault["message"].startswith(message)
    assert sales.post(reverse(TEMPLATE_PREVIEW), fields).json()["faults"] == [fault]
    assert not ContractTemplate.objects.exists()


@pytest.mark.django_db
def test_a_template_is_previewed_as_if_it_were_signed_today(sales: Client) -> None:
    DealGuardrails.objects.create(max_discount_percent=20)
    seats = {"key": "seats", "product": "seat", "quantity": "3", "billed": "advance"}
    shown = template_fields(term="P1M", subscriptions=[seats], discounts=[{"percent": "30"}])
    answer = sales.post(reverse(TEMPLATE_PREVIEW), shown).json()
    assert "Each contract waits for a second person" in answer["html"]
    assert "Seat" in answer["html"]
    assert sales.post(reverse(TEMPLATE_PREVIEW), {**shown, "rate_card": ""}).json()["html"] is None
    assert not ContractTemplate.objects.exists()
    assert not Contract.objects.exists()


# --- two people on one page ----------------------------------------------------------------------------------------


def shown_to(client: Client, contract: Contract) -> dict[str, Any]:
    """What the page of a contract sends when nothing is typed."""
    page = client.get(change_url(contract))
    known = {"rate_card": contract.rate_card, "timezone": contract.timezone, "net_days": contract.net_days}
    return {**new_contract(**known, deal=page.context["deal"]["text"]), "seen": page.context["deal"]["seen"]}


@pytest.mark.django_db
def test_what_somebody_else_saved_since_is_not_overwritten(sales: Client) -> None:
    contract = factories.ContractFactory.create(deal={"discounts": [{"percent": "10"}]})
    mine, theirs = (shown_to(sales, contract) for _ in range(2))
    minimum = {"discounts": [{"percent": "10"}], "minimums": [{"amount": "50"}]}
    assert (
        sales.post(change_url(contract), {**theirs, "net_days": "60", "deal": json.dumps(minimum)}).status_code == 302
    )
    assert (
        sales.post(
            change_url(contract), {**mine, "name": "Nova", "deal": '{"discounts": [{"percent": "12"}]}'}
        ).status_code
        == 302
    )
    contract.refresh_from_db()
    assert (contract.name, contract.net_days) == ("Nova", 60)
    assert contract.deal == {"discounts": [{"percent": "12"}], "minimums": [{"amount": "50"}]}


@pytest.mark.django_db
def test_where_both_changed_the_same_the_second_one_decides(sales: Client) -> None:
    contract = factories.ContractFactory.create(deal={"discounts": [{"percent": "10"}]})
    mine, theirs = (shown_to(sales, contract) for _ in range(2))
    sales.post(
        change_url(contract), {**theirs, "net_days": "60", "deal": '{"discounts": [{"percent": "11"}], "charges": []}'}
    )
    wanted = {**mine, "net_days": "45", "name": "Nova", "deal": '{"discounts": [{"percent": "12"}]}'}
    page = sales.post(change_url(contract), wanted)
    assert errors(page)["net_days"] == ["Somebody saved 60 here a moment ago. Save again to put yours in its place."]
    (fault,) = page.context["deal"]["faults"]
    assert (fault["path"], fault["message"]) == (
        "discounts",
        "Somebody changed this a moment ago (Discounts 1, percent off: 10 → 11). Save again to put yours in its place.",
    )
    assert 'value="45"' in page.content.decode()
    assert json.loads(page.context["deal"]["text"]) == {"discounts": [{"percent": "12"}]}
    # What only the other one changes between the two looks stays theirs.
    Contract.objects.filter(pk=contract.pk).update(purchase_order="PO-7")
    assert sales.post(change_url(contract), {**wanted, "seen": page.context["deal"]["seen"]}).status_code == 302
    contract.refresh_from_db()
    assert (contract.name, contract.net_days, contract.purchase_order) == ("Nova", 45, "PO-7")
    assert contract.deal == {"discounts": [{"percent": "12"}]}


@given(
    *(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)) for _ in range(3)),
)
def test_two_changes_are_put_together_by_name(seen: Any, mine: Any, theirs: Any) -> None:
    together, both = merged(seen, mine, theirs)
    for name in "abc":
        before, wanted, stored, kept = (each.get(name) for each in (seen, mine, theirs, together))
        assert (name in both) == (before != wanted != stored != before)
        assert kept == (stored if wanted == before else wanted)


@pytest.mark.django_db
def test_a_deal_beyond_the_guardrails_waits(sales: Client) -> None:
    DealGuardrails.objects.create(max_discount_percent=20)
    deal = json.dumps({"discounts": [{"percent": "30"}]})
    page = sales.post(reverse(ADD_CONTRACT), new_contract(deal=deal), follow=True).content.decode()
    assert "waits for a second person" in page
    contract = Contract.objects.get()
    assert contract.status == Standing.AWAITING_APPROVAL
    assert "It bills nothing until it is agreed." in sales.get(change_url(contract)).content.decode()
    form = new_contract(rate_card=contract.rate_card, timezone="UTC", deal='{"discounts": [{"percent": "10"}]}')
    assert sales.post(change_url(contract), form).status_code == 302
    contract.refresh_from_db()
    assert contract.status == Standing.ACTIVE


@pytest.mark.django_db
def test_a_change_that_waits_is_not_called_done(sales: Client) -> None:
    DealGuardrails.objects.create(max_discount_percent=20)
    contract = factories.ContractFactory.create()
    form = new_contract(rate_card=contract.rate_card, timezone="UTC", deal='{"discounts": [{"percent": "30"}]}')
    page = sales.post(change_url(contract), form, follow=True).content.decode()
    assert "waits for a second person" in page
    assert "was changed successfully" not in page
    form = new_contract(rate_card=contract.rate_card, timezone="UTC", deal='{"discounts": [{"percent": "10"}]}')
    assert "was changed successfully" in sales.post(change_url(contract), form, follow=True).content.decode()
