"""A year of everything, and work killed anywhere: books and Stripe agree to the cent afterwards."""

import pytest

from tests.kills import survived
from tests.simulated_year import lived
from tests.year.surviving import WORKS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("customers", "months"), [(8, 3), pytest.param(50, 12, marks=pytest.mark.whole, id="the whole year")]
)
def test_books_and_stripe_agree_after_a_year(customers: int, months: int) -> None:
    with lived(customers, months, seed=1) as (faults, happened):
        assert faults == []
    for name in ("issued", "threshold invoices", "late usage rows", "credit notes", "payments failed", "refunds"):
        assert happened[name] > 0, (name, happened)


@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.whole, id="all")])
def test_nothing_is_lost_and_nothing_is_there_twice(kills: int) -> None:
    with survived(kills, seed=1) as (faults, killed):
        assert faults == []
        assert set(killed) == set(WORKS)
