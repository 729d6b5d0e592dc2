"""A small Stripe of our own on the loopback, for tests: it remembers, adds up, checks what it is asked and fails on
demand.

Requests are checked against the TypedDicts that ship with Stripe's own client. What it leaves out: everything that
`invoicing.stripe_sync` does not ask for.
"""

import json
import os
import re
import signal
import socket
import threading
import time
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, urlsplit

import stripe
import typing_extensions
from django.test import Client
from stripe import params as known

SECRET = "whsec_of_the_fake"
Row = dict[str, Any]


class FakeError(Exception):
    def __init__(self, status: int, message: str, code: str = "", kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "code": code or None, "type": kind}}


class Fake:
    """`fail` maps the number of a call, from 1, to how it fails: 500, 429, timeout (done, and no answer), lost (not
    done, no answer), kill (done, and the caller is interrupted), refuse (400), nonsense (an answer nobody understands).
    """

    def __init__(self) -> None:
        self.url = ""
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self.objects: dict[str, Row] = {}
        self.answers: dict[str, tuple[str, int, Row]] = {}
        self.calls: list[str] = []
        self.fail: dict[int, str] = {}
        self.events: list[Row] = []
        self.numbers: Counter[str] = Counter()
        self.spoil_totals = False
        self.declines = 0  # so many of the next charges are refused
        self.debits = False  # a charge is under way for days
        self.connections = 0
        self.open: list[socket.socket] = []
        self.now: Callable[[], float] = time.time

    # What a test looks at and does.

    def of(self, kind: str) -> list[Row]:
        return [row for row in self.objects.values() if row["object"] == kind]

    def pay(self, invoice: str, amount: int | None = None) -> str:
        """The customer pays; returns the payment."""
        row = self.objects[invoice]
        amount = row["amount_remaining"] if amount is None else amount
        payment = self._id("pi")
        self._attached(row, amount, {"type": "payment_intent", "payment_intent": payment})
        self._tell("invoice.payment_succeeded", row)
        return payment

    def refund(self, payment: str, amount: int) -> None:
        charge = self._charge(payment)
        charge["amount_refunded"] += amount
        self._tell("charge.refunded", charge)

    def _charge(self, payment: str) -> Row:
        known = next((row for row in self.of("charge") if row["payment_intent"] == payment), None)
        if known is not None:
            return known
        part = next(row for row in self.of("invoice_payment") if row["payment"].get("payment_intent") == payment)
        paid = self.objects[part["invoice"]]
        told = {"amount": part["amount_paid"], "currency": paid["currency"], "customer": paid["customer"]}
        return self._keep("ch", "charge", payment_intent=payment, amount_refunded=0, status="succeeded", **told)

    def dispute(self, payment: str, amount: int) -> str:
        """The customer's bank takes a payment back; returns the dispute."""
        charge = self._charge(payment)
        fields = {"charge": charge["id"], "payment_intent": payment, "amount": amount, "status": "needs_response"}
        moved = [{"id": self._id("txn"), "object": "balance_transaction", "amount": -amount}]
        row = self._keep("du", "dispute", balance_transactions=moved, currency=charge["currency"], **fields)
        self._tell("charge.dispute.created", row)
        self._tell("charge.dispute.funds_withdrawn", row)
        return str(row["id"])

    def win(self, dispute: str) -> None:
        """The bank gives it again."""
        self.objects[dispute]["status"] = "won"
        self._tell("charge.dispute.funds_reinstated", self.objects[dispute])
        self._tell("charge.dispute.closed", self.objects[dispute])

    def fail_payment(self, invoice: str) -> None:
        self.objects[invoice]["attempt_count"] += 1
        self._tell("invoice.payment_failed", self.objects[invoice])

    def void(self, invoice: str) -> None:
        self._end(self.objects[invoice], "void")

    def hang_up(self) -> None:
        """Close every connection, as Stripe does with those on which nothing was said for long."""
        with self.lock:
            for each in self.open:
                each.shutdown(socket.SHUT_RDWR)
            self.open = []

    def deliver(self, client: Client, events: list[Row] | None = None) -> list[int]:
        """Send events to our webhook, by default all that are new, and say how each was answered."""
        chosen = self.events if events is None else events
        if events is None:
            self.events = []
        return [send(client, event) for event in chosen]

    # What is behind the routes.

    def answer(self, verb: str, path: str, form: Row, key: str) -> tuple[int, Row]:
        remembered = self.answers.get(key) if key else None
        asked = json.dumps([verb, path, form], sort_keys=True)
        if remembered:
            if remembered[0] != asked:
                raise FakeError(
                    400,
                    "Keys for idempotent requests can only be used with the same parameters.",
                    kind="idempotency_error",
                )
            return remembered[1:]
        status, body = 200, {}
        try:
            body = json.loads(json.dumps(self._route(verb, path, form)))
        except FakeError as error:
            status, body = error.status, error.body
        # As Stripe: what a card said is an answer like any other.
        if key and status in (200, 402):
            self.answers[key] = (asked, status, body)
        return status, body

    def _route(self, verb: str, path: str, form: Row) -> Row:
        for (wanted, pattern), (function, type_) in ROUTES.items():
            match = re.fullmatch(pattern, path)
            if wanted == verb and match:
                return function(self, checked(form, type_), *match.groups())
        raise FakeError(404, f"Unrecognized request URL ({verb}: {path}).")

    def _id(self, prefix: str) -> str:
        self.numbers[prefix] += 1
        return f"{prefix}_{self.numbers[prefix]}"

    def _keep(self, prefix: str, kind: str, **fields: Any) -> Row:
        row = {"id": self._id(prefix), "object": kind, "created": int(self.now()), "livemode": False, **fields}
        self.objects[row["id"]] = row
        return row

    def _get(self, key: str, kind: str = "invoice") -> Row:
        row = self.objects.get(key)
        if row is None or row["object"] != kind:
            raise FakeError(404, f"No such {kind}: '{key}'", "resource_missing")
        return row

    def _tell(self, type_: str, row: Row) -> None:
        copied = json.loads(json.dumps(row))
        self.events.append(
            {
                "id": self._id("evt"),
                "object": "event",
                "type": type_,
                "created": int(self.now()),
                "api_version": "2026-05-27.dahlia",
                "livemode": False,
                "data": {"object": copied},
            }
        )

    def _settle(self, row: Row) -> None:
        credited = sum(note["pre_payment_amount"] for note in self.of("credit_note") if note["invoice"] == row["id"])
        row["total"] = sum(one["amount"] for one in self.of("invoiceitem") if one["invoice"] == row["id"])
        row["total"] += self.spoil_totals
        row["amount_due"] = max(row["total"], 0) - credited
        row["amount_remaining"] = max(row["amount_due"] - row["amount_paid"], 0)
        if row["status"] in ("open", "uncollectible") and not row["amount_remaining"]:
            row["status"] = "paid"

    def _end(self, row: Row, status: str) -> Row:
        row["status"] = status
        self._tell({"void": "invoice.voided", "uncollectible": "invoice.marked_uncollectible"}[status], row)
        return row

    def make_customer(self, form: Row) -> Row:
        return self._keep("cus", "customer", **form)

    def change_customer(self, form: Row, key: str) -> Row:
        row = self._get(key, "customer")
        row.update(form)
        return row

    def find_customers(self, form: Row) -> Row:
        match = re.fullmatch(r"metadata\['(\w+)'\]:'([\w-]+)'", form["query"])
        assert match, form
        found = [row for row in self.of("customer") if row["metadata"].get(match[1]) == match[2]]
        return {"object": "search_result", "data": found, "has_more": False, "url": "/v1/customers/search"}

    def make_invoice(self, form: Row) -> Row:
        customer = self._get(form["customer"], "customer")
        if form["collection_method"] == "charge_automatically" and "days_until_due" in form:
            raise FakeError(400, "You may only set days_until_due on send_invoice.")
        if any(row.get("number") == form.get("number") for row in self.of("invoice") if form.get("number")):
            raise FakeError(400, "The invoice number is taken.")
        row = self._keep(
            "in",
            "invoice",
            status="draft",
            total=0,
            amount_paid=0,
            amount_due=0,
            amount_remaining=0,
            attempt_count=0,
            sent=0,
            hosted_invoice_url=None,
            **form,
        )
        row["customer_email"] = customer.get("email")
        self._tell("invoice.created", row)
        return row

    def add_item(self, form: Row) -> Row:
        invoice = self._get(form["invoice"])
        if invoice["status"] != "draft":
            raise FakeError(400, "This invoice is no longer editable.", "invoice_not_editable")
        if sum(one["invoice"] == invoice["id"] for one in self.of("invoiceitem")) >= 250:
            raise FakeError(400, "An invoice takes 250 items.", "invoice_too_many_items")
        if abs(form["amount"]) > 99_999_999:
            raise FakeError(400, "The amount is too large.", "amount_too_large")
        row = self._keep("ii", "invoiceitem", **form)
        self._settle(invoice)
        return row

    def finalize(self, form: Row, key: str) -> Row:
        row = self._get(key)
        if row["status"] != "draft":
            raise FakeError(400, "This invoice is already finalized.")
        row.update(status="open", hosted_invoice_url=f"https://invoice.stripe.test/{key}")
        row["auto_advance"] = form.get("auto_advance", row["auto_advance"])
        self._settle(row)
        self._tell("invoice.finalized", row)
        return row

    def send_invoice(self, form: Row, key: str) -> Row:
        row = self._get(key)
        if row["status"] != "open":
            raise FakeError(400, "Only an open invoice is sent.")
        row["sent"] += 1
        return row

    def void_invoice(self, form: Row, key: str) -> Row:
        row = self._get(key)
        if row["status"] not in ("open", "uncollectible"):
            raise FakeError(400, f"You can't void an invoice that is {row['status']}.")
        return self._end(row, "void")

    def give_up(self, form: Row, key: str) -> Row:
        row = self._get(key)
        if row["status"] != "open":
            raise FakeError(400, f"An invoice that is {row['status']} stays so.")
        return self._end(row, "uncollectible")

    def pay_invoice(self, form: Row, key: str) -> Row:
        row = self._get(key)
        if row["status"] not in ("open", "uncollectible"):
            raise FakeError(400, "Invoice is already paid")
        return self._pay_elsewhere(row) if form.get("paid_out_of_band") else self._charge_card(row)

    def _charge_card(self, row: Row) -> Row:
        if self.declines:
            self.declines -= 1
            self.fail_payment(row["id"])
            raise FakeError(402, "Your card was declined.", "card_declined", kind="card_error")
        if not self.debits:
            self.pay(row["id"])
        return row

    def _pay_elsewhere(self, row: Row) -> Row:
        record = self._keep("pr", "payment_record", metadata={})
        self._attached(row, row["amount_remaining"], {"type": "payment_record", "payment_record": record["id"]})
        return row

    def report_payment(self, form: Row) -> Row:
        if form["amount_requested"]["value"] <= 0 or form["outcome"] != "guaranteed":
            raise FakeError(400, "A payment that came in has an amount and is guaranteed.")
        return self._keep("pr", "payment_record", **form)

    def attach_payment(self, form: Row, key: str) -> Row:
        row, record = self._get(key), self._get(form["payment_record"], "payment_record")
        if row["status"] not in ("open", "uncollectible"):
            raise FakeError(400, f"No payment is attached to an invoice that is {row['status']}.")
        if any(one["payment"].get("payment_record") == record["id"] for one in self.of("invoice_payment")):
            raise FakeError(400, "This payment is attached already.")
        if record["amount_requested"]["currency"] != row["currency"]:
            raise FakeError(400, "The currency is another.")
        payment = {"type": "payment_record", "payment_record": record["id"]}
        self._attached(row, record["amount_requested"]["value"], payment)
        return row

    def update_invoice(self, form: Row, key: str) -> Row:
        row = self._get(key)
        row.update(form)
        return row

    def _attached(self, row: Row, amount: int, payment: Row) -> None:
        """As Stripe: an invoice's events do not say how much of `amount_paid` was paid elsewhere."""
        row["amount_paid"] += amount
        self._settle(row)
        made = self._keep(
            "inpay", "invoice_payment", invoice=row["id"], amount_paid=amount, status="paid", payment=payment
        )
        self._tell("invoice_payment.paid", made)
        if row["status"] == "paid":
            self._tell("invoice.paid", row)

    def delete_invoice(self, form: Row, key: str) -> Row:
        if self._get(key)["status"] != "draft":
            raise FakeError(400, "You can only delete draft invoices.")
        for one in [one for one in self.of("invoiceitem") if one["invoice"] == key]:
            del self.objects[one["id"]]
        del self.objects[key]
        return {"id": key, "object": "invoice", "deleted": True}

    def make_credit_note(self, form: Row) -> Row:
        invoice = self._get(form["invoice"])
        beyond = max(0, form["amount"] - invoice["amount_remaining"])
        elsewhere = form.get("out_of_band_amount", 0)
        if elsewhere != beyond:
            raise FakeError(400, f"The sum of what is given back must be {beyond}.")
        row = self._keep("cn", "credit_note", pre_payment_amount=form["amount"] - beyond, **form)
        self._settle(invoice)
        self._tell("credit_note.created", row)
        return row

    # Stripe Tax: seller in Berlin. Percent by country, and by state in the United States.

    TAXES: typing.ClassVar = {"DE": [("VAT", "19.0")], "FR": [("VAT", "20.0")]}
    US_TAXES: typing.ClassVar = {"CA": [("California", "6.0"), ("Alameda", "3.25")], "OR": []}

    def calculate_tax(self, form: Row) -> Row:
        """Rounded by item, as Stripe does."""
        whom = form["customer_details"]
        where, abroad = whom["address"], whom["address"]["country"] != "DE"
        if where["country"] == "US" and not where.get("postal_code"):
            raise FakeError(400, "We could not determine the customer's tax location.", "customer_tax_location_invalid")
        rates = (
            self.US_TAXES.get(where.get("state", ""), [])
            if where["country"] == "US"
            else self.TAXES.get(where["country"], [])
        )
        reverse = bool(whom.get("tax_ids")) and abroad
        lines = [self._taxed(item, [] if reverse else rates, reverse) for item in form["line_items"]]
        tax = sum(line["amount_tax"] for line in lines)
        row = self._keep("taxcalc", "tax.calculation", amount_total=sum(line["amount"] for line in lines) + tax)
        return {**row, "tax_amount_exclusive": tax, "line_items": {"object": "list", "data": lines, "has_more": False}}

    def _taxed(self, item: Row, rates: list[tuple[str, str]], reverse: bool) -> Row:
        if item["amount"] <= 0 or item["tax_behavior"] != "exclusive":
            raise FakeError(400, "Invalid positive integer")
        if item.get("tax_code") == "txcd_untaxed":
            rates = []
        parts = [(name, rate, int((Decimal(rate) * item["amount"] / 100).quantize(Decimal(1)))) for name, rate in rates]
        why = "reverse_charge" if reverse else "not_collecting"
        breakdown: list[Row] = [{"amount": 0, "tax_rate_details": None, "taxability_reason": why}]
        if parts:
            named = [({"display_name": name, "percentage_decimal": rate}, tax) for name, rate, tax in parts]
            breakdown = [{"amount": tax, "tax_rate_details": rate, "taxability_reason": ""} for rate, tax in named]
        tax = sum(tax for _, _, tax in parts)
        return {**item, "object": "tax.calculation_line_item", "amount_tax": tax, "tax_breakdown": breakdown}

    def record_tax(self, form: Row) -> Row:
        total = self._get(form["calculation"], "tax.calculation")["amount_total"]
        return self._tax_transaction(form["reference"], total)

    def take_tax_back(self, form: Row) -> Row:
        original = self._get(form["original_transaction"], "tax.transaction")
        return self._tax_transaction(form["reference"], form.get("flat_amount", -original["amount"]))

    def _tax_transaction(self, reference: str, amount: int) -> Row:
        if any(row["reference"] == reference for row in self.of("tax.transaction")):
            raise FakeError(400, "The reference is taken.", "resource_already_exists")
        return self._keep("tax", "tax.transaction", reference=reference, amount=amount)

    def _expanded(self, payment: Row) -> Row:
        record = payment.get("payment_record")
        return {**payment, "payment_record": self.objects[record]} if record else payment

    def listed(self, kind: str, of: str, form: Row) -> Row:
        rows = [row for row in self.of(kind) if row[of] == form[of]]
        start = form.get("starting_after")
        first = next(index for index, row in enumerate(rows, 1) if row["id"] == start) if start else 0
        page = rows[first : first + form.get("limit", 10)]
        return {"object": "list", "data": page, "has_more": first + len(page) < len(rows), "url": f"/v1/{kind}s"}

    def payments_of(self, form: Row) -> Row:
        rows = self.of("invoice_payment")
        if "payment" in form:
            wanted = form["payment"]["payment_intent"]
            rows = [row for row in rows if row["payment"].get("payment_intent") == wanted]
        if "invoice" in form:
            rows = [row for row in rows if row["invoice"] == form["invoice"]]
        if "data.payment.payment_record" in form.get("expand", []):
            rows = [{**row, "payment": self._expanded(row["payment"])} for row in rows]
        return {"object": "list", "data": rows, "has_more": False, "url": "/v1/invoice_payments"}


