"""Writing down the billing periods of contracts. Boundaries are stored once and read from then on."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any

from django.db import transaction
from django.db.models import F, Max, Q, QuerySet

from billing_project.prepared import ask, columns, instance, width
from catalog.models import RateCard
from contracts.models import BillingPeriod, Contract, Customer, Standing
from meters.periods import billing_periods

READ_ALONG: list[tuple[type[Any], str]] = [(BillingPeriod, "p"), (Contract, "c"), (Customer, "u"), (RateCard, "r")]


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
    found = _holding(contract.pk, instant)
    if found is None:
        write_periods(instant, Contract.objects.filter(pk=contract.pk))
        found = _holding(contract.pk, instant)
    return found


@cache
def _statement() -> str:
    read = ", ".join(columns(model, table) for model, table in READ_ALONG)
    return f"""
        SELECT {read} FROM contracts_billingperiod AS p
        JOIN contracts_contract AS c ON c.id = p.contract_id JOIN contracts_customer AS u ON u.id = c.customer_id
        JOIN catalog_ratecard AS r ON r.id = c.rate_card_id
        WHERE p.contract_id = %s AND p.starting_at <= %s AND p.ending_before > %s ORDER BY p.starting_at LIMIT 1
    """  # noqa: S608


def _holding(contract: int, instant: datetime) -> BillingPeriod | None:
    for row in ask(_statement(), [contract, instant, instant]):
        values = iter(row)
        read = [instance(model, list(islice(values, width(model)))) for model, _ in READ_ALONG]
        period: BillingPeriod = read[0]
        _, found, customer, card = read
        found.customer, found.rate_card, period.contract = customer, card, found
        return period
    return None


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
