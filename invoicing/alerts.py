"""Alerts: every rule is compared with what contracts use, owe and have left; a crossing is told once."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from billing_project.decimals import plain
from billing_project.errors import RuleError
from contracts.models import Contract
from invoicing.alert_measures import measures
from invoicing.crossings import Measure, changes
from invoicing.models import Alert, AlertRule
from invoicing.models.alerts import AlertKind
from invoicing.models.outbox import EventType
from invoicing.outbox import announce, write_mail

EVERYONE = Q(shadow=False)
REFUSALS = (RuleError, ArithmeticError, LookupError, ValueError)


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
        return measures(contracts, kinds, as_of)
    except REFUSALS as error:
        if len(contracts) == 1:
            checked.failed[contracts[0].pk] = str(error)
            return {contracts[0].pk: []}
        found: dict[int, list[Measure]] = {}
        for each in contracts:
            found |= _measured([each], kinds, as_of, checked)
        return found


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