def lists(kind: str, of: str) -> Callable[[Fake, Row], Row]:
    return lambda fake, form: fake.listed(kind, of, form)


ID = "/([a-z]+_[0-9]+)"
ROUTES: dict[tuple[str, str], tuple[Callable[..., Row], Any]] = {
    ("POST", "/v1/customers"): (Fake.make_customer, known.CustomerCreateParams),
    ("POST", f"/v1/customers{ID}"): (Fake.change_customer, known.CustomerUpdateParams),
    ("GET", "/v1/customers/search"): (Fake.find_customers, known.CustomerSearchParams),
    ("POST", "/v1/invoices"): (Fake.make_invoice, known.InvoiceCreateParams),
    ("GET", "/v1/invoices"): (lists("invoice", "customer"), known.InvoiceListParams),
    ("GET", f"/v1/invoices{ID}"): (lambda fake, form, key: fake._get(key), known.InvoiceRetrieveParams),
    ("DELETE", f"/v1/invoices{ID}"): (Fake.delete_invoice, known.InvoiceDeleteParams),
    ("POST", f"/v1/invoices{ID}"): (Fake.update_invoice, known.InvoiceUpdateParams),
    ("POST", f"/v1/invoices{ID}/attach_payment"): (Fake.attach_payment, known.InvoiceAttachPaymentParams),
    ("POST", "/v1/payment_records/report_payment"): (
        Fake.report_payment,
        known.PaymentRecordReportPaymentParams,
    ),
    ("POST", f"/v1/invoices{ID}/finalize"): (Fake.finalize, known.InvoiceFinalizeInvoiceParams),
    ("POST", f"/v1/invoices{ID}/send"): (Fake.send_invoice, known.InvoiceSendInvoiceParams),
    ("POST", f"/v1/invoices{ID}/void"): (Fake.void_invoice, known.InvoiceVoidInvoiceParams),
    ("POST", f"/v1/invoices{ID}/mark_uncollectible"): (Fake.give_up, known.InvoiceMarkUncollectibleParams),
    ("POST", f"/v1/invoices{ID}/pay"): (Fake.pay_invoice, known.InvoicePayParams),
    ("POST", "/v1/invoiceitems"): (Fake.add_item, known.InvoiceItemCreateParams),
    ("GET", "/v1/invoiceitems"): (lists("invoiceitem", "invoice"), known.InvoiceItemListParams),
    ("POST", "/v1/credit_notes"): (Fake.make_credit_note, known.CreditNoteCreateParams),
    ("GET", "/v1/credit_notes"): (lists("credit_note", "invoice"), known.CreditNoteListParams),
    ("POST", "/v1/tax/calculations"): (Fake.calculate_tax, known.tax.CalculationCreateParams),
    ("POST", "/v1/tax/transactions/create_from_calculation"): (
        Fake.record_tax,
        known.tax.TransactionCreateFromCalculationParams,
    ),
    ("POST", "/v1/tax/transactions/create_reversal"): (
        Fake.take_tax_back,
        known.tax.TransactionCreateReversalParams,
    ),
    ("GET", "/v1/invoice_payments"): (Fake.payments_of, known.InvoicePaymentListParams),
}


