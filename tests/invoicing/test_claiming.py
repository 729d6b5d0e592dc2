"""Usage that belonged to nobody is on the bill the moment it is assigned."""

from decimal import Decimal

import pytest

from billing_project.errors import ConflictError, RuleError
from contracts.billing_periods import write_periods
from contracts.claiming import assign
from contracts.models import BillingPeriod
from contracts.unclaimed import unclaimed_usage
from invoicing.drafts import statements
from meters.rollup import roll_up
from tests.factories import CustomerFactory, day, sell, send

pytestmark = pytest.mark.django_db


def total() -> Decimal:
    periods = list(BillingPeriod.objects.select_related("contract__customer", "contract__rate_card"))
    return sum((each.total for each in statements(periods)), Decimal(0))


@pytest.mark.parametrize("rolled", [False, True])
def test_past_usage_counts_once_its_key_is_assigned(rolled: bool) -> None:
    (contract,) = sell(used=[10])
    write_periods(day(20))
    send("acme-eu", 4, day(11))
    send("acme-us", 6, day(12))
    if rolled:
        roll_up()
    assert total() == 5
    claimed = assign(["acme-eu", "acme-us"], contract.customer)
    assert (claimed.keys, claimed.events) == (("acme-eu", "acme-us"), 2)
    assert total() == 10
    assert unclaimed_usage() == []


def test_a_key_of_somebody_else_is_refused_with_all_the_others() -> None:
    one, other = CustomerFactory.create_batch(2)
    send("lost", 1, day(3))
    with pytest.raises(ConflictError, match=f"{other.key} belongs to {other}"):
        assign([other.key, "lost"], one)
    assert [row.key for row in unclaimed_usage()] == ["lost"]
    with pytest.raises(RuleError, match="Choose the keys"):
        assign([], one)
