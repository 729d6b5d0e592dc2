"""Every field of a billing file wrong in turn: an error with its path, nothing applied, never a traceback."""

import copy
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Model
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.documents import DocumentError
from catalog.models import Product, RateCard
from contracts.deal_format import Fault
from contracts.models import Contract, Customer
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.faults import FileError
from invoicing.billing_file.parsing import parse, read_entry
from invoicing.billing_file.reading import read_one
from meters.models import Meter
from tests.fuzz.billing_file import findings, restless
from tests.fuzz.schema_agreement import disagreements, validator

EXAMPLE: dict[str, Any] = read_one(Path(__file__).parents[1] / "scenarios" / "everything.yaml")
PEOPLES_OWN = ("where", "usage_filter", "properties")
Place = tuple[str | int, ...]


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Every field of the example, but what is inside people's own keys."""
    if here:
        yield here
    if here and here[-1] in PEOPLES_OWN:
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*here, key))


def text(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def value_at(document: Any, place: Place) -> Any:
    for part in place:
        document = document[part]
    return document


def changed(place: Place, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(EXAMPLE)
    value_at(document, place[:-1])[place[-1]] = value
    return document


def apply(document: object) -> None:
    apply_entries(parse([("", document)]), timezone.now(), dry_run=True)


def refused(document: object) -> list[tuple[str, str]]:
    with pytest.raises(FileError) as caught:
        apply(document)
    models: list[type[Model]] = [Meter, Product, RateCard, Customer, Contract]
    assert not any(model._default_manager.exists() for model in models)
    return [(fault.path, fault.message) for fault in caught.value.faults]


ALL = list(places(EXAMPLE))
FIELDS = [place for place in ALL if place[0] != "event_files"]


@pytest.mark.django_db
class TestEachFieldInTurn:
    def test_the_example_itself_is_accepted(self) -> None:
        apply(EXAMPLE)

    @pytest.mark.parametrize("place", FIELDS, ids=text)
    def test_something_of_another_type_is_refused_at_its_place(self, place: Place) -> None:
        old = value_at(EXAMPLE, place)
        wrong: Any = {"other": 1} if isinstance(old, list) else [["other"]]
        path, _ = refused(changed(place, wrong))[0]
        assert path.startswith(text(place)) or text(place).startswith(path), path

    @pytest.mark.parametrize(
        "place",
        [(), *[each for each in FIELDS if isinstance(value_at(EXAMPLE, each), dict) and each[-1] not in PEOPLES_OWN]],
        ids=lambda place: text(place) or "file",
    )
    def test_an_unknown_field_is_refused_by_name(self, place: Place) -> None:
        paths = [path for path, _ in refused(changed((*place, "colour"), "red"))]
        assert paths == [text((*place, "colour"))]

    @given(place=st.sampled_from(ALL), value=st.sampled_from([
        "", " ", "nonsense", "☃", -1, 0, True, None, "-1", "1e99", "NaN", "Infinity", "1e-99", 10**30, "x" * 5000,
        "0001-01-01", "9999-12-31", "2026-02-30", "2026-01-01", "2026-01-01T00:00:00", [], {}, "USD", "acme",
    ]))  # fmt: skip
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_stands_there_there_is_no_traceback(self, place: Place, value: Any) -> None:
        faults: tuple[Fault, ...] = ()
        try:
            apply(changed(place, value))
        except FileError as error:
            faults = error.faults
        assert all(fault.path and fault.message for fault in faults), faults


def product(**more: Any) -> dict[str, Any]:
    return {"key": "p", "kind": "percent_of_spend", **more}


CASES: dict[str, tuple[Place, Any, str]] = {
    "a meter there is not": (("products", 0, "meter"), "nowhere", "products[0].meter"),
    "a product there is not": (("rate_cards", 0, "rates", 2, "product"), "nowhere", "rate_cards[0].rates[2].product"),
    "a pricing unit there is not": (("rate_cards", 0, "rates", 2, "unit"), "gold", "rate_cards[0].rates[2].unit"),
    "a customer there is not": (("contracts", 0, "customer"), "nobody", "contracts[0].customer"),
    "a card there is not": (("contracts", 0, "rate_card"), "nothing", "contracts[0].rate_card"),
    "a scope of nothing": (
        ("contracts", 0, "commits", 0, "scope", "products", 0), "gone", "contracts[0].commits[0].scope.products[0]",
    ),
    "a commit there is not": (
        ("contracts", 0, "overrides", 0, "for_commits", 0), "y9", "contracts[0].overrides[0].for_commits[0]",
    ),
    "rates that overlap": (
        ("rate_cards", 0, "rates", 1, "starting_at"), "2026-01-15", "rate_cards[0].rates[0].starting_at",
    ),
    "access that overlaps": (
        ("contracts", 0, "commits", 0, "access"), [{"amount": 1}, {"amount": 2}],
        "contracts[0].commits[0].access[1].starting_at",
    ),
    "a share of itself": (("products", 4, "of", "products", 0), "support", "products[4].of.products[0]"),
    "a share of a product there is not": (("products", 4, "of", "products", 0), "gone", "products[4].of.products[0]"),
    "an amount below zero": (
        ("contracts", 0, "commits", 0, "access", 0, "amount"), "-5", "contracts[0].commits[0].access[0].amount",
    ),
    "a currency there is not": (("rate_cards", 0, "currency"), "XYZ", "rate_cards[0].currency"),
    "a tax above all": (("customers", 0, "tax", "rate"), "19", "customers[0].tax.rate"),
    "a tax above all of it": (("tax_rates", 0, "percent"), "160", "tax_rates[0].percent"),
    "a tax of a place there is not": (("tax_rates", 0, "country"), "Germany", "tax_rates[0].country"),
    "an exemption without a reason": (("tax_rates", 2, "note"), "", "tax_rates[2].note"),
    "taxed at nothing": (("tax_rates", 1, "percent"), 0, "tax_rates[1].percent"),
    "prices that hold no tax": (("tax_rates", 2, "inclusive"), True, "tax_rates[2].inclusive"),
    "tax rates that overlap": (("tax_rates", 0, "ending_before"), "2026-02-01", "tax_rates[1]"),
    "no such tax category": (("tax_rates", 1, "category"), "X", "tax_rates[1].category"),
    "no such country": (("customers", 0, "country"), "de", "customers[0].country"),
    "no such locale": (("customers", 0, "locale"), "tlh", "customers[0].locale"),
    "a rate beside a treatment": (("customers", 0, "tax", "treatment"), "export", "customers[0].tax.rate"),
    "no time zone": (("customers", 0, "timezone"), "Europe/Nowhere", "customers[0].timezone"),
    "an end before the start": (("contracts", 0, "ending_before"), "2025-01-01", "contracts[0].ending_before"),
    "no such anchor": (("contracts", 0, "billing", "anchor"), "tuesday", "contracts[0].billing.anchor"),
    "a year nobody bills": (("contracts", 0, "starting_at"), "0001-01-01", "contracts[0].starting_at"),
    "no such filter": (("meters", 0, "filters", 3, "gt"), "many", "meters[0].filters[3].gt"),
    "tiers that fall": (
        ("rate_cards", 0, "rates", 2, "price", "tiers", 1, "up_to"), "1", "rate_cards[0].rates[2].price.tiers[1].up_to",
    ),
    "a price there is not": (
        ("rate_cards", 0, "rates", 3, "price", "model"), "barter", "rate_cards[0].rates[3].price.model",
    ),
    "two with one key": (("products", 1, "key"), "output", "products[1].key"),
    "a filter no meter splits by": (
        ("contracts", 0, "usage_filter"), {"planet": ["x"]}, "contracts[0].usage_filter.planet",
    ),
    "a feature limited by no meter": (
        ("contracts", 0, "entitlements", 2, "meter"), "gone", "contracts[0].entitlements[2].meter",
    ),
    "a feature that needs no balance there is": (
        ("contracts", 0, "entitlements", 2, "balances", 0), "gone", "contracts[0].entitlements[2].balances[0]",
    ),
    "a feature's usage that no meter splits by": (
        ("contracts", 0, "entitlements", 2, "where"), {"planet": "x"}, "contracts[0].entitlements[2].where.planet",
    ),
    "a group value nobody prices": (
        ("contracts", 0, "overrides", 1, "scope", "where"), {"region": "eu"}, "contracts[0].overrides[1].scope.where",
    ),
}  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(("place", "value", "path"), CASES.values(), ids=CASES)
def test_what_cannot_be_meant_is_refused_by_path(place: Place, value: Any, path: str) -> None:
    assert path in [found for found, _ in refused(changed(place, value))]


@pytest.mark.django_db
def test_shares_of_spend_of_each_other_are_refused() -> None:
    products = [product(key="a", of={"products": ["b"]}), product(key="b", of={"products": ["a"]})]
    paths = [path for path, _ in refused({"products": products})]
    assert paths == ["products[0].of.products[0]", "products[1].of.products[0]", "products[1].of"]


@pytest.mark.django_db
def test_a_share_of_its_own_spend_through_a_tag_is_refused() -> None:
    products = [product(key="a", tags=["t"], of={"tags": ["t"]}), product(key="b", of={"tags": ["t"]})]
    paths = [path for path, _ in refused({"products": products})]
    assert {"products[0].of.tags[0]", "products[1].of.tags[0]"} <= set(paths)


@pytest.mark.django_db
def test_a_contract_does_not_move_to_a_card_in_another_currency() -> None:
    document = copy.deepcopy(EXAMPLE)
    apply_entries(parse([("", document)]), timezone.now())
    euros = {**document["rate_cards"][0], "key": "euros", "currency": "EUR"}
    moved = {**document["contracts"][0], "rate_card": "euros"}
    with pytest.raises(FileError) as caught:
        apply({"rate_cards": [euros], "contracts": [moved]})
    assert [fault.path for fault in caught.value.faults] == ["contracts[0].rate_card"]
    with pytest.raises(FileError) as caught:
        apply({"rate_cards": [{**document["rate_cards"][0], "currency": "EUR"}]})
    assert [fault.path for fault in caught.value.faults] == ["rate_cards[0].currency"]


@pytest.mark.parametrize(
    ("place", "value", "path"),
    [
        (("rate_cards", 0, "rates", 0, "where", "model"), None, "rate_cards[0].rates[0].where.model"),
        (("contracts", 0, "usage_filter", "region", 0), 1, "contracts[0].usage_filter.region[0]"),
        (
            ("contracts", 0, "overrides", 1, "scope", "where", "model"),
            [],
            "contracts[0].overrides[1].scope.where.model",
        ),
        (("contracts", 0, "billing", "anchor"), "tuesday", "contracts[0].billing.anchor"),
        (("templates", 0, "billing", "anchor"), "tuesday", "templates[0].billing.anchor"),
    ],
)
@pytest.mark.django_db
def test_the_key_at_fault_is_named(place: Place, value: Any, path: str) -> None:
    assert refused(changed(place, value))[0][0] == path


@pytest.mark.parametrize(
    ("place", "value", "path"),
    [
        (("contracts", 0, "minimums", 0, "amount"), "1e24", "contracts[0].minimums[0].amount"),
        (
            ("rate_cards", 0, "rates", 4, "price"),
            {"model": "percentage", "percent": "10", "fixed_amount": "1"},
            "rate_cards[0].rates[4].price",
        ),
        (
            ("contracts", 0, "overrides", 2),
            {
                "kind": "overwrite",
                "scope": {"products": ["support"]},
                "price": {"model": "percentage", "percent": "5", "minimum_per_event": "1"},
            },
            "contracts[0].overrides[2].price.minimum_per_event",
        ),
        (
            ("rate_cards", 0, "rates", 4, "price"),
            {"model": "percentage", "percent": "10", "minimum_per_event": "2", "maximum_per_event": "1"},
            "rate_cards[0].rates[4].price.maximum_per_event",
        ),
    ],
)
@pytest.mark.django_db
def test_what_no_invoice_could_show_is_refused(place: Place, value: Any, path: str) -> None:
    assert refused(changed(place, value))[0][0] == path


@pytest.mark.parametrize(("regions", "taken"), [(["eu", "us"], True), (["us"], False)])
@pytest.mark.django_db
def test_two_contracts_do_not_take_the_same_usage(regions: list[str], taken: bool) -> None:
    document = copy.deepcopy(EXAMPLE)
    first = document["contracts"][0]
    second = {name: first[name] for name in ("customer", "rate_card", "starting_at")}
    document["contracts"].append({**second, "key": "second", "usage_filter": {"region": regions}})
    if taken:
        assert refused(document)[0][0] == "contracts[1].usage_filter"
    else:
        apply(document)


@pytest.mark.django_db
def test_nothing_wrong_ends_in_a_traceback() -> None:
    """One in a hundred and one of what `python -m tests.fuzz.billing_file` tries."""
    assert list(findings(step=101)) == []


@pytest.mark.django_db
def test_what_is_planned_is_done_and_stays() -> None:
    """One in 997 of what `restless` can try."""
    assert list(restless(step=997)) == []


def test_the_schema_says_what_the_reader_says() -> None:
    """One in ninety-seven of what `python -m tests.fuzz.schema_agreement` tries."""
    assert list(disagreements(step=97)) == []


@pytest.mark.parametrize("name", ["id", "customer", "type"])
def test_names_of_events_may_be_whole_numbers(name: str) -> None:
    event = {"id": "e1", "customer": "acme", "type": "call", "time": "2026-01-05T10:00:00Z", name: 4711}
    assert validator("events").is_valid(event)
    assert getattr(read_entry("events", event), name) == "4711"
    for wrong in (True, Decimal("1.5"), None, ["a"]):
        assert not validator("events").is_valid({**event, name: wrong})
        with pytest.raises(DocumentError):
            read_entry("events", {**event, name: wrong})


def test_a_condition_compares_with_single_values() -> None:
    meter = {"key": "a", "event_type": "call", "filters": [{"property": "p", "in": ["x", 1, True, ["y"]]}]}
    with pytest.raises(DocumentError, match=r"filters\[0\].in\[3\]: is a text, a number, true or false"):
        read_entry("meters", meter)