def send(client: Client, event: Row, secret: str = SECRET) -> int:
    """Post an event as Stripe does, signed; returns the status of the answer."""
    body = json.dumps(event)
    signature = stripe.WebhookSignature.generate_signature_header(body, secret)
    path = "/stripe/webhook/"
    return client.post(path, body, content_type="application/json", headers={"Stripe-Signature": signature}).status_code


# What a request may hold, by the client's own types.


def checked(value: Any, type_: Any, path: str = "") -> Any:
    """The form's texts as the type says. Raises FakeError that names what does not fit."""
    origin = get_origin(type_)
    if origin in (typing_extensions.NotRequired, typing.NotRequired, typing.Required, typing_extensions.Required):
        return checked(value, get_args(type_)[0], path)
    if origin in (Union, types.UnionType):
        return _any_of(value, get_args(type_), path)
    if typing_extensions.is_typeddict(type_):
        return _fields(value, type_, path)
    if origin in (list, dict):
        return _many(value, type_, path)
    if isinstance(value, str):
        return _text(value, type_, path)
    raise FakeError(400, f"{path}: {value!r} is no {type_}.", "parameter_unknown")


def _any_of(value: Any, choices: tuple[Any, ...], path: str) -> Any:
    refusal = None
    for choice in choices:
        try:
            return checked(value, choice, path)
        except FakeError as error:
            refusal = error
    assert refusal
    raise refusal


