"""Alerts: every rule is compared with what contracts use, owe and have left; a crossing is told once."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from billing_project.decimals import plain
from billing_project.errors import RuleError
from catalog.money import ZERO, subtract
from catalog.price_text import amount_text
from contracts.balances import POSTPAID
from contracts.models import Contract
from contracts.thresholds import spend
from invoicing.crossings import Measure, changes, percent
from invoicing.entitlements import grants
from invoicing.live import Live, in_force, live
from invoicing.models import Alert, AlertRule, Invoice, Status
from invoicing.models.alerts import AlertKind
from invoicing.models.outbox import EventType
from invoicing.outbox import announce, write_mail
from invoicing.spend_thresholds import billed_before

EVERYONE = Q(shadow=False)
REFUSALS = (RuleError, ArithmeticError, LookupError, ValueError)
OF_USAGE = {AlertKind.SPEND, AlertKind.THRESHOLD, AlertKind.COMMIT, AlertKind.BALANCE}


@dataclass(slots=True)
class Checked:
    """What a look led to: alerts begun and ended, and what went wrong, by contract."""

    done: int = 0
    failed: dict[int, str] = field(default_factory=dict)


def check_alerts(contracts: Collection[Contract], as_of: datetime) -> Checked:
    """Compare contracts with every active rule. Safe to repeat and to run twice at once: of one crossing one alert
    stands. Expects `customer` and `rate_card` selected along.
    """
    checked = Checked()
    rules = list(AlertRule.objects.filter(active=True))
    known = [each for each in contracts if any(rule.concerns(each) for rule in rules)]
    if not known:
        return checked
    found = _measured(known, {rule.kind for rule in rules}, as_of, checked)
    standing = _standing(known)
    for contract in known:
        if contract.pk in checked.failed:
            continue
        for rule in rules:
            if rule.concerns(contract):
                mine = [each for each in found[contract.pk] if _fits(rule, each)]
                begun, over = changes(rule.kind, rule.limit, mine, standing[rule.pk, contract.pk])
                checked.done += sum(_begin(rule, contract, each, as_of) for each in begun)
                checked.done += sum(_end(alert, as_of) for alert in over)
    return checked


def _fits(rule: AlertRule, measure: Measure) -> bool:
    return measure.kind == rule.kind and rule.feature in ("", measure.feature)


def _standing(contracts: Sequence[Contract]) -> dict[tuple[int, int], dict[str, int]]:
    found: dict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    for row in Alert.objects.filter(contract__in=contracts, recovered_at=None):
        found[row.rule_id, row.contract_id][row.place] = row.pk
    return found


def _measured(
    contracts: Sequence[Contract], kinds: Collection[str], as_of: datetime, checked: Checked
) -> dict[int, list[Measure]]:
    """By contract. One that cannot be worked out is put down as failed; the others go on."""
    try:
        return _measures(contracts, kinds, as_of)
    except REFUSALS as error:
        if len(contracts) == 1:
            checked.failed[contracts[0].pk] = str(error)
            return {contracts[0].pk: []}
        found: dict[int, list[Measure]] = {}
        for each in contracts:
            found |= _measured([each], kinds, as_of, checked)
        return found


def _measures(contracts: Sequence[Contract], kinds: Collection[str], as_of: datetime) -> dict[int, list[Measure]]:
    found: dict[int, list[Measure]] = defaultdict(list)
    current = in_force(contracts, as_of)
    if OF_USAGE & set(kinds) and current:
        states = live(current, as_of)
        periods = [each.running.period for each in states if each.running and each.running.period]
        billed = {pk: amount for pk, (amount, _) in billed_before(periods).items()}
        for state in states:
            found[state.contract.pk] += [*_of_spend(state, billed), *_of_balances(state)]
    if AlertKind.ENTITLEMENT in kinds:
        for each in current:
            if each.deal.get("entitlements"):
                found[each.pk] += _of_allowances(each, as_of)
    if AlertKind.OVERDUE in kinds:
        for contract, measure in _overdue(contracts, as_of):
            found[contract].append(measure)
    return found


def _of_spend(state: Live, billed: dict[int, Decimal]) -> Iterator[Measure]:
    running, contract = state.running, state.contract
    if running is None or running.period is None:
        return
    place, spent = running.period.starting_at.isoformat(), spend(running.statement.lines)
    yield Measure("spend", place, spent, f"{amount_text(spent, contract.currency)} spent in this period")
    threshold = contract.parsed_deal.spend_threshold
    if threshold is not None:
        share = percent(subtract(spent, billed.get(running.period.pk, ZERO)), threshold.amount)
        yield Measure("threshold", place, share, f"{_rounded(share)}% of the spend threshold reached")


def _of_balances(state: Live) -> Iterator[Measure]:
    currency = state.contract.currency
    prepaid = [(balance, left) for balance, left in state.balances if balance.kind != POSTPAID]
    for balance, left in prepaid:
        if balance.amount:
            share = percent(subtract(balance.amount, left), balance.amount)
            words = f"{_rounded(share)}% of {balance.name} used"
            yield Measure("commit", f"{balance.owner}/{balance.key}/{balance.segment}", share, words)
    if prepaid:
        left = state.left().get(currency, ZERO)
        yield Measure("balance", "", left, f"{amount_text(left, currency)} left of commits and credits")


def _of_allowances(contract: Contract, as_of: datetime) -> Iterator[Measure]:
    for feature, grant in grants([contract], as_of).items():
        if grant.limit is not None and grant.used is not None and grant.period is not None:
            share = percent(grant.used, grant.limit)
            words = f"{_rounded(share)}% of {feature} used ({plain(grant.used)} of {plain(grant.limit)})"
            yield Measure("entitlement", f"{feature}/{grant.period.starting_at.isoformat()}", share, words, feature)


def _overdue(contracts: Sequence[Contract], as_of: datetime) -> Iterator[tuple[int, Measure]]:
    late = Invoice.objects.filter(contract__in=contracts, status=Status.ISSUED, due_at__lt=as_of)
    for invoice in late:
        if invoice.due_at is not None and invoice.open_amount > 0:
            days = Decimal((as_of - invoice.due_at).days)
            money = amount_text(invoice.open_amount, str(invoice.total.currency))
            words = f"{money} of {invoice} is overdue by {days} day{'' if days == 1 else 's'}"
            yield invoice.contract_id, Measure("overdue", f"invoice:{invoice.pk}", days, words)


def _rounded(share: Decimal) -> str:
    return plain(share.quantize(Decimal("0.1")))


def _begin(rule: AlertRule, contract: Contract, measure: Measure, at: datetime) -> int:
    with transaction.atomic():
        alert, new = Alert.objects.get_or_create(
            rule=rule,
            contract=contract,
            place=measure.place,
            recovered_at=None,
            defaults={
                "value": measure.value,
                "limit": rule.limit,
                "reason": f"{contract.customer}: {measure.words}.",
                "triggered_at": at,
            },
        )
        if new:
            kind = EventType.BALANCE_LOW if rule.kind == AlertKind.BALANCE else EventType.ALERT_TRIGGERED
            announce(kind, _told(alert), f"alert:{alert.pk}", at)
            if "alerts" in settings.EMAILS:
                write_mail("alert", rule.emails, f"alert:{alert.pk}", alert=alert, rule=rule, contract=contract)
    return int(new)


def _end(alert: int, at: datetime) -> int:
    with transaction.atomic():
        over = Alert.objects.filter(pk=alert, recovered_at=None).update(recovered_at=at)
        if over:
            row = Alert.objects.select_related("rule", "contract__customer").get(pk=alert)
            announce(EventType.ALERT_RECOVERED, _told(row), f"alert:{row.pk}", at)
    return over


def _told(alert: Alert) -> dict[str, object]:
    return {
        "rule": alert.rule.name,
        "kind": alert.rule.kind,
        "customer": alert.contract.customer.key,
        "contract": alert.contract.key,
        "limit": plain(alert.limit),
        "value": plain(alert.value),
        "reason": alert.reason,
        "triggered_at": alert.triggered_at.isoformat(),
        "recovered_at": alert.recovered_at.isoformat() if alert.recovered_at else None,
    }
