"""After many passes without a known key the roller stops looking for each; what it does about one stays the same."""

from decimal import Decimal

import pytest

from meters import identities
from meters.identities import CLEAN_PASSES
from meters.ingest import ingest_events
from meters.models import Conflict
from tests.meters.making import event, make_meter, rolled, usage


@pytest.mark.parametrize("passes", [0, CLEAN_PASSES])
def test_a_known_key_with_another_time_never_counts(
    committed: None, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    meter = make_meter()
    ingest_events([event("a", tokens=1), event("b", tokens=10)])
    rolled()
    monkeypatch.setattr(identities._known, "passes_without", passes)
    ingest_events([event("a", "2026-01-06", tokens=100), event("c", tokens=1000)])
    rolled()
    assert usage(meter) == {(): (Decimal(1011), 3)}
    assert Conflict.objects.count() == 1
    assert identities._known.passes_without == 0


def test_a_pass_that_holds_an_identity_twice_counts_the_first(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = make_meter()
    rolled()
    monkeypatch.setattr(identities._known, "passes_without", CLEAN_PASSES)
    ingest_events([event("a", "2026-01-06", tokens=1)])
    ingest_events([event("a", "2026-01-05", tokens=100), event("b", tokens=10)])
    rolled()
    assert usage(meter) == {(): (Decimal(11), 2)}
    assert Conflict.objects.count() == 1
