"""What Stripe sends: checked, kept once, applied to the books. Repeated and late deliveries change nothing.

Stripe's amounts are running totals of an invoice or a charge, so what is new is what exceeds the entries we have.
"""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing_project.decimals import plain
from billing_project.errors import RuleError
from catalog.money import ZERO, add, subtract
from invoicing.charging import failed_in_stripe
from invoicing.models import Invoice, Payment, StripeEvent, StripePush
from invoicing.payments import Received, record_payment, record_refund
from invoicing.stripe_items import from_minor
from invoicing.stripe_mirror import mirror_event
from invoicing.stripe_pushing import seen
from invoicing.stripe_sync import BadSignatureError, NotNowError, RefusedError, event_of, invoices_paid_with
from invoicing.stripe_words import KEY

# Not for us, or about an invoice that is not ours: kept and left alone.
NOT_OURS = "Nothing of ours."
PAYMENTS = {"invoice.paid", "invoice.payment_succeeded", "invoice_payment.paid"}
REFUNDED, WITHDRAWN, REINSTATED = "charge.refunded", "charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated"
# What may come before that which it takes back or gives again.
LATER = (REFUNDED, WITHDRAWN, REINSTATED)
TOOK = "Stripe took "
DISPUTE = "Dispute "
TOLD_BY_US = (StripePush.Step.PAID, StripePush.Step.PAYMENT)
ENDED_THERE = {"invoice.voided": "void", "invoice.marked_uncollectible": "uncollectible"}


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """POST /stripe/webhook/: 200 once the event is stored, 400 for what Stripe did not sign."""
    if not settings.STRIPE_WEBHOOK_SECRET:
        return HttpResponse("Not connected to Stripe.", status=503, content_type="text/plain")
    try:
        row = _row(event_of(request.body, request.headers.get("Stripe-Signature", "")))
    except (BadSignatureError, KeyError, TypeError) as error:
        return HttpResponse(f"This is no event signed by Stripe: {error}", status=400, content_type="text/plain")
    StripeEvent.objects.bulk_create([row], ignore_conflicts=True)
    event = StripeEvent.objects.values_list("pk", flat=True).get(stripe_id=row.stripe_id)
    apply_event(event)
    mirror_event(event)
    return HttpResponse("Kept.", content_type="text/plain")


def apply_waiting(ask_stripe: bool = False) -> int:
    """Apply the events that could not be used when they came; returns how many still cannot."""
    waiting = list(StripeEvent.objects.filter(applied_at=None).order_by("created", "pk").values_list("pk", flat=True))
    return sum(not apply_event(event, ask_stripe=ask_stripe) for event in waiting)


def apply_event(event: int, *, ask_stripe: bool = False) -> bool:
    """Do what an event says, once; False while what it is about is not known yet."""
    with transaction.atomic():
        row = StripeEvent.objects.select_for_update().get(pk=event)
        if row.applied_at is not None:
            return True
        told = row.payload["data"]["object"]
        outcome = _applied(row, told, ask_stripe)
        if outcome is None:
            return False
        row.outcome, row.applied_at = outcome[:300], timezone.now()
        row.save(update_fields=["outcome", "applied_at"])
    if row.type in PAYMENTS or row.type == WITHDRAWN:
        for late in StripeEvent.objects.filter(applied_at=None, type__in=LATER).values_list("pk", flat=True):
            apply_event(late)
    return True


def _row(event: dict[str, Any]) -> StripeEvent:
    told = event["data"]["object"]
    payment = told.get("payment") if str(told.get("object")) == "invoice_payment" else told
    subject = (payment or {}).get("payment_intent") or (payment or {}).get("charge") or told.get("id") or ""
    return StripeEvent(
        stripe_id=event["id"],
        type=event["type"],
        subject=str(subject),
        created=datetime.fromtimestamp(event["created"], UTC),
        payload=event,
    )


def _applied(event: StripeEvent, told: dict[str, Any], ask_stripe: bool) -> str | None:
    """What came of it, in words; None while it has to wait."""
    if event.type.startswith("invoice.") and told.get("id"):
        push = _push_of(told["id"], (told.get("metadata") or {}).get(KEY, ""))
        return _invoice_told(event, told, push) if push else NOT_OURS
    if event.type == "invoice_payment.paid":
        push = _push_of(str(told["invoice"]), "")
        return _payment_told(event, told, push) if push else NOT_OURS
    if event.type == REFUNDED:
        return _refunded(event, told, ask_stripe)
    if event.type in (WITHDRAWN, REINSTATED):
        return _disputed(event, told, ask_stripe)
    return NOT_OURS


