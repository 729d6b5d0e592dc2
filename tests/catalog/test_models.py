"""The catalog refuses what would bill wrongly: in its forms, and in the database for whatever goes around them."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import ProtectedError

from catalog.models import Product, Rate, RateCard
from catalog.prices import Graduated, PerUnit
from tests.factories import PER_UNIT, MeterFactory, ProductFactory, RateCardFactory, RateFactory, day

pytestmark = pytest.mark.django_db


def refused(row: models.Model) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    return caught.value.message_dict


def rate_beside(first: Rate, start: datetime | None, end: datetime | None, **fields: Any) -> Rate:
    same = {"rate_card": first.rate_card, "product": first.product, "where": first.where, "price": PER_UNIT}
    return Rate(**{**same, **fields}, starting_at=start, ending_before=end)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (None, None),
        (day(1), day(31)),
        (day(31), day(1, month=3)),
        (day(1), None),
        (None, day(16)),
        (day(15), day(16)),
    ],
)
def test_overlapping_rates_are_refused_in_the_form_and_in_the_database(
    start: datetime | None, end: datetime | None
) -> None:
    first = RateFactory.create(starting_at=day(15), ending_before=day(1, month=2))
    second = rate_beside(first, start, end)
    assert refused(second) == {
        "starting_at": ["Overlaps the rate from 15 January 2026 to 1 February 2026: end that one first."]
    }
    with pytest.raises(IntegrityError, match="rates_do_not_overlap"), transaction.atomic():
        second.save()
    assert first.rate_card.rates.count() == 1


@pytest.mark.parametrize(("start", "end"), [(None, day(15)), (day(1, month=2), None), (day(10), day(15))])
def test_rates_may_touch(start: datetime | None, end: datetime | None) -> None:
    first = RateFactory.create(starting_at=day(15), ending_before=day(1, month=2))
    second = rate_beside(first, start, end)
    second.full_clean()
    second.save()
    assert first.rate_card.rates.count() == 2


def test_rates_of_other_group_values_or_on_other_cards_do_not_overlap() -> None:
    product = ProductFactory.create(meter=MeterFactory(group_by=["model"]), pricing_keys=["model"])
    first = RateFactory.create(product=product, where={"model": "a"})
    for fields in ({"where": {"model": "b"}}, {"rate_card": RateCardFactory.create()}):
        second = rate_beside(first, None, None, **fields)
        second.full_clean()
        second.save()
    assert "starting_at" in refused(rate_beside(first, None, None))


def test_a_rate_ends_after_it_starts() -> None:
    first = RateFactory.create(starting_at=day(1), ending_before=day(2))
    backwards = rate_beside(first, day(9), day(8))
    assert refused(backwards)["ending_before"] == ["A rate must end after it starts."]
    with pytest.raises(IntegrityError), transaction.atomic():
        backwards.save()


def test_a_rate_names_exactly_the_pricing_keys_of_its_product() -> None:
    product = ProductFactory.create(meter=MeterFactory(group_by=["model", "region"]), pricing_keys=["model"])
    card = RateCardFactory.create()
    for where in ({}, {"region": "eu"}, {"model": "a", "region": "eu"}):
        rate = Rate(rate_card=card, product=product, where=where, price=PER_UNIT)
        assert refused(rate) == {"where": ["Give exactly one value for each pricing key of the product (model)."]}
    assert "model" in refused(Rate(rate_card=card, product=product, where={"model": 1.5}, price=PER_UNIT))["where"][0]


@pytest.mark.parametrize(
    ("price", "says"),
    [
        ({"model": "per_unit"}, "unit_amount: is missing"),
        ({"model": "per_unit", "unit_amount": "-1"}, "unit_amount: is '-1'; must not be negative"),
        ({"model": "per_unit", "unit_amount": "NaN"}, "a finite number"),
        ({"model": "cheap"}, "model: is 'cheap'; known models: per_unit"),
        ({"model": "graduated", "tiers": []}, "tiers: needs a list with at least one tier"),
        ({"model": "graduated", "tiers": [{"up_to": "5", "unit_amount": "1"}]}, "must be left open in the last tier"),
    ],
)
def test_a_price_that_cannot_be_read_names_its_field(price: dict[str, Any], says: str) -> None:
    rate = Rate(rate_card=RateCardFactory.create(), product=ProductFactory.create(), price=price)
    assert says in refused(rate)["price"][0]


def test_prices_keep_every_digit() -> None:
    tiers = [{"up_to": "1000000", "unit_amount": "0"}, {"up_to": None, "unit_amount": "0.0000002"}]
    rate = RateFactory.create(price={"model": "graduated", "tiers": tiers})
    price = Rate.objects.get(pk=rate.pk).parsed_price
    assert isinstance(price, Graduated)
    assert price.tiers[1].unit_amount == Decimal("0.0000002")
    tiny = RateFactory.create(price={"model": "per_unit", "unit_amount": "0.00000005"})
    assert Rate.objects.get(pk=tiny.pk).parsed_price == PerUnit(Decimal("0.00000005"))


@pytest.mark.parametrize("field", ["pricing_keys", "presentation_keys"])
def test_a_product_splits_only_by_group_keys_of_its_meter(field: str) -> None:
    product = Product(key="p", name="P", meter=MeterFactory.create(group_by=["model"]), **{field: ["model", "zone"]})
    assert refused(product) == {field: ["zone: not a group key of the meter (it has: model)."]}


def test_a_product_does_not_price_and_present_by_one_key() -> None:
    meter = MeterFactory.create(group_by=["model"])
    product = Product(key="p", name="P", meter=meter, pricing_keys=["model"], presentation_keys=["model"])
    assert refused(product) == {"presentation_keys": ["model: already a pricing key."]}


@pytest.mark.parametrize("field", ["multiply_by", "divide_by"])
@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_conversion_is_above_zero(field: str, number: str) -> None:
    product = Product(key="p", name="P", meter=MeterFactory.create(), **{field: Decimal(number)})
    assert refused(product) == {field: ["Must be above zero."]}


def test_a_conversion_takes_no_binary_float() -> None:
    product = Product(key="p", name="P", meter=MeterFactory.create(), multiply_by=0.1)
    assert refused(product) == {"multiply_by": ["Give the number as text or a decimal, not as a binary float."]}


@pytest.mark.parametrize("currency", ["XYZ", "usd", "", "US", "CLF"])
def test_a_card_has_a_currency_that_exists_and_can_be_kept(currency: str) -> None:
    assert "currency" in refused(RateCard(key="c", name="C", currency=currency))


@pytest.mark.parametrize("key", ["", "two words", "-x", "a\n"])
def test_keys_are_plain_and_unique(key: str) -> None:
    assert "key" in refused(RateCard(key=key, name="C", currency="USD"))
    taken = RateCardFactory.create()
    assert "already exists" in refused(RateCard(key=taken.key, name="C", currency="USD"))["key"][0]


def test_what_a_rate_refers_to_stays() -> None:
    rate = RateFactory.create()
    with pytest.raises(ProtectedError):
        rate.product.delete()


def test_every_change_leaves_a_row_of_history() -> None:
    rate = RateFactory.create()
    Rate.objects.filter(pk=rate.pk).update(price={"model": "flat", "amount": "9"})
    history = apps.get_model("catalog", "RateEvent")
    rows = history._default_manager.filter(pgh_obj_id=rate.pk).order_by("pk")
    assert [row.price["model"] for row in rows] == ["per_unit", "flat"]
