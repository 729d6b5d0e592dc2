"""Products, rate cards and rates in the admin, as sales works with them."""

from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client
from django.urls import reverse

from catalog.models import Product, Rate, RateCard
from tests import factories
from tests.catalog.test_price_field import GRADUATED, typed

pytestmark = pytest.mark.django_db
NEW_RATE = "admin:catalog_rate_add"


@pytest.fixture
def sales(client: Client) -> Client:
    client.force_login(factories.user("Sales ops"))
    return client


def errors(response: Any) -> dict[str, list[str]]:
    return dict(response.context["adminform"].form.errors)


def form_of(price: dict[str, Any], prefix: str = "", **fields: Any) -> QueryDict:
    """What the form of a rate sends; dates as text, without a time."""
    data = typed(price, f"{prefix}price")
    for name, value in {"where": "", "starting_at_0": "", "ending_before_0": "", **fields}.items():
        data[prefix + name] = value
    for name in ("starting_at_1", "ending_before_1"):
        data.setdefault(prefix + name, "")
    return data


def card_form(card: RateCard, *rates: QueryDict, initial: int = 0) -> QueryDict:
    """What the page of a rate card sends."""
    data = QueryDict(mutable=True)
    counts = {"TOTAL_FORMS": len(rates), "INITIAL_FORMS": initial, "MIN_NUM_FORMS": 0, "MAX_NUM_FORMS": 1000}
    data.update({"name": card.name, **{f"rates-{name}": str(count) for name, count in counts.items()}})
    for rate in rates:
        for name, values in rate.lists():
            data.setlist(name, values)
    return data


def row_errors(response: Any) -> list[dict[str, list[str]]]:
    (inline,) = response.context["inline_admin_formsets"]
    return [dict(each) for each in inline.formset.errors]


def post_card(client: Client, card: RateCard, *rates: QueryDict, initial: int = 0) -> Any:
    form = card_form(card, *rates, initial=initial)
    return client.post(reverse("admin:catalog_ratecard_change", args=[card.pk]), dict(form.lists()))


def test_a_product_is_typed_with_commas_and_kept_exact(sales: Client) -> None:
    meter = factories.MeterFactory.create(group_by=["model", "region"])
    form = {
        "key": "tokens",
        "name": "Tokens",
        "meter": meter.pk,
        "pricing_keys": "model, model,",
        "presentation_keys": "region",
        "multiply_by": "1",
        "divide_by": "0.00000005",
        "rounding_places": "0",
    }
    sales.post(reverse("admin:catalog_product_add"), form)
    product = Product.objects.get()
    assert (product.pricing_keys, product.presentation_keys) == (["model"], ["region"])
    page = sales.get(reverse("admin:catalog_product_change", args=[product.pk])).content.decode()
    assert 'value="0.00000005"' in page
    assert 'name="key"' not in page


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"pricing_keys": "tier"}, "pricing_keys", "tier: not a group key of the meter (it has: model)."),
        ({"divide_by": "0"}, "divide_by", "Must be above zero."),
        ({"divide_by": "1e"}, "divide_by", "Enter a number."),
        ({"pricing_keys": "model", "presentation_keys": "model"}, "presentation_keys", "model: already a pricing key."),
        ({"key": "no spaces"}, "key", "Use letters, digits"),
    ],
)
def test_errors_of_a_product(sales: Client, change: dict[str, str], field: str, message: str) -> None:
    meter = factories.MeterFactory.create(group_by=["model"])
    form = {"key": "k", "name": "N", "meter": meter.pk, "multiply_by": "1", "divide_by": "1", "rounding_places": "0"}
    found = errors(sales.post(reverse("admin:catalog_product_add"), {**form, **change}))
    assert found[field][0].startswith(message)


def test_pricing_keys_stay_while_there_are_rates(sales: Client) -> None:
    meter = factories.MeterFactory.create(group_by=["model"])
    rate = factories.RateFactory.create(product__meter=meter)
    url = reverse("admin:catalog_product_change", args=[rate.product.pk])
    form = {"name": "N", "meter": meter.pk, "pricing_keys": "model", "multiply_by": "1", "divide_by": "1"}
    found = errors(sales.post(url, {**form, "rounding_places": "0"}))
    assert found == {"pricing_keys": ["There are rates by no keys: delete them first, or make another product."]}


