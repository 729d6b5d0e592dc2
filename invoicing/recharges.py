"""Recharges: a prepaid balance that has fallen to its threshold is filled up, and the recharge invoiced at once.

A recharge becomes a prepaid commit of the contract, so everything that is known of commits holds for it. Where it can
be used only when paid, its invoice is issued first and the commit is written down after the payment; until then the
contract gets no other one. A crossing is seen once: what is added takes the balance above its threshold.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Max, Q

from billing_project.decimals import plain
from billing_project.errors import RuleError
from billing_project.history import authored_by
from contracts.catalog_terms import units_of
from contracts.changing import locked_contract
from contracts.deal import BalanceThreshold
from contracts.deal_format import deal_as_dict
from contracts.models import Contract
from contracts.thresholds import Recharge as Due
from contracts.thresholds import counted_balance, recharge, with_recharge
from invoicing.draft_rows import write_drafts
from invoicing.drafts import build
from invoicing.fees import due_fees
from invoicing.inputs import Terms
from invoicing.issuing_at_once import issue_at_once
from invoicing.live import Live, in_force, live
from invoicing.models import Invoice, Recharge, Status
from invoicing.models.outbox import EventType
from invoicing.outbox import announce

HAVING_ONE = Q(deal__has_key="balance_threshold", shadow=False)
REFUSALS = (RuleError, ArithmeticError, LookupError, ValueError)
# An invoice that comes to nothing any more.
LOST = (Status.VOID, Status.UNCOLLECTIBLE)


@dataclass(slots=True)
class Recharged:
    """What a look at contracts led to: recharges made, and what went wrong, by contract."""

    done: int = 0
    failed: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fallen:
    """A balance at or below its threshold: what is left of it and what is due."""

    left: Decimal
    due: Due


def recharge_now(contracts: Collection[Contract], as_of: datetime, usage_before: datetime | None = None) -> Recharged:
    """Fill up the balances that have fallen to their threshold by `as_of`. Safe to repeat and to run twice at once.
    Expects `customer` and `rate_card` selected along. `usage_before`: as if no other usage were there.
    """
    found = Recharged()
    having = {each.pk: each for each in in_force(contracts, as_of) if "balance_threshold" in each.deal}
    for contract in _candidates(having, as_of, found, usage_before):
        try:
            found.done += _recharge(contract, as_of, usage_before)
        except REFUSALS as error:
            found.failed[contract] = str(error)
    return found


def release_paid(as_of: datetime) -> int:
    """Make recharges usable whose invoice has been paid, and drop those whose invoice was voided or written off;
    returns how many became usable.
    """
    waiting = Recharge.objects.filter(status=Recharge.Status.WAITING, invoice__status__in=[Status.PAID, *LOST])
    return sum(_release(pk, as_of) for pk in waiting.values_list("pk", flat=True))


def outstanding(recharges: Collection[Recharge], as_of: datetime) -> bool:
    """Whether one of them waits for its payment, or is owed although it fell due."""
    return any(
        each.status == Recharge.Status.WAITING
        or (each.invoice is not None and (each.invoice.status == Status.UNCOLLECTIBLE or _overdue(each.invoice, as_of)))
        for each in recharges
    )


def _overdue(invoice: Invoice, as_of: datetime) -> bool:
    return invoice.status == Status.ISSUED and invoice.due_at is not None and invoice.due_at < as_of


def has_fallen(contract: Contract, at: datetime, usage_before: datetime | None = None) -> bool:
    """Whether the contract is in force and its balance at its threshold or below at an instant."""
    return any(_fallen(each, at) for each in live(in_force([contract], at), at, usage_before))


def _candidates(
    contracts: Mapping[int, Contract], as_of: datetime, found: Recharged, usage_before: datetime | None
) -> list[int]:
    """Those with a balance to fill up, seen without a lock."""
    if not contracts:
        return []
    try:
        states = live(list(contracts.values()), as_of, usage_before)
        return [each.contract.pk for each in states if _fallen(each, as_of)]
    except REFUSALS as error:
        if len(contracts) == 1:
            found.failed.update(dict.fromkeys(contracts, str(error)))
            return []
        alone = [{pk: each} for pk, each in contracts.items()]
        return [fallen for each in alone for fallen in _candidates(each, as_of, found, usage_before)]


def _fallen(state: Live, as_of: datetime) -> Fallen | None:
    contract = state.contract
    threshold = contract.parsed_deal.balance_threshold
    if threshold is None:
        return None
    left = counted_balance(threshold, state.balances, as_of)
    due = recharge(threshold, left, contract.currency, _unit_rate(contract, threshold, as_of))
    return None if due is None else Fallen(left, due)


def _unit_rate(contract: Contract, threshold: BalanceThreshold, as_of: datetime) -> Decimal | None:
    if not threshold.unit:
        return None
    for rate in units_of(contract.rate_card).get(threshold.unit, ()):
        if rate.holds_at(as_of):
            return rate.rate
    raise RuleError(
        f"The rate card has no rate for the pricing unit {threshold.unit}: the recharge cannot be priced.",
        code="unrated",
        path="balance_threshold.unit",
    )


def _recharge(contract: int, as_of: datetime, usage_before: datetime | None) -> int:
    with transaction.atomic(), authored_by(None, "The balance fell to its threshold."):
        row = locked_contract(contract)
        threshold = row.parsed_deal.balance_threshold
        earlier = list(Recharge.objects.filter(contract=row).select_related("invoice"))
        if threshold is None or outstanding(earlier, as_of):
            return 0
        # Another machine may have been here since: at `as_of` what it added was not open yet.
        as_of = max([as_of, *(each.usable_from or each.at for each in earlier)])
        fallen = _fallen(live([row], as_of, usage_before)[0], as_of)
        if fallen is None:
            return 0
        number = (Recharge.objects.filter(contract=row).aggregate(last=Max("number"))["last"] or 0) + 1
        made = Recharge(
            contract=row,
            number=number,
            balance=_free_key(row, number),
            status=Recharge.Status.WAITING if _waits(threshold, fallen.due) else Recharge.Status.USABLE,
            at=as_of,
            left=fallen.left,
            amount=fallen.due.amount,
            unit=threshold.unit,
            charge=fallen.due.charge,
        )
        _agree(row, made, as_of, saved=made.status == Recharge.Status.USABLE)
        made.invoice = _invoice(row, as_of) if made.charge else None
        made.save()
        _tell(made)
    return 1


def _tell(made: Recharge) -> None:
    if made.status != Recharge.Status.USABLE:
        return
    told = {
        "customer": made.contract.customer.key,
        "contract": made.contract.key,
        "balance": made.balance,
        "amount": plain(made.amount),
        "unit": made.unit or made.contract.currency,
        "invoice": made.invoice.number if made.invoice else None,
    }
    announce(EventType.BALANCE_RECHARGED, told, f"recharge:{made.pk}")


def _waits(threshold: BalanceThreshold, due: Due) -> bool:
    return threshold.usable == "when_paid" and due.charge > 0


def _free_key(contract: Contract, number: int) -> str:
    deal = contract.parsed_deal
    taken = {each.key for each in (*deal.commits, *deal.credits, *deal.recurring_commits, *deal.recurring_credits)}
    key = f"recharge-{number}"
    while key in taken:
        key = f"{key}-recharge"
    return key


def _agree(contract: Contract, made: Recharge, usable_from: datetime, *, saved: bool) -> None:
    """Write the recharge into the contract's deal; not `saved`, only for the invoice that is about to be built."""
    due = Due(made.amount, made.charge)
    contract.deal = deal_as_dict(with_recharge(contract.parsed_deal, made.balance, due, made.at, usable_from))
    if saved:
        made.usable_from = usable_from
        contract.save()


