"""What alert rules look at: what contracts spend, use, owe and have left at an instant."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count, Q

from billing_project.decimals import plain
from catalog.money import ZERO, add, subtract
from catalog.price_text import amount_text, exact_text
from contracts.balances import POSTPAID
from contracts.models import Contract
from contracts.thresholds import spend
from invoicing.crossings import Measure, percent
from invoicing.draft_rows import Built
from invoicing.entitlements import grants
from invoicing.live import Live, in_force, live
from invoicing.models import OPEN, ChargeAttempt, Invoice, Status
from invoicing.models.alerts import AlertKind
from invoicing.spend_thresholds import billed_before

OF_USAGE = {
    AlertKind.SPEND,
    AlertKind.USAGE,
    AlertKind.THRESHOLD,
    AlertKind.COMMIT,
    AlertKind.BALANCE,
    AlertKind.DAYS_LEFT,
    AlertKind.INVOICE,
}
DAY = timedelta(days=1)


def measures(contracts: Sequence[Contract], kinds: Collection[str], as_of: datetime) -> dict[int, list[Measure]]:
    """By contract, at least those of the kinds asked for. As many queries for one contract as for a thousand."""
    found: dict[int, list[Measure]] = defaultdict(list)
    current = in_force(contracts, as_of)
    if OF_USAGE & set(kinds) and current:
        states = live(current, as_of)
        periods = [each.running.period for each in states if each.running and each.running.period]
        billed = {pk: amount for pk, (amount, _) in billed_before(periods).items()}
        for state in states:
            found[state.contract.pk] += [*_of_period(state, billed), *_of_balances(state, as_of), *_unwritten(state)]
    if AlertKind.ENTITLEMENT in kinds:
        for each in current:
            if each.deal.get("entitlements"):
                found[each.pk] += _of_allowances(each, as_of)
    if {AlertKind.OVERDUE, AlertKind.INVOICE} & set(kinds):
        known = {each.pk: each for each in contracts}
        for invoice in Invoice.objects.filter(contract__in=contracts, status__in=(*OPEN, Status.ISSUED)):
            invoice.contract = known[invoice.contract_id]
            found[invoice.contract_id] += _of_invoice(invoice, as_of)
    if AlertKind.CHARGE in kinds:
        refusals = Count("charge_attempts", filter=Q(charge_attempts__outcome=ChargeAttempt.Outcome.REFUSED))
        rows = Invoice.objects.filter(contract__in=contracts, status=Status.ISSUED).annotate(refusals=refusals)
        for invoice in rows.filter(refusals__gt=0):
            found[invoice.contract_id].append(_of_charges(invoice, invoice.refusals))
    return found


def _of_charges(invoice: Invoice, refusals: int) -> Measure:
    words = f"{refusals} charge{'' if refusals == 1 else 's'} of {invoice} {'was' if refusals == 1 else 'were'} refused"
    return Measure("charge", f"charge:{invoice.pk}", Decimal(refusals), words)


def _of_period(state: Live, billed: Mapping[int, Decimal]) -> Iterator[Measure]:
    running, contract = state.running, state.contract
    if running is None or running.period is None:
        return
    place, spent = running.period.starting_at.isoformat(), spend(running.statement.lines)
    yield Measure("spend", place, spent, f"{amount_text(spent, contract.currency)} spent in this period")
    threshold = contract.parsed_deal.spend_threshold
    if threshold is not None:
        share = percent(subtract(spent, billed.get(running.period.pk, ZERO)), threshold.amount)
        yield Measure("threshold", place, share, f"{_rounded(share)}% of the spend threshold reached")
    for product, used in _used(running).items():
        yield Measure(
            "usage", f"{product}/{place}", used, f"{exact_text(used)} of {product} used in this period", product
        )


def _used(running: Built) -> dict[str, Decimal]:
    """What was metered of each product."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for line in running.statement.lines:
        if line.kind == "usage":
            found[line.product] = add([found[line.product], line.quantity])
    return found


def _of_balances(state: Live, as_of: datetime) -> Iterator[Measure]:
    currency = state.contract.currency
    for balance, left in state.balances:
        place = f"{balance.owner}/{balance.key}/{balance.segment}"
        if balance.kind != POSTPAID and balance.amount:
            share = percent(subtract(balance.amount, left), balance.amount)
            yield Measure("commit", place, share, f"{_rounded(share)}% of {balance.name} used")
        if balance.ending_before and left > ZERO:
            days = Decimal(-((as_of - balance.ending_before) // DAY))
            last = (balance.ending_before - timedelta(microseconds=1)).astimezone(state.contract.zone)
            money = f"{exact_text(left)} {balance.unit}" if balance.unit else amount_text(left, currency)
            words = f"{_days(days)} left to use {money} of {balance.name} (until {last:%Y-%m-%d})"
            yield Measure("days_left", place, days, words)
    if any(balance.kind != POSTPAID for balance, _ in state.balances):
        left = state.left().get(currency, ZERO)
        yield Measure("balance", "", left, f"{amount_text(left, currency)} left of commits and credits")


def _unwritten(state: Live) -> Iterator[Measure]:
    """The invoices of periods that are not closed. Once written they are the same place."""
    for built in state.unwritten:
        if built.period is not None:
            total = built.statement.total
            words = f"The invoice from {built.period.starting_at.astimezone(state.contract.zone):%Y-%m-%d} comes to "
            yield Measure(
                "invoice", _period(built.period.pk), total, words + amount_text(total, state.contract.currency)
            )


def _of_invoice(invoice: Invoice, as_of: datetime) -> Iterator[Measure]:
    currency = str(invoice.total.currency)
    own = invoice.period_id is not None and invoice.kind == Invoice.Kind.USAGE
    place = _period(invoice.period_id) if own else f"invoice:{invoice.pk}"
    total = invoice.total.amount
    yield Measure("invoice", place, total, f"{_named(invoice)} comes to {amount_text(total, currency)}")
    if invoice.due_at is not None and invoice.due_at < as_of and invoice.open_amount > 0:
        days = Decimal((as_of - invoice.due_at).days)
        words = f"{amount_text(invoice.open_amount, currency)} of {invoice} is overdue by {_days(days)}"
        yield Measure("overdue", f"invoice:{invoice.pk}", days, words)


def _named(invoice: Invoice) -> str:
    if invoice.number:
        return invoice.number
    return f"The invoice from {invoice.starting_at.astimezone(invoice.contract.zone):%Y-%m-%d}"


def _period(period: int | None) -> str:
    return f"period:{period}"


def _of_allowances(contract: Contract, as_of: datetime) -> Iterator[Measure]:
    for feature, grant in grants([contract], as_of).items():
        if grant.limit is not None and grant.used is not None and grant.period is not None:
            share = percent(grant.used, grant.limit)
            words = f"{_rounded(share)}% of {feature} used ({plain(grant.used)} of {plain(grant.limit)})"
            yield Measure("entitlement", f"{feature}/{grant.period.starting_at.isoformat()}", share, words, feature)


def _days(days: Decimal) -> str:
    return f"{days} day{'' if days == 1 else 's'}"


def _rounded(share: Decimal) -> str:
    return plain(share.quantize(Decimal("0.1")))
