"""FOCUS 1.2, column by column, against a table made from the specification (tests/data/README.md)."""

import csv
import io
import json
import re
from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from billing_project.models import ApiKey
from catalog.models import Product, Rate, RateCard
from contracts.models import Contract
from invoicing import credit_notes, lifecycle, voiding
from invoicing.close import close_periods
from invoicing.focus import COLUMNS, SERVICE_CATEGORIES, SUBCATEGORIES, service
from invoicing.focus_charges import focus_rows
from invoicing.models import Invoice
from tests.factories import ContractFactory, MeterFactory, ProductFactory, RateFactory, day, sell, send, user

D = Decimal
TABLE = Path(__file__).parents[1] / "data" / "focus_1_2_columns.csv"
OURS = [column.name for column in COLUMNS]
# Only there if what they describe is: what is billed are quantities of meters, no reserved capacity and no resources.
ABSENT = {"CapacityReservationId", "CapacityReservationStatus", "ResourceId", "ResourceName", "ResourceType"}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
NUMBER = re.compile(r"-?\d+(\.\d+)?")


@cache
def specification() -> dict[str, dict[str, str]]:
    with TABLE.open() as stream:
        return {row["column"]: row for row in csv.DictReader(stream)}


@pytest.fixture
def books(roles: None) -> Contract:
    """January and February of a customer: a commit, an override, tiers, seats, tax, a discount, a credit note, a
    void.
    """
    finance, other = user("Finance"), user("Finance", "other")
    commit = {
        "key": "y1",
        "access": [{"amount": "8", "starting_at": "2026-01-01", "ending_before": "2026-03-01"}],
        "invoices": [{"amount": "6", "at": "2026-01-01"}],
    }
    tiers = {
        "model": "graduated",
        "tiers": [{"up_to": "3", "unit_amount": "1"}, {"unit_amount": "0.333333333333333333333", "flat_amount": "1"}],
    }
    (contract,) = sell(price=tiers, used=(10, "7.7"))
    seat = Product.objects.create(key="seat", name="Seat", kind="subscription", tags=["focus:compute", "other"])
    Rate.objects.create(rate_card=contract.rate_card, product=seat, price={"model": "per_unit", "unit_amount": "45.00"})
    usage = Product.objects.exclude(key="seat").get()
    contract.deal = {
        "commits": [{**commit, "scope": {"products": [usage.key]}}],
        "subscriptions": [{"key": "seats", "product": "seat", "quantity": "3", "every": "month"}],
        "overrides": [{"kind": "multiplier", "multiplier": "0.8", "scope": {"products": [usage.key]}}],
        "discounts": [{"percent": "10", "scope": {"products": ["seat"]}}],
    }
    contract.full_clean()
    contract.save()
    contract.customer.tax_rate = D("0.19")
    contract.customer.save()
    send(contract.customer.key, 4, day(10, month=2))
    close_periods(day(2, month=3))
    issued = _issue_all(finance)
    last = issued[-1]
    credit_notes.issue_credit_note(
        credit_notes.request_credit_note(last.pk, {1: D("0.50")}, "outage", finance).pk, other
    )
    voiding.void(issued[0].pk, finance, "wrong address")
    _issue_all(finance)
    return contract


def _issue_all(finance: User) -> list[Invoice]:
    waiting = Invoice.objects.filter(status="in_review").order_by("ending_before", "kind")
    return [lifecycle.issue(lifecycle.approve(invoice.pk, finance).pk, finance) for invoice in waiting]


def test_every_column_is_one_of_the_specification_or_ours_by_name() -> None:
    named = {name for name in OURS if not name.startswith("x_")}
    assert named <= set(specification())
    assert named | ABSENT == set(specification())
    assert not named & ABSENT
    assert not {name for name in ABSENT if specification()[name]["feature_level"] == "Mandatory"}
    assert specification()["ServiceCategory"]["allowed_values"].split("|") == list(SERVICE_CATEGORIES)