def _push_of(stripe_id: str, key: str) -> StripePush | None:
    """By its id, or by our key: the event may come before the answer to the call that made it."""
    of = Q(stripe_id=stripe_id)
    if len(key) == 36:
        of |= Q(key=key)
    rows = StripePush.objects.filter(of, step=StripePush.Step.INVOICE).select_for_update(of=("self",))
    return rows.select_related("invoice").first()


def _invoice_told(event: StripeEvent, told: dict[str, Any], push: StripePush) -> str:
    push.refresh_from_db()
    row = seen(push.pk, told)
    warning, outcome = _warned(event, told, row), f"{push.invoice}: {told['status']}."
    if event.type == "invoice.payment_failed":
        outcome = f"{push.invoice}: a payment failed."
    paid = _paid_there(push.invoice, row.stripe_id, int(told.get("amount_paid") or 0))
    if paid > 0:
        received = _record_new(push.invoice, told, paid, event.created)
        outcome = f"{push.invoice}: {received}" if received else outcome
        warning = received if received.startswith(TOOK) else warning
    if warning == "" and row.warning.startswith((TOOK, DISPUTE)):
        warning = None  # money is where no invoice here says it is: an event of another time ends nothing
    if warning is not None:
        disputes = row.warning[row.warning.find(DISPUTE) :] if DISPUTE in row.warning else ""
        StripePush.objects.filter(pk=row.pk).update(warning=f"{warning} {disputes}".strip())
    return outcome


def _warned(event: StripeEvent, told: dict[str, Any], push: StripePush) -> str | None:
    """What a person should see; None: as it was, empty: it is over."""
    if event.type == "invoice.payment_failed" and push.charged_here:
        failed_in_stripe(push.invoice_id, "The payment failed")
        return None
    if event.type == "invoice.payment_failed" and push.stripe_status not in ("paid", "void"):
        return f"A payment failed on {event.created:%Y-%m-%d}, attempt {told.get('attempt_count') or 1}."
    ended = ENDED_THERE.get(event.type)
    if ended and push.invoice.status not in (ended, "paid"):
        return f"It was marked {ended} in Stripe, and not here."
    return "" if push.stripe_status in ("paid", "void") else None


def _payment_told(event: StripeEvent, told: dict[str, Any], push: StripePush) -> str:
    """One payment of an invoice. What the invoice's own event says of all of them is enough, but for one that we told
    of a payment by hand.
    """
    paid = _paid_there(push.invoice, push.stripe_id, 0)
    received = _record_new(push.invoice, {"id": told["invoice"]}, paid, event.created) if paid > 0 else ""
    if received.startswith(TOOK):
        StripePush.objects.filter(pk=push.pk).update(warning=received)
    return received or f"{push.invoice}: known already."


def _paid_there(invoice: Invoice, stripe_id: str, amount_paid: int) -> int:
    """What Stripe itself took for an invoice. Its events count what we told it was paid elsewhere among `amount_paid`:
    then the payments it told of are added up.
    """
    if not StripePush.objects.filter(invoice=invoice, step__in=TOLD_BY_US).exclude(attempts=0).exists():
        return amount_paid
    told = StripeEvent.objects.filter(type="invoice_payment.paid", payload__data__object__invoice=stripe_id)
    payments = {row.payload["data"]["object"]["id"]: row.payload["data"]["object"] for row in told}
    return sum(int(one["amount_paid"]) for one in payments.values() if not one["payment"].get("payment_record"))


def _record_new(invoice: Invoice, told: dict[str, Any], paid: int, at: datetime) -> str:
    """Record what Stripe took beyond what we have from it; empty when that is nothing."""
    # Locked, or two deliveries at once would both find it new.
    row = Invoice.objects.select_for_update().get(pk=invoice.pk)
    currency = str(row.total.currency)
    known = Payment.objects.filter(invoice=row, source__startswith="stripe:", amount__gt=0)
    had = known.aggregate(sum=Sum("amount"))["sum"] or ZERO
    new = subtract(from_minor(paid, currency), had)
    if new <= 0:
        return ""
    taken = min(new, row.open_amount)
    reference = told.get("number") or told["id"]
    try:
        if taken > 0:
            source = f"stripe:{told['id']}:{paid}"
            record_payment(row.pk, Received(taken, at, source, Payment.Method.STRIPE, reference), None)
    except RuleError as error:
        return f"{TOOK}{plain(new)} {currency}, and it cannot be recorded: {error.message}"
    if taken < new:
        over = plain(subtract(new, max(taken, ZERO)))
        return f"{TOOK}{over} {currency} more than was open: pay it back or credit it."
    return f"{plain(taken)} {currency} received."


