"""Delivering what the outbox holds, and trying again with growing waits.

A row is taken by moving its next attempt ahead and committing; the post itself runs in no transaction. One that is
killed in between comes up again: receivers know a repetition by `webhook-id`.
"""

import smtplib
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from billing_project.errors import ConflictError
from invoicing.models import Delivery, DeliveryAttempt, WebhookEndpoint
from invoicing.permissions import require
from invoicing.posting import Answer, post
from invoicing.webhook_signing import signature

if TYPE_CHECKING:
    from django.contrib.auth.models import User

State = Delivery.State
PORTION = 20
LEASE = timedelta(minutes=5)
WAITS = tuple(timedelta(seconds=each) for each in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
OLD_SECRET_LASTS = timedelta(hours=24)


@dataclass(slots=True)
class Delivered:
    done: int = 0
    later: int = 0
    given_up: int = 0

    def __str__(self) -> str:
        return f"{self.done} delivered, {self.later} to be tried again, {self.given_up} given up."


def deliver(*, webhooks: bool) -> Delivered:
    """Deliver everything due, webhooks or e-mails. Safe to repeat, to kill, and to run on several machines at once."""
    result = Delivered()
    while taken := _take(webhooks=webhooks):
        for row in taken:
            _deliver(row, result)
    return result


def _take(*, webhooks: bool) -> list[Delivery]:
    now = timezone.now()
    with transaction.atomic():
        rows = Delivery.objects.filter(state=State.WAITING, next_attempt_at__lte=now, endpoint__isnull=not webhooks)
        taken = list(rows.order_by("next_attempt_at").select_for_update(skip_locked=True)[:PORTION])
        keys = [row.pk for row in taken]
        Delivery.objects.filter(pk__in=keys).update(next_attempt_at=now + LEASE, attempts=F("attempts") + 1)
    return list(Delivery.objects.filter(pk__in=keys).select_related("event", "endpoint").order_by("pk"))


def _deliver(row: Delivery, result: Delivered) -> None:
    started, clock = timezone.now(), time.monotonic()
    answer = _post(row) if row.endpoint else _mail(row)
    taken = int((time.monotonic() - clock) * 1000)
    now = timezone.now()
    row.last_status, row.last_error = answer.status, answer.error
    if answer.taken:
        row.state, row.delivered_at, row.next_attempt_at = State.DELIVERED, now, None
        result.done += 1
    elif row.attempts > len(WAITS):
        row.state, row.next_attempt_at = State.FAILED, None
        result.given_up += 1
    else:
        row.next_attempt_at = now + WAITS[row.attempts - 1]
        result.later += 1
    with transaction.atomic():
        DeliveryAttempt.objects.create(
            delivery=row, at=started, status=answer.status, error=answer.error, milliseconds=taken
        )
        row.save(update_fields=["last_status", "last_error", "state", "delivered_at", "next_attempt_at"])


def _post(row: Delivery) -> Answer:
    endpoint, event = row.endpoint, row.event
    if endpoint is None or event is None:
        return Answer(None, "There is nothing to post.")
    if not endpoint.active:
        return Answer(None, "The endpoint is switched off.")
    moment = int(timezone.now().timestamp())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Countinghouse",
        "webhook-id": event.webhook_id,
        "webhook-timestamp": str(moment),
        "webhook-signature": signature(secrets_of(endpoint), event.webhook_id, moment, event.body),
    }
    return post(endpoint.url, event.body, headers)


def _mail(row: Delivery) -> Answer:
    try:
        EmailMessage(row.subject, row.text, to=row.to).send()
    except (OSError, smtplib.SMTPException) as error:
        return Answer(None, f"{type(error).__name__}: {error}")
    return Answer(200)


def secrets_of(endpoint: WebhookEndpoint) -> list[str]:
    """Those that sign now: the new one, and for a day the one before."""
    until = endpoint.old_secret_until
    old = [endpoint.old_secret] if endpoint.old_secret and until and until > timezone.now() else []
    return [endpoint.secret, *old]


def replay(delivery: int, actor: "User") -> Delivery:
    """Send a delivery again, with the same id and body. Raises ConflictError while it waits for its turn anyway."""
    require(actor, "invoicing.replay_delivery")
    with transaction.atomic():
        row = Delivery.objects.select_for_update(of=("self",)).get(pk=delivery)
        now = timezone.now()
        if row.state == State.WAITING and row.next_attempt_at and row.next_attempt_at <= now:
            raise ConflictError("It is about to be sent.")
        row.state, row.attempts, row.next_attempt_at = State.WAITING, 0, now
        row.save(update_fields=["state", "attempts", "next_attempt_at"])
    return row
