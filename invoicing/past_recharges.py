"""Recharges of the past: what `recharges` does while usage comes in, done for usage that is all there.

For simulations. Time goes on from one turn to the next: an instant at which a period ends, a fee falls due, or a
balance opens or closes. What is due by then is billed first, so a balance only falls until the next turn. A recharge
comes one microsecond after the usage that asked for it, which it therefore never pays for. Its invoice is paid at once.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from billing_project.errors import RuleError
from contracts.models import BillingPeriod, Contract, Standing
from contracts.scheduled import scheduled_fees
from invoicing.close import close_periods, write_due_periods
from invoicing.inputs import Terms
from invoicing.models import Recharge
from invoicing.payments import Received, record_payment
from invoicing.recharges import HAVING_ONE, has_fallen, recharge_now, release_paid
from meters.event_times import event_times
from meters.models import Meter
from meters.periods import Period

MOMENT = timedelta(microseconds=1)


def recharge_past(as_of: datetime) -> bool:
    """Make every recharge that usage up to `as_of` asks for, and close what ended before each of them; returns whether
    there was a contract to look at. Nothing may be closed before. Raises RuleError for one that cannot be priced.
    """
    having = Contract.objects.filter(HAVING_ONE, status=Standing.ACTIVE, starting_at__lt=as_of)
    keys = list(having.order_by("key").values_list("pk", flat=True))
    if keys:
        write_due_periods(as_of)
        for start, stop in pairwise([*_turns(as_of), as_of]):
            close_periods(start)
            for key in keys:
                _recharge_within(key, start, stop)
    return bool(keys)


def _turns(as_of: datetime) -> list[datetime]:
    """Every instant before `as_of` at which a balance may change otherwise than by usage, in order."""
    contracts = list(
        Contract.objects.filter(status=Standing.ACTIVE, shadow=False, starting_at__lt=as_of).select_related(
            "customer", "rate_card"
        )
    )
    terms = Terms(contracts)
    ends = BillingPeriod.objects.filter(contract__in=contracts).values_list("ending_before", flat=True)
    found = {*ends, *(at for each in contracts for at in _turns_of(each, terms, as_of))}
    first = min(each.starting_at for each in contracts)
    return sorted(at for at in found if first <= at < as_of)


def _turns_of(contract: Contract, terms: Terms, as_of: datetime) -> Iterator[datetime]:
    yield contract.starting_at
    yield from scheduled_fees(terms.fees(contract), None, as_of)
    for balance in terms.inputs(contract, Period(contract.starting_at, as_of)).balances:
        yield from (at for at in (balance.starting_at, balance.ending_before) if at is not None)


def _recharge_within(key: int, start: datetime, stop: datetime) -> None:
    """The recharges of a contract between two turns, `stop` not included."""
    contract = _read(key)
    instants = [start, *(at for at in _event_times(contract, Period(start, stop)) if at > start)]
    while (place := _first_fallen(contract, instants)) is not None:
        _recharge(contract, instants[place])
        contract, instants = _read(key), instants[place + 1 :]


def _read(key: int) -> Contract:
    return Contract.objects.select_related("customer", "rate_card").get(pk=key)


def _event_times(contract: Contract, period: Period) -> list[datetime]:
    keys = Terms([contract]).customer_keys(contract)
    types = {name for names in Meter.objects.values_list("event_types", flat=True) for name in names}
    return event_times(keys, types, period)


def _first_fallen(contract: Contract, instants: Sequence[datetime]) -> int | None:
    """The place of the first instant after which the balance has fallen to its threshold: steps that double find a
    stretch that holds it, and halving finds it there.
    """
    start, step = 0, 1
    while start < len(instants):
        last = min(start + step, len(instants)) - 1
        if _fallen_after(contract, instants[last]):
            break
        start, step = last + 1, step * 2
    else:
        return None
    while start < last:
        middle = (start + last) // 2
        if _fallen_after(contract, instants[middle]):
            last = middle
        else:
            start = middle + 1
    return last


def _fallen_after(contract: Contract, instant: datetime) -> bool:
    return has_fallen(contract, instant + MOMENT, usage_before=instant + MOMENT)


def _recharge(contract: Contract, instant: datetime) -> None:
    at = instant + MOMENT
    done = recharge_now([contract], at, usage_before=at)
    if done.failed:
        raise RuleError(done.failed[contract.pk], code="recharge", path="balance_threshold")
    for made in Recharge.objects.filter(contract=contract, at=at, invoice__isnull=False).select_related("invoice"):
        if made.invoice is not None and made.invoice.open_amount > 0:
            source = f"simulated:{made.invoice.pk}"
            record_payment(made.invoice.pk, Received(made.invoice.open_amount, at, source), None)
    release_paid(at)
