"""A business whose every machine is killed every month: import, roller, thresholds, recharges, close, issue, push,
webhooks in both directions, export.
"""

import csv
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

from django.core.management import call_command
from django.db.models import Sum
from django.test import Client

from billing_project.errors import ConflictError
from catalog.money import ZERO
from contracts.models import Contract
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.parsing import parse
from invoicing.close import close_periods, due_periods
from invoicing.credit_notes import issue_credit_note, left_to_credit, request_credit_note
from invoicing.lifecycle import approve, issue, return_to_review
from invoicing.models import Delivery, Invoice, InvoiceLine, Status, StripeEvent, StripePush, WebhookEndpoint
from invoicing.payments import Received, record_payment
from invoicing.reacting import Verb, react
from invoicing.recharges import HAVING_ONE as RECHARGED
from invoicing.recharges import recharge_and_release
from invoicing.spend_thresholds import HAVING_ONE as LIMITED
from invoicing.spend_thresholds import bill_now, bill_thresholds
from invoicing.stripe_pushing import find_due
from invoicing.voiding import void
from meters.backlog import uncounted_events
from meters.models import Event
from meters.rollup import roll_up
from meters.touched import oldest_unread
from tests.factories import user
from tests.invoicing.receiver import Receiver
from tests.invoicing.stripe_fake import Fake
from tests.kills import in_a_fork
from tests.year.agreeing import wrong
from tests.year.telling import deliver_all, export_all, wrongly_delivered, wrongly_exported
from tests.year.terms import GRADUATED, per_unit, rate

FIRST_YEAR = 2020
PATIENCE = 60
Row = tuple[str, str, str, str]
WORKS = ("import", "roll_up", "thresholds", "recharge", "close", "issue", "push", "webhook", "deliver", "export")
TERMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "packs": {
        "recurring_commits": [{"key": "pack", "amount": "9", "invoice_amount": "8", "rollover": {"fraction": "0.5"}}]
    },
    "seats": {"subscriptions": [{"key": "seats", "product": "seat", "quantity": "3", "billed": "advance"}]},
    "limit": {"spend_threshold": {"amount": "12"}},
    "tiers": {
        "rate_card": "tiers",
        "minimums": [{"amount": "10"}],
        "recurring_credits": [{"key": "free", "amount": "2"}],
    },
    "filled": {
        "commits": [
            {
                "key": "first",
                "access": [{"amount": "10", "starting_at": f"{FIRST_YEAR}-01-01"}],
                "invoices": [{"amount": "10", "at": f"{FIRST_YEAR}-01-01"}],
            }
        ],
        "balance_threshold": {"amount": "5", "recharge_to": "15"},
    },
}


def billing_file() -> dict[str, Any]:
    first = f"{FIRST_YEAR}-01-01"
    contract = {"rate_card": "list", "starting_at": first}
    return {
        "meters": [{"key": "calls", "event_type": "call", "aggregation": "count"}],
        "products": [
            {"key": "calls", "name": "Calls", "meter": "calls"},
            {"key": "seat", "name": "Seats", "kind": "subscription"},
        ],
        "rate_cards": [
            {"key": "list", "currency": "USD", "rates": [rate("calls", per_unit("1")), rate("seat", per_unit("7"))]},
            {"key": "tiers", "currency": "USD", "rates": [rate("calls", GRADUATED)]},
        ],
        "customers": [{"key": key, "email": f"pay@{key}.test", "tax": {"rate": "0.2"}} for key in TERMS],
        "contracts": [{"key": key, "customer": key, **contract, **terms} for key, terms in TERMS.items()],
    }