def _refunded(event: StripeEvent, charge: dict[str, Any], ask_stripe: bool) -> str | None:
    push = _paid_with(event.subject, ask_stripe)
    if push is None:
        return NOT_OURS if ask_stripe else None
    row = Invoice.objects.select_for_update().get(pk=push.invoice_id)
    currency = str(row.total.currency)
    prefix = f"stripe:{charge['id']}:refund:"
    known = Payment.objects.filter(invoice=row, source__startswith=prefix).aggregate(sum=Sum("amount"))["sum"] or ZERO
    new = add([from_minor(int(charge["amount_refunded"]), currency), known])
    if new <= 0:
        return f"{row}: known already."
    source = f"{prefix}{charge['amount_refunded']}"
    try:
        record_refund(row.pk, Received(new, event.created, source, Payment.Method.STRIPE, charge["id"]))
    except RuleError as error:
        if _took_something(row) or ask_stripe:
            StripePush.objects.filter(pk=push.pk).update(warning=f"Stripe paid back {plain(new)}: {error.message}")
            return error.message
        return None  # the payment itself is still to come
    return f"{row}: {plain(new)} {currency} went back."


def _disputed(event: StripeEvent, dispute: dict[str, Any], ask_stripe: bool) -> str | None:
    """A customer's bank took a payment back; or gave it again, as the dispute was won. The entries are named apart from
    payments and refunds, which are running totals of their own.
    """
    push = _paid_with(event.subject, ask_stripe)
    if push is None:
        return NOT_OURS if ask_stripe else None
    invoice = push.invoice
    amount = from_minor(int(dispute["amount"]), str(invoice.total.currency))
    sources = {kind: f"stripe-dispute:{dispute['id']}:{kind}" for kind in (WITHDRAWN, REINSTATED)}
    received = Received(amount, event.created, sources[event.type], Payment.Method.STRIPE, dispute["id"])
    shown = f"{plain(amount)} {invoice.total.currency} of {invoice}"
    if event.type == REINSTATED and not Payment.objects.filter(source=sources[WITHDRAWN]).exists():
        told = StripeEvent.objects.filter(type=WITHDRAWN, payload__data__object__id=dispute["id"])
        return f"{shown} came again that was not taken here." if told.exclude(applied_at=None).exists() else None
    try:
        if event.type == WITHDRAWN:
            record_refund(invoice.pk, received)
        else:
            record_payment(invoice.pk, received, None)
    except RuleError as error:
        if event.type == WITHDRAWN and not ask_stripe and not _took_something(invoice):
            return None  # the payment itself is still to come
        _say(push, f"{DISPUTE}{dispute['id']} over {shown}: {error.message}")
        return error.message
    taken = f"{DISPUTE}{dispute['id']}: the customer's bank took {shown} back."
    if event.type == WITHDRAWN:
        _say(push, taken)
        return taken
    _say(push, "", instead_of=taken)
    return f"{DISPUTE}{dispute['id']} is won: {shown} came again."


def _say(push: StripePush, sentence: str, instead_of: str = "") -> None:
    """Beside what is said of money already: one dispute does not end another."""
    row = StripePush.objects.get(pk=push.pk)
    kept = row.warning if row.warning.startswith((TOOK, DISPUTE)) else ""
    kept = kept.replace(instead_of, "").strip() if instead_of else kept
    StripePush.objects.filter(pk=push.pk).update(warning=f"{kept} {sentence}".strip())


def _took_something(invoice: Invoice) -> bool:
    return Payment.objects.filter(invoice=invoice, source__startswith="stripe:", amount__gt=0).exists()


def _paid_with(payment: str, ask_stripe: bool) -> StripePush | None:
    """The pushed invoice that a payment in Stripe was for."""
    told = StripeEvent.objects.filter(type="invoice_payment.paid", subject=payment).first()
    if told is not None:
        return _push_of(str(told.payload["data"]["object"]["invoice"]), "")
    if not ask_stripe:
        return None
    try:
        found = invoices_paid_with(payment)
    except (NotNowError, RefusedError):
        return None
    return next((push for stripe_id in found if (push := _push_of(stripe_id, ""))), None)