@cache
def fields_of(type_: Any) -> dict[str, Any]:
    """The names and types of a request; what the client itself takes along (keys, versions) is none of it."""
    hints = get_type_hints(type_, localns={"StripeContext": str, "Mapping": Mapping})
    return {name: hint for name, hint in hints.items() if name not in stripe.RequestOptions.__annotations__}


def _fields(value: Any, type_: Any, path: str) -> Row:
    if not isinstance(value, dict):
        raise FakeError(400, f"{path}: an object is expected.")
    hints = fields_of(type_)
    wrong = set(value) - set(hints)
    missing = type_.__required_keys__ - set(value)
    if wrong or missing:
        raise FakeError(400, f"{path}: unknown {sorted(wrong)}, missing {sorted(missing)}.", "parameter_unknown")
    return {name: checked(given, hints[name], f"{path}[{name}]") for name, given in value.items()}


def _many(value: Any, type_: Any, path: str) -> Any:
    inner = get_args(type_)
    if not isinstance(value, dict):
        raise FakeError(400, f"{path}: {value!r} is not many.")
    if get_origin(type_) is dict:
        return {name: checked(given, inner[1], f"{path}[{name}]") for name, given in value.items()}
    return [checked(value[str(index)], inner[0], f"{path}[{index}]") for index in range(len(value))]