def test_every_subcategory_has_the_parent_of_the_specification() -> None:
    with TABLE.with_name("focus_1_2_subcategories.csv").open() as stream:
        expected = {(row["category"], row["subcategory"]) for row in csv.DictReader(stream)}
    ours = {(category, each) for category, parts in SUBCATEGORIES.items() for each in parts}
    assert ours | {(category, f"Other ({category})") for category in SUBCATEGORIES} == expected


def test_tags_give_category_and_subcategory() -> None:
    assert service(("a", "focus:ai and machine learning")) == (
        "AI and Machine Learning",
        "Other (AI and Machine Learning)",
    )
    assert service(("focus:nonsense", "focus:Virtual Machines")) == ("Compute", "Virtual Machines")
    assert service(("focus:nonsense",)) == ("Other", "Other (Other)")


@pytest.fixture
def client(db: None) -> APIClient:
    return APIClient(headers={"authorization": f"Bearer {ApiKey.issue('finops', ['read'])[1]}"})


@pytest.mark.django_db
class TestRows:
    def test_column_by_column(self, books: Contract) -> None:
        rows = focus_rows(books.customer, None, None)
        assert {row["ChargeCategory"] for row in rows} >= {"Usage", "Purchase", "Tax", "Credit"}
        for row in rows:
            assert list(row) == OURS
            for name, rule in specification().items():
                if name in ABSENT:
                    continue
                value = row[name]
                if value is None:
                    assert rule["allows_nulls"] == "True", name
                    continue
                assert isinstance(value, _types(rule["data_type"])), name
                if rule["allowed_values"]:
                    assert value in rule["allowed_values"].split("|"), name
                if isinstance(value, str):
                    assert value == value.strip() != "", name

    def test_rules_between_columns(self, books: Contract) -> None:
        for row in focus_rows(books.customer, None, None):
            category, correction = row["ChargeCategory"], row["ChargeClass"] == "Correction"
            priced = category in ("Usage", "Purchase") and not correction
            of_price = ("ContractedUnitPrice", "ListUnitPrice")
            of_currency = ("PricingCurrencyContractedUnitPrice", "PricingCurrencyListUnitPrice")
            for name in ("PricingQuantity", "PricingCategory", *of_price, *of_currency):
                assert (row[name] is not None) == priced, name
            assert (row["PricingUnit"] is None) == (row["PricingQuantity"] is None)
            if priced:
                assert all(row[name] for name in ("SkuId", "SkuPriceId", "SkuMeter"))
                for price, cost in (("ContractedUnitPrice", "ContractedCost"), ("ListUnitPrice", "ListCost")):
                    assert row[price] >= 0
                    assert abs(row[price] * row["PricingQuantity"] - row[cost]) < D("1e-15")
            else:
                assert row["ContractedCost"] == row["ListCost"] == row["BilledCost"]
            if category == "Tax":
                assert row["SkuId"] is row["SkuPriceId"] is row["PricingCategory"] is None
            if category != "Usage":
                assert row["ConsumedQuantity"] is row["ConsumedUnit"] is None
            assert not (category == "Purchase" and row["ChargeFrequency"] == "Usage-Based")
            assert row["ChargePeriodStart"] < row["ChargePeriodEnd"] or category == "Purchase"
            _commitment_holds(row, priced=priced)
            assert (row["RegionId"] is None) == (row["RegionName"] is None)
            assert row["SkuPriceDetails"] is None or (row["SkuPriceId"] and row["SkuPriceDetails"])
            if row["PricingCurrency"] == row["BillingCurrency"]:
                for name in (*of_price, "EffectiveCost"):
                    assert row[f"PricingCurrency{name}"] == row[name], name

    def test_costs_add_up_to_the_documents(self, books: Contract) -> None:
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for row in focus_rows(books.customer, None, None):
            sums[row["InvoiceId"]] += row["BilledCost"]
        standing = Invoice.objects.filter(status__in=["issued", "paid"])
        documents = {str(invoice.number): invoice.total.amount for invoice in standing}
        for invoice in standing:
            documents |= {str(note.number): -note.total for note in invoice.credit_notes.filter(status="issued")}
        assert sums == documents
        assert len(documents) >= 4

    def test_what_is_paid_in_advance_costs_when_it_is_drawn(self, books: Contract) -> None:
        """Of the commit's price of 6.00 all is effective in the usage it paid: all of it was drawn."""
        rows = [row for row in focus_rows(books.customer, None, None) if row["CommitmentDiscountId"]]
        (bought,) = (row for row in rows if row["x_LineKind"] == "commit_purchase")
        assert (bought["BilledCost"], bought["EffectiveCost"]) == (6, 0)
        assert (bought["CommitmentDiscountQuantity"], bought["CommitmentDiscountUnit"]) == (8, "USD")
        drawn = [row for row in rows if row["x_LineKind"] == "draw"]
        assert (sum(row["BilledCost"] for row in drawn), {row["EffectiveCost"] for row in drawn}) == (-8, {0})
        used = [row for row in rows if row["ChargeCategory"] == "Usage" and row["ChargeClass"] is None]
        assert sum(row["EffectiveCost"] for row in used) == bought["BilledCost"]
        assert sum(row["CommitmentDiscountQuantity"] for row in used) == bought["CommitmentDiscountQuantity"]

    def test_a_recurring_commit_and_one_of_the_customer(self, roles: None) -> None:
        """10.00 a month for 7.50; and 20.00 for 16.00 in two parts that all contracts of the customer share."""
        (contract,) = sell(used=())
        window = {"amount": "20", "starting_at": "2026-01-01", "ending_before": "2027-01-01"}
        bills = [{"amount": "4", "at": "2026-01-01"}, {"amount": "12", "at": "2026-01-05"}]
        funds = {"key": "pool", "access": [window], "invoices": bills, "billed_by": contract.key}
        contract.customer.funds = {"commits": [funds]}
        contract.customer.full_clean()
        contract.customer.save()
        pack = {"key": "pack", "amount": "10", "invoice_amount": "7.50", "every": "month"}
        contract.deal = {"recurring_commits": [pack]}
        contract.full_clean()
        contract.save()
        close_periods(day(2, month=2))
        _issue_all(user("Finance"))
        found = focus_rows(contract.customer, None, None)
        rows = [row for row in found if row["ChargePeriodStart"] < day(1, month=2)]
        assert sorted((row["BilledCost"], row["CommitmentDiscountQuantity"]) for row in rows) == [
            (4, 5),
            (D("7.5"), 10),
            (12, 15),
        ]

    def test_regions_and_what_prices_depend_on(self, roles: None) -> None:
        meter = MeterFactory.create(group_by=["Region", "model"])
        product = ProductFactory.create(meter=meter, presentation_keys=["Region", "model"])
        contract = ContractFactory.create(rate_card=RateFactory.create(product=product).rate_card)
        send(contract.customer.key, 2, day(3), Region="eu-west-1", model="m")
        send(contract.customer.key, 3, day(3))
        close_periods(day(2, month=2))
        _issue_all(user("Finance"))
        found = [
            (row["RegionId"], row["RegionName"], row["AvailabilityZone"], row["SkuPriceDetails"])
            for row in focus_rows(contract.customer, None, None)
        ]
        assert sorted(found, key=str) == [
            ("eu-west-1", "eu-west-1", None, {"x_Region": "eu-west-1", "x_model": "m"}),
            (None, None, None, None),
        ]

    def test_prices_in_a_unit_of_ones_own(self, roles: None) -> None:
        """10 units at 3 tokens are 30 tokens, at 0.10 a token 3.00: the conversion is billed, the tokens are not."""
        (contract,) = sell(price={"model": "per_unit", "unit_amount": "3"})
        RateCard.objects.update(pricing_units=[{"key": "token", "rate": "0.10"}])
        Rate.objects.update(unit="token")
        close_periods(day(2, month=2))
        _issue_all(user("Finance"))
        rows = {row["PricingCurrency"]: row for row in focus_rows(contract.customer, None, None)}
        assert rows["token"]["PricingCurrencyContractedUnitPrice"] == rows["token"]["PricingCurrencyListUnitPrice"] == 3
        assert (rows["token"]["PricingCurrencyEffectiveCost"], rows["token"]["EffectiveCost"]) == (30, 0)
        assert rows["USD"]["BilledCost"] == rows["USD"]["PricingCurrencyEffectiveCost"] == 3

    def test_list_is_what_the_card_says(self, books: Contract) -> None:
        used = [row for row in focus_rows(books.customer, None, None) if row["x_LineKind"] == "usage"]
        # What a commit paid in part is a share of a charge: its list cost is what was contracted.
        priced = [row for row in used if row["ChargeClass"] is None and row["ChargePeriodStart"] < day(1, month=2)]
        assert priced
        for row in priced:
            assert abs(row["ContractedCost"] - row["ListCost"] * D("0.8")) < D("1e-15")

    def test_in_a_span(self, books: Contract) -> None:
        issued_at = Invoice.objects.filter(status="issued").latest("issued_at").issued_at
        assert issued_at is not None
        before = focus_rows(books.customer, None, issued_at)
        after = focus_rows(books.customer, issued_at, None)
        assert len(before) + len(after) == len(focus_rows(books.customer, None, None))
        assert after


