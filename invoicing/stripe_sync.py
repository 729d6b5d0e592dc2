"""The only door to Stripe: what is called there, and what its answers mean.

Each verb takes one row of `StripePush` and may be stopped anywhere: objects carry the row's key in their metadata, and
a row that was tried before looks for them before it makes any. When to call, and what becomes of errors, is in
`stripe_pushing`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

import stripe
from django.conf import settings
from stripe import Invoice as StripeInvoice

from billing_project.decimals import plain
from invoicing.models import Payment, Status, StripeCustomer, StripePush
from invoicing.stripe_items import Item, from_minor, items, to_minor, total
from invoicing.stripe_mirror import mirror_answer
from invoicing.stripe_words import KEY, POSITION, charged, customer_params, invoice_params, item_params

Told = dict[str, Any]
# What may be answered without any harm, by step: it is as it should be already.
HARMLESS = {
    ("delete_draft", "resource_missing"): "the draft is gone already",
}
# Errors that pass: Stripe is busy, or another call with the same key has not ended.
PASSING_CODES = {"rate_limit", "lock_timeout", "idempotency_key_in_use"}


class NotNowError(Exception):
    """Stripe could not be asked or did not know; the same again may succeed. `answered`: it stored the error."""

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class RefusedError(Exception):
    """Stripe or the comparison says no: a person has to look."""


class BadSignatureError(Exception):
    """What came is not from Stripe."""


def connected() -> bool:
    return bool(settings.STRIPE_SECRET_KEY)


def client() -> stripe.StripeClient:
    return _client(
        os.getpid(),
        settings.STRIPE_SECRET_KEY,
        settings.STRIPE_API_URL,
        settings.STRIPE_NETWORK_RETRIES,
        settings.STRIPE_TIMEOUT_SECONDS,
    )


@lru_cache(maxsize=1)
def _client(process: int, key: str, url: str, retries: int, timeout: int) -> stripe.StripeClient:
    """It keeps a connection for each thread. A forked process makes one of its own: on a connection of its parent's it
    would read answers that are meant for that.
    """
    return stripe.StripeClient(
        key,
        stripe_version=settings.STRIPE_API_VERSION,
        base_addresses={"api": url},
        max_network_retries=retries,
        http_client=stripe.RequestsClient(timeout=timeout),
    )


@contextmanager
def explained(step: str = "") -> Iterator[None]:
    """Tells errors that pass from those that do not. Those listed as harmless end the block quietly."""
    try:
        yield
    except stripe.StripeError as error:
        words = error.user_message or type(error).__name__
        if (step, error.code) in HARMLESS:
            return
        status = error.http_status or 0
        passing = isinstance(error, stripe.APIConnectionError | stripe.RateLimitError | stripe.AuthenticationError)
        if passing or status == 429 or error.code in PASSING_CODES:
            raise NotNowError(words) from error
        if status >= 500 or isinstance(error, stripe.IdempotencyError):
            raise NotNowError(words, answered=True) from error
        raise RefusedError(f"{words} ({error.code or status})") from error


def push_invoice(push: StripePush, keep: Callable[[dict[str, Any]], object]) -> None:
    """Make, fill, compare and finalise the invoice; send it if it is sent. `keep` stores what Stripe says."""
    invoice = push.invoice
    made = _found(push) if push.stripe_id or push.attempts > 1 else None
    if made is None:
        if invoice.status in (Status.VOID, Status.PAID):
            return  # nothing to collect any more
        made = _create(push)
    keep(made.to_dict())
    if made.status == "draft" and invoice.status == Status.VOID:
        with explained("delete_draft"):
            client().v1.invoices.delete(made.id)
        keep({**made.to_dict(), "status": "deleted"})
        return
    if made.status == "draft":
        push.charged_here = made.collection_method == "charge_automatically" and invoice.buys_ahead
        push.save(update_fields=["charged_here"])
        made = _fill_and_finalise(push, made)
        keep(made.to_dict())
    # Partly paid already, it would ask for all of it: it collects once Stripe knows of what was paid.
    if made.status == "open" and made.auto_advance:
        _send(push, made)


def report_payment(push: StripePush, stripe_invoice: str, save_intent: Callable[[], None], *, last: bool) -> Told:
    """Tell of a payment by hand that leaves something open, so that Stripe asks for the rest only; after the `last` of
    them it collects. Returns the invoice as it stands then.
    """
    payment = push.payment
    if payment is None:
        raise RefusedError("The payment of this row is missing.")
    invoices, currency = client().v1.invoices, str(push.invoice.total.currency)
    if not push.intent:
        with explained():
            left = invoices.retrieve(stripe_invoice).amount_remaining
        # Kept before the call, so that it is the same call if it is repeated after the customer paid.
        push.intent = {"amount": min(left, _in_minor(payment.amount, currency))}
        save_intent()
    if push.intent["amount"] and not (push.attempts > 1 and _is_attached(push, stripe_invoice)):
        _attach(push, payment, stripe_invoice, currency)
    with explained():
        told = invoices.retrieve(stripe_invoice)
        if last and told.status == "open" and not told.auto_advance:
            told = invoices.update(stripe_invoice, {"auto_advance": True}, _once(push, "collect"))
            _send(push, told)
    return told.to_dict()


def _attach(push: StripePush, payment: Payment, stripe_invoice: str, currency: str) -> None:
    at = int(payment.received_at.timestamp())
    params: stripe.params.PaymentRecordReportPaymentParams = {
        "amount_requested": {"currency": currency.lower(), "value": push.intent["amount"]},
        "initiated_at": at,
        "outcome": "guaranteed",
        "guaranteed": {"guaranteed_at": at},
        "payment_method_details": {"type": "custom", "custom": {"display_name": payment.get_method_display()}},
        "processor_details": {"type": "custom", "custom": {"payment_reference": payment.reference or str(push.key)}},
        "metadata": {KEY: str(push.key)},
    }
    with explained():
        record = client().v1.payment_records.report_payment(params, _once(push, "report"))
        client().v1.invoices.attach_payment(stripe_invoice, {"payment_record": record.id}, _once(push, "attach"))


def _is_attached(push: StripePush, stripe_invoice: str) -> bool:
    wanted: stripe.params.InvoicePaymentListParams = {
        "invoice": stripe_invoice,
        "limit": 100,
        "expand": ["data.payment.payment_record"],
    }
    with explained():
        known = [one.to_dict()["payment"] for one in client().v1.invoice_payments.list(wanted).auto_paging_iter()]
    records = [one["payment_record"] for one in known if one.get("payment_record")]
    return any((record.get("metadata") or {}).get(KEY) == str(push.key) for record in records)


def _send(push: StripePush, made: StripeInvoice) -> None:
    if made.collection_method == "send_invoice" and made.customer_email:
        with explained():
            client().v1.invoices.send_invoice(made.id, {}, _once(push, "send"))


def push_credit_note(push: StripePush, stripe_invoice: str, save_intent: Callable[[], None]) -> str:
    """The credit note over a pushed invoice; returns its id. What is credited beyond what Stripe still asks for counts
    as given back elsewhere: Stripe moves no money by itself.
    """
    note = push.credit_note
    if note is None:
        raise RefusedError("The credit note of this row is missing.")
    if push.attempts > 1:
        with explained():
            for known in client().v1.credit_notes.list({"invoice": stripe_invoice, "limit": 100}).auto_paging_iter():
                if _mark(known, KEY) == str(push.key):
                    return known.id
    amount = _in_minor(note.total, str(push.invoice.total.currency))
    if not push.intent:
        with explained():
            left = client().v1.invoices.retrieve(stripe_invoice).amount_remaining
        # Kept before the call, so that it is the same call if it is repeated after the customer paid.
        push.intent = {"elsewhere": max(0, amount - left)}
        save_intent()
    params: stripe.params.CreditNoteCreateParams = {
        "invoice": stripe_invoice,
        "amount": amount,
        "memo": note.reason[:500],
        "email_type": "none",
        "metadata": {KEY: str(push.key), "number": note.number or ""},
    }
    if push.intent["elsewhere"]:
        params["out_of_band_amount"] = push.intent["elsewhere"]
    with explained():
        return client().v1.credit_notes.create(params, _once(push, "create")).id


def end_invoice(push: StripePush, stripe_invoice: str) -> dict[str, Any]:
    """Void it, mark it as paid elsewhere or as uncollectible; returns it as it stands then."""
    invoices = client().v1.invoices
    ends = {
        StripePush.Step.VOID: ("void", partial(invoices.void_invoice, stripe_invoice, {})),
        StripePush.Step.PAID: ("paid", partial(invoices.pay, stripe_invoice, {"paid_out_of_band": True})),
        StripePush.Step.UNCOLLECTIBLE: ("uncollectible", partial(invoices.mark_uncollectible, stripe_invoice, {})),
    }
    wanted, end = ends[StripePush.Step(push.step)]
    with explained():
        now = invoices.retrieve(stripe_invoice)
        if now.status == wanted or (push.step == StripePush.Step.UNCOLLECTIBLE and now.status == "paid"):
            return now.to_dict()
        if now.status not in ("open", "uncollectible"):
            raise RefusedError(f"It is {now.status} in Stripe and cannot become {wanted}.")
        return end(_once(push, wanted)).to_dict()


def charge(stripe_invoice: str, key: str) -> dict[str, Any]:
    """Charge what is open of an invoice to the customer's payment method; returns the invoice as it stands then. Raises
    RefusedError with what the bank or Stripe said.
    """
    invoices = client().v1.invoices
    with explained():
        now = invoices.retrieve(stripe_invoice)
        # Paid since, on its page or by an attempt that never heard the answer.
        if now.status != "open":
            return now.to_dict()
        return invoices.pay(stripe_invoice, {"off_session": True}, {"idempotency_key": key}).to_dict()


def calculate_tax(asked: dict[str, Any]) -> dict[str, Any]:
    """The tax of items for a customer, as Stripe answers it: by item."""
    params: Any = {**asked, "expand": ["line_items.data.tax_breakdown"]}
    with explained():
        return client().v1.tax.calculations.create(params).to_dict()


def record_tax(push: StripePush, calculation: str, reference: str) -> str:
    """What was calculated holds, under a reference of ours; returns the tax transaction."""
    params: stripe.params.tax.TransactionCreateFromCalculationParams = {
        "calculation": calculation,
        "reference": reference,
    }
    with explained():
        return client().v1.tax.transactions.create_from_calculation(params, _once(push, "tax")).id


def take_tax_back(push: StripePush, transaction: str, reference: str, amount: int | None) -> None:
    """Reverse a tax transaction: whole, or an `amount` below zero in minor units, tax included."""
    how: dict[str, Any] = {"mode": "full"} if amount is None else {"mode": "partial", "flat_amount": amount}
    params: Any = {**how, "original_transaction": transaction, "reference": reference}
    with explained():
        client().v1.tax.transactions.create_reversal(params, _once(push, "tax"))


def event_of(body: bytes, signature: str) -> dict[str, Any]:
    """The event in a signed request. Raises BadSignatureError."""
    try:
        stripe.WebhookSignature.verify_header(body.decode(), signature, settings.STRIPE_WEBHOOK_SECRET)
        event: dict[str, Any] = json.loads(body)
    except (stripe.SignatureVerificationError, ValueError) as error:
        raise BadSignatureError(str(error)) from error
    return event


def invoices_paid_with(payment_intent: str) -> list[str]:
    """The invoices in Stripe that a payment paid: asked for when its event never came."""
    with explained():
        found = client().v1.invoice_payments.list(
            {"payment": {"type": "payment_intent", "payment_intent": payment_intent}}
        )
        return [str(one.invoice) for one in found.data]


def _found(push: StripePush) -> StripeInvoice | None:
    """What an earlier attempt left in Stripe."""
    with explained():
        if push.stripe_id:
            return client().v1.invoices.retrieve(push.stripe_id)
        known = StripeCustomer.objects.filter(customer=push.invoice.paid_by).first()
        if known is None or not known.stripe_id:
            return None
        since: stripe.params.InvoiceListParamsCreated = {"gte": int(push.created_at.timestamp()) - 3600}
        made = client().v1.invoices.list({"customer": known.stripe_id, "created": since, "limit": 100})
        return next((one for one in made.auto_paging_iter() if _mark(one, KEY) == str(push.key)), None)


def _create(push: StripePush) -> StripeInvoice:
    payer = _customer(push)
    params: Any = invoice_params(push, payer)
    with explained():
        return client().v1.invoices.create(params, _once(push, "create"))


def _fill_and_finalise(push: StripePush, made: StripeInvoice) -> StripeInvoice:
    invoice, currency = push.invoice, str(push.invoice.total.currency)
    try:
        wanted = items(
            [charged(invoice, line) for line in invoice.lines.filter(unit="").order_by("position")], currency
        )
    except ValueError as error:
        raise RefusedError(f"{error}.") from error
    there = _positions(made.id) if push.attempts > 1 else set()
    for item in wanted:
        if str(item.position) not in there:
            _add(push, made, item, currency)
    with explained():
        filled = client().v1.invoices.retrieve(made.id)
    ours = _in_minor(invoice.total.amount, currency)
    if filled.total != ours or total(wanted) != ours:
        raise RefusedError(
            f"Stripe's total is {plain(from_minor(filled.total, currency))} {currency}, ours {invoice.total}: "
            "it stays a draft there."
        )
    with explained():
        # Only now: from here on Stripe collects by itself.
        collects = not (invoice.paid_amount or push.charged_here)
        return client().v1.invoices.finalize_invoice(made.id, {"auto_advance": collects}, _once(push, "finalize"))


def _add(push: StripePush, made: StripeInvoice, item: Item, currency: str) -> None:
    params: Any = item_params(push, item, str(made.customer), made.id, currency)
    with explained():
        client().v1.invoice_items.create(params, _once(push, f"item:{item.position}"))


def _in_minor(amount: Decimal, currency: str) -> int:
    try:
        return to_minor(amount, currency)
    except ValueError as error:
        raise RefusedError(f"{error}.") from error


def _mark(made: stripe.StripeObject, name: str) -> str:
    """What we wrote into the metadata of an object."""
    return str((made.to_dict().get("metadata") or {}).get(name, ""))


def _positions(stripe_invoice: str) -> set[str]:
    with explained():
        known = client().v1.invoice_items.list({"invoice": stripe_invoice, "limit": 100})
        return {_mark(one, POSITION) for one in known.auto_paging_iter()}


def _customer(push: StripePush) -> StripeCustomer:
    """Whom the invoice is for, made or brought up to date in Stripe."""
    payer = push.invoice.paid_by
    known, _ = StripeCustomer.objects.get_or_create(customer=payer)
    params: Any = customer_params(payer, known)
    if known.stripe_id and known.pushed == params:
        return known
    customers = client().v1.customers
    if not known.stripe_id and known.tried:
        with explained():
            for one in customers.search({"query": f"metadata['{KEY}']:'{known.key}'"}).data:
                known.stripe_id = one.id
    with explained():
        if known.stripe_id:
            digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]
            once: stripe.RequestOptions = {"idempotency_key": f"{known.key}:{digest}:{push.generation}"}
            made = customers.update(known.stripe_id, params, once)
        else:
            StripeCustomer.objects.filter(pk=known.pk).update(tried=True)
            made = customers.create(params, {"idempotency_key": f"{known.key}:create:{push.generation}"})
            known.stripe_id = made.id
    known.pushed, known.tried = params, True
    known.save(update_fields=["stripe_id", "pushed", "tried"])
    mirror_answer(made.to_dict())
    return known


def _once(push: StripePush, step: str) -> stripe.RequestOptions:
    """The same for every attempt at a step, so that Stripe does it once."""
    return {"idempotency_key": f"{push.key}:{step}:{push.generation}"}