def _invoice(contract: Contract, at: datetime) -> Invoice:
    terms = Terms([contract])
    due = [each for each in due_fees(terms, [contract], at) if each.at == at]
    write_drafts(build([], due, terms=terms))
    made = Invoice.objects.get(contract=contract, kind=Invoice.Kind.SCHEDULED, scheduled_at=at, number=None)
    issue_at_once(made, at)
    return made


def _release(recharge: int, as_of: datetime) -> int:
    with transaction.atomic(), authored_by(None, "The recharge was paid."):
        made = Recharge.objects.select_related("invoice").get(pk=recharge)
        row = locked_contract(made.contract_id)
        made = Recharge.objects.select_related("invoice").select_for_update(of=("self",)).get(pk=recharge)
        if made.status != Recharge.Status.WAITING or made.invoice is None:
            return 0
        if made.invoice.status in LOST:
            made.status = Recharge.Status.DROPPED
        elif made.invoice.status == Status.PAID:
            made.status = Recharge.Status.USABLE
            _agree(row, made, max(made.at, min(made.invoice.paid_at or as_of, as_of)), saved=True)
        made.save(update_fields=["status", "usable_from"])
        _tell(made)
    return int(made.status == Recharge.Status.USABLE)


def recharge_and_release(contracts: Collection[Contract], as_of: datetime) -> Recharged:
    """What the command does: release first, since what was paid counts."""
    released = release_paid(as_of)
    found = recharge_now(contracts, as_of)
    found.done += released
    return found
