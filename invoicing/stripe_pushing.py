"""What is due for Stripe, in which order, and what becomes of errors. Rows of a customer go one after the other."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from billing_project.errors import ConflictError
from billing_project.locks import holding
from invoicing import stripe_sync
from invoicing.models import CreditNote, Invoice, Payment, Status, StripePush
from invoicing.permissions import remember, require
from invoicing.stripe_mirror import mirror_answer
from invoicing.stripe_ranks import RANK
from invoicing.stripe_sync import NotNowError, RefusedError
from invoicing.stripe_tax import record_tax, take_tax_back

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)
Step = StripePush.Step
BY_HAND = Payment.objects.exclude(method=Payment.Method.STRIPE)
BOUNCED = "This payment was taken back, and Stripe counts it still: collect it by hand."
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)


@dataclass(slots=True)
class Pushed:
    done: int = 0
    later: int = 0
    blocked: int = 0


def find_due() -> int:
    """Write a row for everything that Stripe has to be told; returns how many are to be done now.

    Invoices with nothing to collect, and those settled before Stripe was connected, are left out; not those whose tax
    Stripe computed.
    """
    pushed = StripePush.objects.filter(invoice=OuterRef("pk"))
    untold = Q(status=Status.PAID, tax_answer__transaction="", tax_answer__calculation__gt="")
    to_tell = Q(status__in=[Status.ISSUED, Status.UNCOLLECTIBLE]) | untold
    new = Invoice.objects.filter(to_tell, total__gt=0)
    new = new.filter(~Exists(pushed)).order_by("issued_at", "pk")
    _write([StripePush(invoice=invoice, step=Step.INVOICE) for invoice in new.iterator()])
    first = StripePush.objects.filter(step=Step.INVOICE)
    notes = CreditNote.objects.filter(status=CreditNote.Status.ISSUED, stripe_push=None)
    notes = notes.filter(Exists(first.filter(invoice=OuterRef("invoice")))).order_by("pk")
    _write([StripePush(invoice_id=note.invoice_id, step=Step.CREDIT_NOTE, credit_note=note) for note in notes])
    _write_payments()
    _write_ends()
    return due().count()


def _write_payments() -> None:
    """Payments by hand that leave something open: the rest is all that Stripe may ask for."""
    first = StripePush.objects.filter(step=Step.INVOICE, invoice=OuterRef("invoice"))
    parts = BY_HAND.filter(Exists(first), invoice__status__in=[Status.ISSUED, Status.UNCOLLECTIBLE])
    parts = parts.filter(amount__gt=0, stripe_push=None, reversed_by=None).order_by("pk")
    _write([StripePush(invoice_id=part.invoice_id, step=Step.PAYMENT, payment=part) for part in parts])
    gone = StripePush.objects.filter(step=Step.PAYMENT, payment__reversed_by__isnull=False, warning="")
    gone.exclude(attempts=0).update(warning=BOUNCED)


def _write_ends() -> None:
    for status, step in ((Status.VOID, Step.VOID), (Status.UNCOLLECTIBLE, Step.UNCOLLECTIBLE)):
        _write_end(Q(invoice__status=status), step)
    by_hand = BY_HAND.filter(invoice=OuterRef("invoice"))
    _write_end(Q(Exists(by_hand), invoice__status=Status.PAID) & ~Q(stripe_status="paid"), Step.PAID)


def _write_end(of: Q, step: Step) -> None:
    known = StripePush.objects.filter(invoice=OuterRef("invoice"), step=step)
    ended = StripePush.objects.filter(of, ~Exists(known), step=Step.INVOICE)
    _write([StripePush(invoice_id=push.invoice_id, step=step) for push in ended.order_by("pk")])


def _write(rows: list[StripePush]) -> None:
    StripePush.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=True)


def due() -> QuerySet[StripePush]:
    """Rows to take now: not waiting, not blocked, and nothing before them on their invoice is open."""
    now = timezone.now()
    before = StripePush.objects.filter(invoice=OuterRef("invoice"), pk__lt=OuterRef("pk"), done_at=None)
    rows = StripePush.objects.filter(Q(next_attempt_at=None) | Q(next_attempt_at__lte=now), done_at=None, blocked=False)
    return rows.filter(~Exists(before)).order_by("pk")


def push_due(advance: Callable[[int], None] = lambda n: None) -> Pushed:
    """Push everything due, customer by customer; a customer that another run is busy with is left to it."""
    result = Pushed()
    payer = Coalesce(F("invoice__payer"), F("invoice__customer"))
    for customer in list(due().annotate(pays=payer).order_by("pays").values_list("pays", flat=True).distinct()):
        with holding("stripe", customer) as held:
            if held:
                _push_customer(due().annotate(pays=payer).filter(pays=customer), result, advance)
    return result


def _push_customer(rows: QuerySet[StripePush], result: Pushed, advance: Callable[[int], None]) -> None:
    """In turns: a step that is done may make the next one of its invoice due."""
    taken: set[int] = set()
    while push := rows.exclude(pk__in=taken).first():
        taken.add(push.pk)
        _push(push, result)
        advance(1)


def _push(push: StripePush, result: Pushed) -> None:
    push = _with_terms().get(pk=push.pk)
    push.attempts += 1
    # Before anything is sent: whoever comes after a kill here looks before making anything.
    push.save(update_fields=["attempts"])
    told: dict[str, Any] = {}
    try:
        _take(push, told.update)
    except NotNowError as error:
        push.generation += error.answered
        push.next_attempt_at, push.last_error = timezone.now() + wait_after(push.attempts), str(error)
        result.later += 1
    except DatabaseError:
        raise
    except Exception as error:
        # Whatever it is, it stops this invoice, not those of everybody else.
        if not isinstance(error, RefusedError):
            logger.exception("%s", push)
        push.blocked, push.last_error = True, _in_words(error)
        result.blocked += 1
    else:
        push.done_at, push.last_error, push.next_attempt_at = timezone.now(), "", None
        result.done += 1
    push.save(update_fields=["generation", "next_attempt_at", "last_error", "blocked", "done_at"])
    mirror_answer(told)


def wait_after(attempts: int) -> timedelta:
    """How long to wait before Stripe is asked again, after so many attempts."""
    return min(FIRST_WAIT * (1 << min(attempts - 1, 10)), LONGEST_WAIT)


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, RefusedError) else f"{type(error).__name__}: {error}"


def _take(push: StripePush, answered: Callable[[dict[str, Any]], None]) -> None:
    """Take the step; the invoice as Stripe answered it goes to `answered`."""

    def keep(told: dict[str, Any]) -> None:
        seen(first.pk, told)
        answered(told)

    if push.step == Step.INVOICE:
        first = push
        record_tax(push)
        stripe_sync.push_invoice(push, keep)
        return
    take_tax_back(push)
    first = StripePush.objects.get(invoice=push.invoice_id, step=Step.INVOICE)
    if not first.stripe_id or first.stripe_status == "deleted":
        return
    if push.step == Step.CREDIT_NOTE:
        save = partial(push.save, update_fields=["intent"])
        note = stripe_sync.push_credit_note(push, first.stripe_id, save)
        StripePush.objects.filter(pk=push.pk).update(stripe_id=note)
    elif push.step == Step.PAYMENT:
        if Payment.objects.filter(reverses=push.payment_id).exists() and not push.intent:
            return  # it bounced before Stripe was told
        more = StripePush.objects.filter(invoice=push.invoice_id, step=Step.PAYMENT, done_at=None).exclude(pk=push.pk)
        save, last = partial(push.save, update_fields=["intent"]), not (first.charged_here or more.exists())
        keep(stripe_sync.report_payment(push, first.stripe_id, save, last=last))
    elif push.step != Step.PAID or push.invoice.status == Status.PAID:
        keep(stripe_sync.end_invoice(push, first.stripe_id))


def seen(push: int, told: dict[str, Any]) -> StripePush:
    """Keep what Stripe says of an invoice, from an answer or an event; what is older than what we know is left out."""
    with transaction.atomic():
        row = StripePush.objects.select_for_update().get(pk=push)
        row.stripe_id = row.stripe_id or told["id"]
        row.hosted_url = told.get("hosted_invoice_url") or row.hosted_url
        if RANK.get(told["status"], 0) > RANK[row.stripe_status]:
            row.stripe_status = told["status"]
        row.save(update_fields=["stripe_id", "hosted_url", "stripe_status"])
    return row


def retry(push: int, actor: "User") -> StripePush:
    """Try a row again at the next run, with new keys: Stripe would repeat the answers it stored for the old ones."""
    require(actor, "invoicing.retry_stripe")
    with transaction.atomic():
        row = StripePush.objects.select_related("invoice").select_for_update(of=("self",)).get(pk=push)
        if row.done_at is not None:
            raise ConflictError(f"{row}: this is done already.")
        row.blocked, row.next_attempt_at, row.intent = False, None, {}
        row.generation += 1
        row.save(update_fields=["blocked", "next_attempt_at", "intent", "generation"])
        remember(row.invoice, "stripe retried", actor, row.last_error)
    return row


def _with_terms() -> QuerySet[StripePush]:
    return StripePush.objects.select_related(
        "invoice__customer", "invoice__payer", "invoice__contract", "credit_note", "payment"
    )
