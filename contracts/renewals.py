"""What is left of a contract's commits and credits when another contract renews it. Pure.

Every window that lasts to the end of the contract and has a rollover goes on in the renewal, for as long again as it
lasted. What rolled over before does not do so again.
"""

from datetime import datetime

from msgspec.structs import replace

from contracts.balances import Balance, balances_of
from contracts.deal import Deal
from contracts.durations import between
from contracts.proration import Calendar


def renewed_balances(
    deal: Deal, calendar: Calendar, currency: str, owner: str, heir: str
) -> list[tuple[Balance, Balance]]:
    """Pairs of a window of the ended contract, cut at its end, and the balance of the renewal (its owner is `heir`)
    that it goes on in. What was drawn is not known yet.
    """
    end = calendar.ending_before
    if end is None:
        return []
    pairs = []
    for each in balances_of(deal, calendar, currency, end, owner=owner):
        if each.rollover is None or each.rolls_from is not None or not _lasts_to(each, end):
            continue
        source = replace(each, ending_before=end)
        start = each.starting_at or calendar.starting_at
        pairs.append(
            (source, _going_on(source, heir, end, between(start, end, calendar.zone).after(end, calendar.zone)))
        )
    return pairs


def _lasts_to(balance: Balance, end: datetime) -> bool:
    return balance.ending_before is None or balance.ending_before >= end


def _going_on(source: Balance, heir: str, start: datetime, end: datetime) -> Balance:
    return replace(
        source,
        owner=heir,
        segment=f"renewed-{source.segment}",
        name=f"{source.name} (rolled over)",
        amount=None,
        starting_at=start,
        ending_before=end,
        rolls_from=source.id,
    )