def test_archived_meters_are_not_offered(sales: Client) -> None:
    factories.MeterFactory.create(name="Current")
    old = factories.MeterFactory.create(name="Old", archived_at=factories.day(1))
    product = factories.ProductFactory.create(meter=old)
    assert ">Old<" not in sales.get(reverse("admin:catalog_product_add")).content.decode()
    assert ">Old<" in sales.get(reverse("admin:catalog_product_change", args=[product.pk])).content.decode()


def test_a_rate_with_tiers_group_values_and_dates(sales: Client) -> None:
    product = factories.ProductFactory.create(
        meter=factories.MeterFactory.create(group_by=["model"]), pricing_keys=["model"]
    )
    card = factories.RateCardFactory.create()
    form = form_of(GRADUATED, rate_card=card.pk, product=product.pk, where="model=gpt-4o", starting_at_0="2026-03-01")
    sales.post(reverse(NEW_RATE), dict(form.lists()))
    rate = Rate.objects.get()
    assert rate.price == GRADUATED
    assert rate.where == {"model": "gpt-4o"}
    assert rate.starting_at == factories.day(1, month=3)
    page = sales.get(reverse("admin:catalog_rate_changelist")).content.decode()
    assert "up to 1,000 0.00000005 USD" in page
    page = sales.get(reverse("admin:catalog_rate_change", args=[rate.pk])).content.decode()
    assert 'value="model=gpt-4o"' in page
    assert 'value="2026-03-01"' in page


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"where": ""}, "where", "Give exactly one value for each pricing key of the product (model)."),
        ({"where": "gpt-4o"}, "where", "Write key=value"),
        ({"starting_at_0": "2026-03-01", "ending_before_0": "2026-03-01"}, "ending_before", "A rate must end after"),
        ({"starting_at_0": "soon"}, "starting_at", "Enter a valid date."),
        ({"starting_at_1": "10:00"}, "starting_at", "Give the date too."),
        ({"price-unit_amount": "cheap"}, "price", "Price per unit: write a number"),
        ({"product": ""}, "product", "This field is required."),
    ],
)
def test_errors_of_a_rate(sales: Client, change: dict[str, str], field: str, message: str) -> None:
    product = factories.ProductFactory.create(
        meter=factories.MeterFactory.create(group_by=["model"]), pricing_keys=["model"]
    )
    card = factories.RateCardFactory.create()
    form = form_of(factories.PER_UNIT, rate_card=card.pk, product=product.pk, where="model=a")
    for name, value in change.items():
        form[name] = value
    assert errors(sales.post(reverse(NEW_RATE), dict(form.lists())))[field][0].startswith(message)


def test_a_rate_that_overlaps_another_names_it(sales: Client) -> None:
    old = factories.RateFactory.create(starting_at=factories.day(1, month=3))
    form = form_of(factories.PER_UNIT, rate_card=old.rate_card.pk, product=old.product.pk, starting_at_0="2026-04-01")
    found = errors(sales.post(reverse(NEW_RATE), dict(form.lists())))
    assert found == {"starting_at": ["Overlaps the rate from 1 March 2026 on: end that one first."]}


def test_a_link_fills_in_the_rate_that_is_missing(sales: Client) -> None:
    card = factories.RateCardFactory.create()
    page = sales.get(reverse(NEW_RATE), {"rate_card": str(card.pk), "where": "model=gpt-4o"}).content.decode()
    assert 'value="model=gpt-4o"' in page


def test_a_new_price_ends_the_old_one_in_one_go(sales: Client) -> None:
    old = factories.RateFactory.create()
    rows = [
        form_of(factories.PER_UNIT, "rates-0-", id=old.pk, product=old.product.pk, ending_before_0="2026-03-01"),
        form_of({"model": "flat", "amount": "9"}, "rates-1-", product=old.product.pk, starting_at_0="2026-03-01"),
    ]
    assert post_card(sales, old.rate_card, *rows, initial=1).status_code == 302
    assert [rate.span_text for rate in Rate.objects.order_by("pk")] == ["until 1 March 2026", "from 1 March 2026 on"]