def _text(value: str, type_: Any, path: str) -> Any:
    try:
        if get_origin(type_) is Literal and value in get_args(type_):
            return value
        if type_ is bool and value in ("true", "false"):
            return value == "true"
        if type_ is int:
            return int(value)
        if type_ is Decimal:
            return str(Decimal(value))
    except (ValueError, InvalidOperation) as error:
        raise FakeError(400, f"{path}: {value!r} is no number.") from error
    if type_ is str:
        return value
    raise FakeError(400, f"{path}: {value!r} is no {type_}.")


def nested(pairs: list[tuple[str, str]]) -> Row:
    """`a[b][0]=1` as {"a": {"b": {"0": "1"}}}."""
    form: Row = {}
    for name, value in pairs:
        first, *more = re.findall(r"[^\[\]]+", name)
        at = form
        for step, following in zip([first, *more], more, strict=False):
            at = at.setdefault(step, {}) if following else at
        at[([first, *more])[-1]] = value
    return form


class Handler(BaseHTTPRequestHandler):
    fake: Fake
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # on a connection that is kept, the body would wait 40 ms behind the head

    def setup(self) -> None:
        super().setup()
        with self.fake.lock:
            self.fake.connections += 1
            self.fake.open.append(self.connection)

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._do("GET")

    def do_POST(self) -> None:
        self._do("POST")

    def do_DELETE(self) -> None:
        self._do("DELETE")

    def _do(self, verb: str) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = nested(parse_qsl(url.query if verb == "GET" else body, keep_blank_values=True))
        key = self.headers.get("Idempotency-Key") or ""
        with self.fake.lock:
            self.fake.calls.append(f"{verb} {url.path}")
            failure = self.fake.fail.pop(len(self.fake.calls), "")
            status, told = self._answered(failure, verb, url.path, form, key)
        if failure == "kill":
            os.kill(os.getpid(), signal.SIGINT)
        if failure in ("timeout", "lost", "kill"):
            self.close_connection = True
            return
        answer = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _answered(self, failure: str, verb: str, path: str, form: Row, key: str) -> tuple[int, Row]:
        error = {
            "500": FakeError(500, "Something went wrong on Stripe's end.", kind="api_error"),
            "429": FakeError(429, "Too many requests.", "rate_limit"),
            "refuse": FakeError(400, "Stripe does not like it.", "brand_new_error"),
        }.get(failure)
        if self.headers.get("Authorization") != "Bearer sk_test_fake":
            error = FakeError(401, "Invalid API Key provided")
        if error:
            if failure == "500" and key:
                # As Stripe: the same key gets the same error again.
                asked = json.dumps([verb, path, form], sort_keys=True)
                self.fake.answers[key] = (asked, error.status, error.body)
            return error.status, error.body
        if failure in ("lost", "nonsense"):
            return (0, {}) if failure == "lost" else (200, {"object": "nonsense"})
        try:
            return self.fake.answer(verb, path, form, key)
        except FakeError as refusal:
            return refusal.status, refusal.body


@contextmanager
def running(fake: Fake | None = None) -> Iterator[Fake]:
    fake = fake or Fake()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfThisFake", (Handler,), {"fake": fake}))
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
