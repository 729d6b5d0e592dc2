"""Writing down the billing periods of contracts. Boundaries are stored once and read from then on."""

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import F, Max, Q, QuerySet

from contracts.models import BillingPeriod, Contract, Standing
from meters.periods import billing_periods


def write_periods(until: datetime, contracts: QuerySet[Contract] | None = None) -> int:
    """Write every missing billing period of active contracts that starts at or before `until`; returns how many were
    new. Safe to repeat.
    """
    behind = (
        (Contract.objects.all() if contracts is None else contracts)
        .annotate(written=Max("billing_periods__ending_before"))
        .filter(starting_at__lte=until, status=Standing.ACTIVE)
        .filter(Q(written__isnull=True) | Q(written__lte=until))
        .filter(Q(written__isnull=True) | Q(ending_before__isnull=True) | Q(written__lt=F("ending_before")))
    )
    written = 0
    for chunk in _chunks(behind.order_by("pk").iterator(chunk_size=1000)):
        # Another process may write the same periods at the same time: the unique start makes the second one a no-op.
        rows = [row for contract in chunk for row in _missing(contract, until)]
        BillingPeriod.objects.bulk_create(rows, ignore_conflicts=True)
        written += len(rows)
    return written


def redraw_periods(contract: Contract, until: datetime) -> None:
    """Write the open periods of a contract anew after its terms changed; closed ones stay as they are."""
    with transaction.atomic():
        Contract.objects.select_for_update().get(pk=contract.pk)
        contract.billing_periods.filter(closed_at__isnull=True).delete()
        write_periods(until, Contract.objects.filter(pk=contract.pk))


def period_at(contract: Contract, instant: datetime) -> BillingPeriod | None:
    """The billing period that holds an instant, written if it was not yet; None outside the contract.

    Its terms (contract, customer and rate card) are read along.
    """
    holding = BillingPeriod.objects.select_related("contract__customer", "contract__rate_card").filter(
        contract=contract.pk, starting_at__lte=instant, ending_before__gt=instant
    )
    found = holding.first()
    if found is None:
        write_periods(instant, Contract.objects.filter(pk=contract.pk))
        found = holding.all().first()
    return found


def _missing(contract: Contract, until: datetime) -> Iterable[BillingPeriod]:
    start = contract.written or contract.starting_at  # type: ignore[attr-defined]
    periods = billing_periods(
        contract.billing_every, contract.anchor, contract.zone, start, contract.ending_before, until
    )
    for period in periods:
        yield BillingPeriod(contract=contract, starting_at=period.starting_at, ending_before=period.ending_before)


def _chunks(contracts: Iterable[Contract], size: int = 1000) -> Iterable[list[Contract]]:
    chunk: list[Contract] = []
    for contract in contracts:
        chunk.append(contract)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
