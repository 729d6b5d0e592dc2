"""Charging what buys ahead: threshold invoices and recharges, by our own schedule, until it succeeds or gives up aloud.

An attempt is a row before it is a call. Its idempotency key is its own, so it charges once however often it is made; a
refusal is kept and the next attempt written down in the same transaction. Nothing ends quietly: what was refused for
the last time stays in sight, and a person may try again.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from billing_project.errors import ConflictError
from billing_project.locks import holding
from contracts.models import Contract
from invoicing import stripe_sync
from invoicing.alerts import check_alerts
from invoicing.models import ChargeAttempt, Invoice, Status, StripePush
from invoicing.permissions import locked, remember, require
from invoicing.stripe_mirror import mirror_answer
from invoicing.stripe_pushing import seen, wait_after
from invoicing.stripe_sync import NotNowError, RefusedError

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)
Outcome = ChargeAttempt.Outcome
# A bank debit takes days; one that nothing was heard of is asked for again.
LONGEST_SILENCE = timedelta(days=7)
SILENCE = "Nothing was heard of it for seven days."


@dataclass(slots=True)
class Charges:
    paid: int = 0
    under_way: int = 0
    refused: int = 0
    later: int = 0

    def __str__(self) -> str:
        return (
            f"{self.paid} charged, {self.under_way} under way, {self.refused} refused, {self.later} to be asked again."
        )


def charge_due() -> Charges:
    """Write down the first attempts at what was pushed and is charged here, and make those that are due."""
    _plan()
    result = Charges()
    payer = Coalesce(F("invoice__payer"), F("invoice__customer"))
    rows = due().annotate(pays=payer)
    for customer in list(rows.order_by("pays").values_list("pays", flat=True).distinct()):
        # The pushes of a customer take the same lock.
        with holding("stripe", customer) as held:
            for attempt in rows.filter(pays=customer) if held else ():
                _make(attempt, result)
    return result


def due() -> QuerySet[ChargeAttempt]:
    """Attempts to make now: not before Stripe knows of every credit note and payment by hand."""
    untold = StripePush.objects.filter(invoice=OuterRef("invoice"), done_at=None)
    rows = ChargeAttempt.objects.filter(~Exists(untold), outcome=Outcome.TO_COME, due_at__lte=timezone.now())
    return rows.select_related("invoice__customer", "invoice__contract").order_by("pk")


def _plan() -> None:
    known = ChargeAttempt.objects.filter(invoice=OuterRef("invoice"))
    pushed = StripePush.objects.filter(
        ~Exists(known), step=StripePush.Step.INVOICE, charged_here=True, done_at__isnull=False, stripe_status="open"
    )
    rows = [ChargeAttempt(invoice_id=push.invoice_id, number=1, due_at=timezone.now()) for push in pushed]
    ChargeAttempt.objects.bulk_create(rows, ignore_conflicts=True)
    silent = ChargeAttempt.objects.filter(outcome=Outcome.UNDER_WAY, ended_at__lt=timezone.now() - LONGEST_SILENCE)
    for attempt in silent.filter(invoice__status=Status.ISSUED):
        refused(attempt.pk, SILENCE)


def _make(attempt: ChargeAttempt, result: Charges) -> None:
    invoice = attempt.invoice
    if invoice.status != Status.ISSUED or invoice.open_amount <= 0:
        _end(attempt, Outcome.DROPPED)
        return
    push = StripePush.objects.get(invoice=invoice, step=StripePush.Step.INVOICE)
    # Before anything is sent, so that it is seen what was begun.
    ChargeAttempt.objects.filter(pk=attempt.pk).update(calls=F("calls") + 1)
    try:
        told = stripe_sync.charge(push.stripe_id, f"{attempt.key}:{attempt.generation}")
        seen(push.pk, told)
    except RefusedError as error:
        refused(attempt.pk, str(error))
        result.refused += 1
    except DatabaseError:
        raise
    except Exception as error:
        if not isinstance(error, NotNowError):
            logger.exception("%s", attempt)
        stored = isinstance(error, NotNowError) and error.answered
        ChargeAttempt.objects.filter(pk=attempt.pk).update(
            due_at=timezone.now() + wait_after(attempt.calls + 1),
            generation=F("generation") + int(stored),
            message=str(error) if isinstance(error, NotNowError) else f"{type(error).__name__}: {error}",
        )
        result.later += 1
    else:
        mirror_answer(told)
        paid = told["status"] == "paid"
        _end(attempt, Outcome.PAID if paid else Outcome.UNDER_WAY)
        result.paid += paid
        result.under_way += not paid


def _end(attempt: ChargeAttempt, outcome: ChargeAttempt.Outcome) -> None:
    rows = ChargeAttempt.objects.filter(pk=attempt.pk, outcome=Outcome.TO_COME)
    rows.update(outcome=outcome, ended_at=timezone.now(), message="")


def refused(attempt: int, message: str) -> None:
    """Keep a refusal, write down the next attempt if there is one, show it and tell those who want to know."""
    waits: list[timedelta] = settings.STRIPE_CHARGE_WAITS
    with transaction.atomic():
        # The order of Stripe's events and of `charge_now`: two orders would deadlock.
        for model, about in ((StripePush, "invoice__charge_attempts"), (Invoice, "charge_attempts")):
            list(model.objects.filter(**{about: attempt}).order_by("pk").select_for_update(of=("self",)))
        row = ChargeAttempt.objects.select_related("invoice").select_for_update(of=("self",)).get(pk=attempt)
        if row.outcome not in (Outcome.TO_COME, Outcome.UNDER_WAY):
            return
        row.outcome, row.ended_at, row.message = Outcome.REFUSED, timezone.now(), message
        row.save(update_fields=["outcome", "ended_at", "message"])
        following = "No further one is planned: try again, or collect it otherwise."
        if row.number <= len(waits):
            at = row.ended_at + waits[row.number - 1]
            ChargeAttempt.objects.create(invoice=row.invoice, number=row.number + 1, due_at=at)
            following = f"The next one is planned for {at:%-d %b %Y %H:%M} UTC."
        sentence = f"Charge {row.number} was refused: {message.rstrip('.')}. {following}"
        StripePush.objects.filter(invoice=row.invoice, step=StripePush.Step.INVOICE).update(warning=sentence)
        remember(row.invoice, "charge refused", None, message)
    contract = Contract.objects.select_related("customer", "rate_card").get(pk=row.invoice.contract_id)
    check_alerts([contract], timezone.now())


def failed_in_stripe(invoice: int, message: str) -> None:
    """What was under way failed, says an event. Of attempts whose refusal was the answer this is no news."""
    for row in ChargeAttempt.objects.filter(invoice=invoice, outcome=Outcome.UNDER_WAY).values_list("pk", flat=True):
        refused(row, message)


def charge_now(invoice: int, actor: "User") -> ChargeAttempt:
    """Bring the next attempt forward to the next run, or write one down after the last. Raises ConflictError while one
    is under way, or for what is not charged here.
    """
    require(actor, "invoicing.retry_stripe")
    with transaction.atomic():
        row = locked(invoice, (Status.ISSUED,))
        last = row.charge_attempts.order_by("-number").first()
        if last is None or last.outcome not in (Outcome.TO_COME, Outcome.REFUSED):
            raise ConflictError(f"{row}: there is no charge to try again.")
        if last.outcome == Outcome.REFUSED:
            last = ChargeAttempt(invoice=row, number=last.number + 1)
        last.due_at = timezone.now()
        last.save()
        remember(row, "charge asked for", actor)
    return last