def test_the_boundary_between_two_rates_moves_in_one_go(sales: Client) -> None:
    old = factories.RateFactory.create(ending_before=factories.day(1, month=3))
    new = factories.RateFactory.create(
        rate_card=old.rate_card, product=old.product, starting_at=factories.day(1, month=3)
    )
    april = "2026-04-01"
    rows = [
        form_of(factories.PER_UNIT, "rates-0-", id=old.pk, product=old.product.pk, ending_before_0=april),
        form_of(factories.PER_UNIT, "rates-1-", id=new.pk, product=old.product.pk, starting_at_0=april),
    ]
    assert post_card(sales, old.rate_card, *rows, initial=2).status_code == 302
    old.refresh_from_db()
    assert old.ending_before == factories.day(1, month=4)


def test_new_rates_of_one_card_must_not_overlap_each_other(sales: Client) -> None:
    product = factories.ProductFactory.create()
    rows = [
        form_of(factories.PER_UNIT, "rates-0-", product=product.pk, ending_before_0="2026-03-01"),
        form_of(factories.PER_UNIT, "rates-1-", product=product.pk, starting_at_0="2026-02-01"),
    ]
    response = post_card(sales, factories.RateCardFactory.create(), *rows)
    assert row_errors(response) == [{}, {"starting_at": ["Overlaps the rate until 1 March 2026: end that one first."]}]
    assert not Rate.objects.exists()


def test_an_overlap_with_a_rate_of_the_card_is_shown_at_the_new_row(sales: Client) -> None:
    old = factories.RateFactory.create(starting_at=factories.day(1, month=3))
    rows = [
        form_of(factories.PER_UNIT, "rates-0-", id=old.pk, product=old.product.pk, starting_at_0="2026-03-01"),
        form_of(factories.PER_UNIT, "rates-1-", product=old.product.pk, starting_at_0="2026-04-01"),
    ]
    response = post_card(sales, old.rate_card, *rows, initial=1)
    assert row_errors(response)[1] == {"starting_at": ["Overlaps the rate from 1 March 2026 on: end that one first."]}


def test_a_deleted_rate_makes_room(sales: Client) -> None:
    old = factories.RateFactory.create()
    rows = [
        form_of(factories.PER_UNIT, "rates-0-", id=old.pk, product=old.product.pk, DELETE="on"),
        form_of({"model": "flat", "amount": "9"}, "rates-1-", product=old.product.pk),
    ]
    assert post_card(sales, old.rate_card, *rows, initial=1).status_code == 302
    assert Rate.objects.get().price == {"model": "flat", "amount": "9"}


def test_the_currency_of_a_card_is_a_currency_and_stays(sales: Client) -> None:
    form = {"key": "list", "name": "List", "currency": "DOLLAR"}
    management = {"rates-TOTAL_FORMS": "0", "rates-INITIAL_FORMS": "0"}
    found = errors(sales.post(reverse("admin:catalog_ratecard_add"), {**form, "currency": "ABC", **management}))
    assert found == {"currency": ["ABC is not an ISO 4217 currency code, such as USD or EUR."]}
    card = factories.RateCardFactory.create()
    post_card(sales, card)
    page = sales.get(reverse("admin:catalog_ratecard_change", args=[card.pk])).content.decode()
    assert 'name="currency"' not in page


@pytest.mark.parametrize("role", ["Finance", "Auditor"])
def test_other_roles_read_prices_as_text(client: Client, role: str) -> None:
    rate = factories.RateFactory.create(price={"model": "per_unit", "unit_amount": "0.00000005"})
    client.force_login(factories.user(role))
    for url in (
        reverse("admin:catalog_ratecard_change", args=[rate.rate_card.pk]),
        reverse("admin:catalog_rate_change", args=[rate.pk]),
    ):
        page = client.get(url).content.decode()
        assert "0.00000005 USD per unit" in page
        assert "price-model" not in page
    assert client.post(reverse("admin:catalog_rate_change", args=[rate.pk]), {}).status_code == 403
    for name in ("product", "ratecard", "rate"):
        assert client.get(reverse(f"admin:catalog_{name}_add")).status_code == 403
        assert client.get(reverse(f"admin:catalog_{name}_changelist")).status_code == 200