def _commitment_holds(row: dict[str, Any], *, priced: bool) -> None:
    known = row["CommitmentDiscountId"] is not None
    assert known == (row["CommitmentDiscountName"] is not None)
    assert (row["CommitmentDiscountStatus"] == "Used") == (known and row["ChargeCategory"] == "Usage")
    assert (row["CommitmentDiscountQuantity"] is not None) == (known and priced)
    assert (row["CommitmentDiscountUnit"] is None) == (row["CommitmentDiscountQuantity"] is None)


def _types(name: str) -> Any:
    return {"String": str, "Decimal": Decimal, "Date/Time": datetime, "JSON": dict}[name]


@pytest.mark.django_db
class TestFiles:
    def url(self, contract: Contract) -> str:
        return f"/api/v1/customers/{contract.customer.key}/focus"

    def test_json(self, client: APIClient, books: Contract) -> None:
        answer = client.get(self.url(books)).json()["data"]
        assert len(answer) == len(focus_rows(books.customer, None, None))
        assert all(NUMBER.fullmatch(row["BilledCost"]) for row in answer)

    def test_csv(self, client: APIClient, books: Contract) -> None:
        response = client.get(self.url(books), {"format": "csv"})
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(response.content.decode())))
        for row in rows:
            for column in specification().values():
                value = row.get(column["column"], "")
                if column["data_type"] == "Date/Time" and value:
                    assert INSTANT.fullmatch(value)
                elif column["data_type"] == "Decimal" and value:
                    assert NUMBER.fullmatch(value)
                elif column["data_type"] == "JSON" and value:
                    assert isinstance(json.loads(value), dict)
        total = sum(D(row["BilledCost"]) for row in rows)
        assert total == sum(row["BilledCost"] for row in focus_rows(books.customer, None, None))

    def test_parquet(self, client: APIClient, books: Contract) -> None:
        response = client.get(self.url(books), headers={"accept": "application/vnd.apache.parquet"})
        table = pq.read_table(io.BytesIO(response.content))
        assert table.column_names == OURS
        expected = {"Decimal": pa.decimal128(38, 18), "Date/Time": pa.timestamp("us", tz="UTC")}
        for field in table.schema:
            if not field.name.startswith("x_"):
                kind = specification()[field.name]["data_type"]
                assert field.type == expected.get(kind, pa.string()), field.name
        assert sum(table["BilledCost"].to_pylist()) == sum(
            row["BilledCost"] for row in focus_rows(books.customer, None, None)
        )

    def test_refusals(self, client: APIClient, books: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
        assert client.get("/api/v1/customers/nobody/focus").status_code == 404
        assert client.get(self.url(books), {"since": "yesterday"}).status_code == 400
        monkeypatch.setattr("invoicing.focus_charges.MOST_LINES", 3)
        refused = client.get(self.url(books))
        assert refused.status_code == 422
        assert "ask for a shorter time" in refused.json()["detail"]