class House:
    """`killed` counts kills by work. Each month everything is done to the end before the next."""

    def __init__(self, fake: Fake, receiver: Receiver, folder: Path, seed: int) -> None:
        self.fake, self.receiver = fake, receiver
        self.arriving, self.exported = folder / "arriving", folder / "exported"
        self.arriving.mkdir()
        self.random = Random(seed)  # noqa: S311 - the same kills again, no secret
        self.months = 0
        self.killed: Counter[str] = Counter()
        self.lengths = dict.fromkeys(WORKS, 60)
        self.sent: Counter[str] = Counter()
        self.held: list[Row] = []
        self.client = Client()
        apply_entries(parse([("", billing_file())]), self.start(0))
        self.clerk, self.approver = user("Finance", "clerk"), user("Finance", "approver")
        WebhookEndpoint.objects.create(url=receiver.url)

    def start(self, month: int) -> datetime:
        return datetime(FIRST_YEAR + month // 12, month % 12 + 1, 1, tzinfo=UTC)

    def month(self) -> None:
        self.use()
        self.kill("import", self.read, lambda: Event.objects.count() == self.sent.total())
        self.kill("roll_up", self.count, lambda: not uncounted_events())
        late = self.start(self.months) + timedelta(days=27)
        self.kill("thresholds", lambda: self.limit(late), lambda: oldest_unread("spend thresholds") is None)
        self.kill("recharge", lambda: self.fill(late), lambda: oldest_unread("recharges") is None)
        self.months += 1
        as_of = self.start(self.months) + timedelta(days=2)
        self.kill("close", lambda: self.close(as_of), lambda: not due_periods(as_of).exists())
        self.approve()
        self.kill("issue", self.issue, lambda: not self.of(Status.APPROVED) and not self.of(Status.IN_REVIEW))
        self.kill("push", self.push, lambda: find_due() == 0)
        self.pay()
        events, self.fake.events = self.fake.events, []
        self.random.shuffle(events)
        self.kill(
            "webhook", lambda: self.hear(events), lambda: not StripeEvent.objects.filter(applied_at=None).exists()
        )
        self.kill("deliver", deliver_all, lambda: not Delivery.objects.filter(state="waiting").exists())
        self.kill("export", lambda: export_all(self.exported), lambda: True)

    def kill(self, name: str, work: Callable[[], object], is_done: Callable[[], bool]) -> None:
        """Kill it somewhere; then do it again until it is done, here."""
        die_at = self.random.randint(1, self.lengths[name])
        was_killed, passed = in_a_fork(work, die_at)
        self.killed[name] += was_killed
        # Where it was not reached the work is shorter this month; it varies, so sometimes all of it may be.
        self.lengths[name] = self.lengths[name] + 6 if was_killed else max(passed, 12)
        deadline = time.monotonic() + PATIENCE
        work()
        while not is_done():
            # What the killed process held is let go when the server sees that it is gone.
            assert time.monotonic() < deadline, f"{name} is never done"
            time.sleep(0.02)
            work()

    def use(self) -> None:
        """A file with some calls for each, and some that come a month too late."""
        first = self.start(self.months)
        rows, self.held = self.held, []
        for key in TERMS:
            for number in range(self.random.randint(2, 9)):
                at = first + timedelta(seconds=self.random.randint(0, 27 * 24 * 3600))
                row = (f"{key}-{self.months}-{number}", at.isoformat(), key, "call")
                (self.held if self.random.random() < 0.15 else rows).append(row)
        self.put(rows)

    def put(self, rows: list[Row]) -> None:
        with (self.arriving / f"{self.months:04}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("id", "time", "customer", "type"), *rows])
        self.sent.update(row[2] for row in rows)

    def read(self) -> None:
        call_command("import_events", str(self.arriving), batch=5, stdout=StringIO(), stderr=StringIO())

    def count(self) -> None:
        while roll_up(batch=10).more or uncounted_events():
            time.sleep(0.05)  # a transaction somewhere on this server is older than the last events

    def limit(self, at: datetime) -> None:
        verb: Verb = lambda contracts, _: bill_now(contracts, at)  # noqa: E731
        react("spend thresholds", verb, LIMITED)

    def fill(self, at: datetime) -> None:
        verb: Verb = lambda contracts, _: recharge_and_release(contracts, at)  # noqa: E731
        react("recharges", verb, RECHARGED)

    def close(self, as_of: datetime) -> None:
        bill_thresholds(as_of)
        close_periods(as_of)

    def of(self, status: Status) -> list[Invoice]:
        return list(Invoice.objects.filter(status=status).order_by("pk"))

    def approve(self) -> None:
        for invoice in self.of(Status.IN_REVIEW):
            try:
                approve(invoice.pk, self.approver)
            except ConflictError:
                approve(invoice.pk, self.approver)

    def issue(self) -> None:
        for invoice in [*self.of(Status.IN_REVIEW), *self.of(Status.APPROVED)]:
            if invoice.status == Status.IN_REVIEW:
                approve(invoice.pk, self.approver)
            try:
                issue(invoice.pk, self.approver)
            except ConflictError:
                return_to_review(invoice.pk, self.clerk, "built anew")

    def push(self) -> None:
        StripePush.objects.filter(done_at=None).update(next_attempt_at=None)
        call_command("push_to_stripe", stdout=StringIO(), stderr=StringIO())

    def pay(self) -> None:
        """Customers and people act, so that the next push and the events have something of everything."""
        for push in StripePush.objects.filter(step="invoice", stripe_status="open", invoice__status=Status.ISSUED):
            chance, invoice = self.random.random(), push.invoice
            told = self.fake.objects[push.stripe_id]
            if chance < 0.5:
                payment = self.fake.pay(told["id"])
                if chance < 0.1:
                    self.fake.refund(payment, 50)
            elif chance < 0.6:
                self.fake.pay(told["id"], told["amount_remaining"] // 2 or 1)
            elif chance < 0.8:
                source = f"hand:{self.months}:{invoice.pk}"
                received = Received(min(Decimal(1), invoice.open_amount), self.start(self.months), source)
                record_payment(invoice.pk, received, self.clerk)
            elif (
                chance < 0.9 and not invoice.paid_amount and not invoice.credited_amount and invoice.kind != "threshold"
            ):
                void(invoice.pk, self.clerk, "wrong")
            else:
                self.credit(invoice)

    def credit(self, invoice: Invoice) -> None:
        left = [position for position, amount in left_to_credit(invoice).items() if amount >= 1]
        if left and invoice.open_amount > 2:
            note = request_credit_note(invoice.pk, {left[0]: Decimal(1)}, "slow", self.clerk)
            issue_credit_note(note.pk, self.approver)

    def hear(self, events: list[dict[str, Any]]) -> None:
        assert set(self.fake.deliver(self.client, events)) <= {200}

    def wrong(self) -> Iterator[str]:
        """After everything was told and heard: the books, Stripe, and every call billed once."""
        self.use_the_rest()
        while self.of(Status.IN_REVIEW) or find_due() or self.fake.events:
            self.issue()
            self.push()
            events, self.fake.events = self.fake.events, []
            self.hear(events)
        yield from wrong(self.fake)
        deliver_all()
        yield from wrongly_delivered(self.receiver)
        yield from wrongly_exported(self.exported)
        for contract in Contract.objects.all():
            usage = contract.invoices.filter(kind=Invoice.Kind.USAGE).exclude(status=Status.VOID)
            if usage.count() != self.months:
                yield f"{contract}: {usage.count()} usage invoices for {self.months} months"
        lines = InvoiceLine.objects.filter(invoice__contract__key="plain", invoice__kind=Invoice.Kind.USAGE)
        lines = lines.filter(kind__in=("usage", "correction")).exclude(invoice__status=Status.VOID)
        billed = lines.aggregate(sum=Sum("amount"))["sum"] or ZERO
        if billed != self.sent["plain"]:
            yield f"plain: {self.sent['plain']} calls were sent, {billed} are billed"

    def use_the_rest(self) -> None:
        """One more month, with what was held back."""
        self.use()
        self.read()
        self.months += 1
        self.put(self.held)
        self.read()
        self.count()
        self.close(self.start(self.months) + timedelta(days=2))
        self.approve()
