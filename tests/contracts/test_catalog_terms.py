"""The catalog as it is kept in the process: never other than the rows of the snapshot say."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from threading import Thread

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from catalog.models import Product, Rate, RateCard
from catalog.prices import PerUnit
from contracts import catalog_terms
from contracts.catalog_terms import CatalogTerms, terms_of_cards
from meters.models import Meter
from tests.factories import MeterFactory, ProductFactory, RateCardFactory, RateFactory


def price(amount: str) -> dict[str, str]:
    return {"model": "per_unit", "unit_amount": amount}


def queries(work: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as found:
        work()
    return len(found)


def amounts(card: RateCard) -> list[Decimal]:
    rates = terms_of_cards([card.pk]).rates[card.pk]
    prices = [rate.price for of_product in rates.values() for rate in of_product]
    return [each.unit_amount for each in prices if isinstance(each, PerUnit)]


def is_built(product: Product) -> bool:
    meter = terms_of_cards([]).products.rows[product.key].meter
    return meter is not None and meter.built_at is not None


@pytest.mark.django_db
def test_one_query_where_nothing_changed() -> None:
    rate = RateFactory.create(price=price("1"))
    cards = [rate.rate_card_id]
    terms_of_cards(cards)
    assert queries(lambda: terms_of_cards(cards)) == 1
    Rate.objects.filter(pk=rate.pk).update(price=price("2"))
    assert queries(lambda: terms_of_cards(cards)) == 2
    Product.objects.filter(pk=rate.product_id).update(name="Other")
    assert queries(lambda: terms_of_cards(cards)) == 3
    assert queries(lambda: terms_of_cards(cards)) == 1


@pytest.mark.django_db
def test_what_is_rolled_back_was_never_there() -> None:
    rate = RateFactory.create(price=price("1"))
    assert amounts(rate.rate_card) == [1]
    with transaction.atomic():
        Rate.objects.filter(pk=rate.pk).update(price=price("2"))
        assert amounts(rate.rate_card) == [2]
        Rate.objects.filter(pk=rate.pk).update(price=price("3"))
        assert amounts(rate.rate_card) == [3]
        transaction.set_rollback(True)
    assert amounts(rate.rate_card) == [1]
    with transaction.atomic():
        Rate.objects.filter(pk=rate.pk).update(price=price("4"))
        assert amounts(rate.rate_card) == [4]
        transaction.set_rollback(True)
    assert amounts(rate.rate_card) == [1]


@pytest.mark.django_db
def test_cards_without_rates_and_cards_side_by_side() -> None:
    empty = RateCardFactory.create()
    assert terms_of_cards([empty.pk]).rates == {empty.pk: {}}
    first, second = RateFactory.create(price=price("1")), RateFactory.create(price=price("2"))
    both = terms_of_cards([first.rate_card_id, second.rate_card_id, empty.pk])
    assert {card: len(rates) for card, rates in both.rates.items()} == {
        first.rate_card_id: 1,
        second.rate_card_id: 1,
        empty.pk: 0,
    }
    Rate.objects.filter(pk=first.pk).delete()
    assert amounts(first.rate_card) == []
    assert amounts(second.rate_card) == [2]


@pytest.mark.django_db(transaction=True)
def test_another_connection_sees_and_shows_only_what_is_committed() -> None:
    rate = RateFactory.create(price=price("1"))
    assert amounts(rate.rate_card) == [1]
    elsewhere: list[list[Decimal]] = []

    def look() -> None:
        elsewhere.append(amounts(rate.rate_card))
        connection.close()

    def in_another() -> None:
        thread = Thread(target=look)
        thread.start()
        thread.join()

    with transaction.atomic():
        Rate.objects.filter(pk=rate.pk).update(price=price("2"))
        assert amounts(rate.rate_card) == [2]
        in_another()
        assert amounts(rate.rate_card) == [2]
    in_another()
    assert elsewhere == [[1], [2]]


@pytest.mark.django_db
def test_a_meter_that_is_built_is_read_again() -> None:
    product = ProductFactory.create()
    assert not is_built(product)
    Meter.objects.filter(products=product).update(built_at=timezone.now())
    assert is_built(product)


EDITS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(1, 9)), max_size=12)


class AnyEdits(TestCase):
    def setUp(self) -> None:
        self.cards = [RateCardFactory.create() for _ in range(2)]
        self.products = [ProductFactory.create(meter=MeterFactory.create()) for _ in range(2)]
        for card in self.cards:
            for product in self.products:
                RateFactory.create(rate_card=card, product=product, price=price("1"))

    @given(EDITS)
    def test_what_is_kept_is_what_is_there(self, edits: list[tuple[int, int, int]]) -> None:
        for kind, place, number in edits:
            card, product = self.cards[place % 2], self.products[place // 2]
            self.edit(kind, card, product, number)
            assert self.seen() == self.fresh()

    def seen(self) -> CatalogTerms:
        return terms_of_cards([each.pk for each in self.cards])

    def fresh(self) -> CatalogTerms:
        """Read without anything that was kept, which goes on being kept."""
        kept, catalog_terms._kept = catalog_terms._kept, catalog_terms._Kept()
        try:
            return self.seen()
        finally:
            catalog_terms._kept = kept

    def edit(self, kind: int, card: RateCard, product: Product, number: int) -> None:
        rates = Rate.objects.filter(rate_card=card, product=product)
        year = datetime(2000 + number, 1, 1, tzinfo=UTC)
        if kind == 0:
            rates.update(price=price(str(number)))
        elif kind == 1:
            rates.filter(starting_at=None).update(ending_before=year)
        elif kind == 2:
            rates.filter(starting_at__isnull=False).delete()
        elif kind == 3:
            rates.filter(starting_at=None, ending_before=None).update(ending_before=year)
            if not rates.filter(starting_at__isnull=False).exists():
                RateFactory.create(rate_card=card, product=product, starting_at=datetime(2020, 1, 1, tzinfo=UTC))
        elif kind == 4:
            Product.objects.filter(pk=product.pk).update(name=f"Name {number}", tags=[f"tag-{number}"])
        elif kind == 5:
            RateCard.objects.filter(pk=card.pk).update(key=f"card-key-{card.pk}-{number}")
        elif kind == 6:
            Meter.objects.filter(products=product).update(built_at=year)
        elif kind == 7:
            with transaction.atomic():
                rates.update(price=price("77"))
                self.seen()
                transaction.set_rollback(True)
        else:
            ProductFactory.create()
