"""What people, customers and machines do in the year: one seed, one year."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from random import Random
from typing import Any

from django.core.management import call_command
from django.test import Client

from billing_project.errors import ConflictError, RuleError
from billing_project.models import ApiKey
from catalog.money import round_amount
from contracts.claiming import assign
from contracts.models import Contract, ContractTemplate, Customer
from contracts.sign_up import sign_up
from invoicing.accounting import close_month
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.parsing import parse
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, left_to_credit, reject_credit_note, request_credit_note
from invoicing.deciding_late import decide
from invoicing.lifecycle import approve, issue, reject, release, return_to_review
from invoicing.lines_by_hand import Written, add_line
from invoicing.models import (
    AlertRule,
    AutoApproval,
    Invoice,
    LateUsage,
    Payment,
    Status,
    StripeCustomer,
    StripePush,
)
from invoicing.models.alerts import AlertKind
from invoicing.payments import Received, record_payment, reverse_payment, write_off
from invoicing.reacting import react
from invoicing.recharges import HAVING_ONE as RECHARGED
from invoicing.recharges import recharge_and_release
from invoicing.spend_thresholds import bill_thresholds
from invoicing.stripe_pushing import retry
from invoicing.voiding import void
from meters.backlog import uncounted_events
from meters.rollup import roll_up
from tests.factories import user
from tests.invoicing.stripe_fake import Fake
from tests.year.agreements import AGREED
from tests.year.clock import Clock
from tests.year.terms import KINDS, billing_file, key_of, lost, senders

START = datetime(2025, 12, 20, tzinfo=UTC)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
FAILURES = ["500", "429", "timeout", "lost", "refuse"]
MODELS = ["small", "small", "large"]
TRIES = 4


def month_start(number: int) -> datetime:
    """The first of a month of the year from 1; 13 is January of the next."""
    return datetime(2026 + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=UTC)


@dataclass
class Year:
    """`happened` counts what was done, by name."""

    clock: Clock
    fake: Fake
    customers: int
    months: int
    seed: int = 1
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random, self.usage, self.network = (
            Random(f"{self.seed} {name}")  # noqa: S311 - the same year again, no secret
            for name in ("people", "usage", "network")
        )
        self.sent_until = FIRST
        self.held: list[tuple[datetime, dict[str, Any]]] = []
        self.paid_with: dict[str, list[str]] = {}
        self.refunded: Counter[str] = Counter()
        self.disputes: dict[str, tuple[str, int]] = {}
        self.number = 0
        self.clerk, self.approver, self.issuer = (user("Finance", name) for name in ("clerk", "approver", "issuer"))
        _, secret = ApiKey.issue("product", ["ingest"])
        self.client = Client(headers={"Authorization": f"Bearer {secret}"})
        self.fake.now = lambda: self.clock.now().timestamp()
        AutoApproval.objects.create(currency="USD", largest_total=Decimal(3))
        AlertRule.objects.create(name="spend", kind=AlertKind.SPEND, limit=Decimal(30), currency="USD")
        AlertRule.objects.create(name="commit", kind=AlertKind.COMMIT, limit=Decimal(80))
        apply_entries(parse([("", billing_file(self.customers))]), self.clock.now())
        for number, customer in enumerate(
            Contract.objects.values_list("customer", flat=True).distinct().order_by("pk")
        ):
            if number % 3 == 0:
                StripeCustomer.objects.update_or_create(
                    customer_id=customer, defaults={"collection": "charge_automatically"}
                )

    def run(self, say: Callable[[str], None] = lambda text: None) -> None:
        for month in range(1, self.months + 1):
            first, after = month_start(month), month_start(month + 1)
            for day in (4, 11, 18, 26):
                self.step(first.replace(day=day, hour=11))
                self.agreements(month, day)
                self.collect()
                if day == 11 and month > 1:
                    close_month(month_start(month - 1).date(), None)
                    self.happened["months closed"] += 1
            # Everything of the month is over, the last day's grace too, wherever its contract is.
            self.step(after + timedelta(days=1, hours=20))
            say(f"{first:%B}: {dict(sorted(self.happened.items()))}")
        self.end()

    def end(self) -> None:
        """Late events arrive, the last invoices go out and most are paid."""
        last = month_start(self.months + 1)
        for day in (9, 16):
            self.held = [(last, event) for _, event in self.held]
            self.step(last.replace(day=day), usage=False)
            self.collect()
        close_month(month_start(self.months).date(), None)
        self.settle_stripe()

    def step(self, at: datetime, *, usage: bool = True) -> None:
        self.clock.move_to(at)
        if usage:
            self.use(min(at, month_start(self.months + 1)))
        self.arrive_late(at)
        while roll_up().more or uncounted_events():
            time.sleep(0.05)  # a transaction somewhere on this server is older than the last events
        self.happened["threshold invoices"] += bill_thresholds(self.clock.now())
        self.happened["recharges"] += react("recharges", recharge_and_release, RECHARGED).done
        call_command("check_alerts", stdout=StringIO())
        call_command("send_reminders", stdout=StringIO())
        summary = close_periods(self.clock.now())
        assert not summary.not_searched, summary.not_searched
        self.late()
        self.review()
        self.exchange()

    # Usage.

    def use(self, until: datetime) -> None:
        """Events since the last time; some are held back for days or weeks, some are sent twice."""
        events = [event for number in range(self.customers) for event in self.events_of(number, until)]
        now = [event for event in events if not self.hold(event)]
        self.sent_until = until
        self.post(now + self.usage.sample(now, len(now) // 20))

    def events_of(self, number: int, until: datetime) -> Iterator[dict[str, Any]]:
        span = (until - self.sent_until).total_seconds()
        for sender in senders(number):
            for type_ in KINDS[number % len(KINDS)].uses:
                for _ in range(self.usage.randint(1, 4)):
                    self.number += 1
                    yield {
                        "specversion": "1.0",
                        "source": "year",
                        "id": f"e{self.number}",
                        "type": type_,
                        "subject": sender,
                        "time": (self.sent_until + timedelta(seconds=self.usage.random() * span)).isoformat(),
                        "data": self.properties(type_),
                    }

    def properties(self, type_: str) -> dict[str, Any]:
        chance = self.usage
        of: dict[str, Callable[[], dict[str, Any]]] = {
            "llm": lambda: {
                "tokens": chance.randint(1, 250_000),
                "model": chance.choice(MODELS),
                "region": chance.choice(["eu", "us"]),
            },
            "load": lambda: {"level": f"{chance.randint(1, 4000) / 100}"},
            "disk": lambda: {"change": f"{chance.randint(0, 3000) / 1000}"},
            "login": lambda: {"person": f"p{chance.randint(1, 40)}"},
            "sale": lambda: {"amount": f"{chance.randint(1, 20000) / 100}"},
            "resale": lambda: {"amount": f"{chance.randint(1, 90000) / 10000}"},
        }
        return of[type_]() if type_ in of else {}

    def hold(self, event: dict[str, Any]) -> bool:
        if self.usage.random() > 0.04:
            return False
        at = datetime.fromisoformat(event["time"]) + timedelta(days=self.usage.randint(2, 70))
        self.held.append((at, event))
        self.happened["late events"] += 1
        return True

    def arrive_late(self, at: datetime) -> None:
        self.post([event for due, event in self.held if due <= at])
        self.held = [(due, event) for due, event in self.held if due > at]

    def post(self, events: list[dict[str, Any]]) -> None:
        for start in range(0, len(events), 500):
            body = json.dumps(events[start : start + 500])
            answer = self.client.post("/api/v1/events", body, content_type="application/cloudevents-batch+json")
            assert answer.status_code == 204, answer.content
        self.happened["events"] += len(events)

    # Contracts.

    def agreements(self, month: int, day: int) -> None:
        for number in range(self.customers):
            kind, key = KINDS[number % len(KINDS)], key_of(number)
            if kind.signs and (month, day) == (3, 4):
                template, customer = ContractTemplate.objects.get(key="starter"), Customer.objects.get(key=key)
                sign_up(template, customer, self.clock.now(), f"{key}-2026", self.clerk)
                self.happened["signed up"] += 1
            if kind.loses and (month, day) == (6, 11):
                assign([lost(key)], Customer.objects.get(key=key))
                self.happened["keys assigned"] += 1
            act = AGREED.get((kind.name, month, day))
            contract = Contract.objects.filter(customer__key=key, shadow=False).order_by("starting_at").last()
            if act and contract:
                act(contract, self.clerk, self.clock.now())
                self.happened[f"contracts {act.__name__.strip('_')}"] += 1

    # Invoices.

    def late(self) -> None:
        """Most late usage goes on the next invoice by itself; some is credited or written off, some waits a while."""
        for row in LateUsage.objects.filter(decision=LateUsage.Decision.PENDING):
            decide(row.pk, "next_invoice", self.clerk)
        for row in LateUsage.objects.filter(
            decision=LateUsage.Decision.NEXT_INVOICE, found_at__gte=self.clock.now() - timedelta(hours=1)
        ):
            self.happened["late usage rows"] += 1
            chance = self.random.random()
            decision = "credit_note" if row.amount < 0 and chance < 0.5 else "write_off" if chance > 0.9 else ""
            decision = decision or ("pending" if chance > 0.85 else "")
            if not decision:
                continue
            try:
                decided = decide(row.pk, decision, self.clerk, "agreed")
            except RuleError:
                self.happened["late usage not credited"] += 1
                continue
            self.happened[f"late usage {decision}"] += 1
            if decided.credit_note:
                issue_credit_note(decided.credit_note.pk, self.issuer)

    def review(self) -> None:
        for invoice in Invoice.objects.filter(status__in=(Status.IN_REVIEW, Status.APPROVED)).order_by("pk"):
            self.bring_out(invoice)

    def bring_out(self, invoice: Invoice) -> None:
        """Through review to a number, as people do: a look, sometimes a change, a second look when told to."""
        chance = self.random.random()
        if invoice.status == Status.IN_REVIEW and chance < 0.06:
            add_line(invoice.pk, self.line(invoice), self.clerk)
            self.happened["lines by hand"] += 1
        elif invoice.status == Status.IN_REVIEW and chance < 0.1:
            reject(invoice.pk, self.approver, "odd")
            release(invoice.pk, self.clerk, "looked at")
            self.happened["rejected"] += 1
        for _ in range(TRIES):
            try:
                if Invoice.objects.get(pk=invoice.pk).status == Status.IN_REVIEW:
                    approve(invoice.pk, self.approver)
                issue(invoice.pk, self.issuer)
            except ConflictError:
                self.happened["looked at again"] += 1
                if Invoice.objects.get(pk=invoice.pk).status == Status.APPROVED:
                    return_to_review(invoice.pk, self.clerk, "balance moved")
                continue
            self.happened["issued"] += 1
            return
        raise AssertionError(f"{invoice.pk} is never issued")

    def line(self, invoice: Invoice) -> Written:
        sign = -1 if self.random.random() < 0.3 else 1
        return Written("Agreed on the phone", Decimal(sign * self.random.randint(1, 9)), "a favour")

    # Money.

    def collect(self) -> None:
        rows = Invoice.objects.exclude(status__in=(Status.DRAFT, Status.IN_REVIEW, Status.APPROVED, Status.VOID))
        for invoice in list(rows.filter(total__gt=0).order_by("pk")):
            pushed = StripePush.objects.filter(invoice=invoice, step="invoice").exclude(stripe_id="").first()
            told = self.fake.objects.get(pushed.stripe_id) if pushed else None
            for done in self.one_act(invoice, told):
                self.happened[done] += 1
        self.settle_disputes()
        self.exchange()

    def one_act(self, invoice: Invoice, told: dict[str, Any] | None) -> Iterator[str]:
        chance = self.random.random()
        if invoice.status == Status.PAID:
            yield from self.after_payment(invoice, told, chance)
        elif told and told["status"] in ("open", "uncollectible") and chance < 0.5:
            yield from self.through_stripe(invoice, told, chance)
        elif invoice.status == Status.UNCOLLECTIBLE or invoice.open_amount <= 0:
            return
        elif chance < 0.62:
            yield from self.by_hand(invoice, whole=chance < 0.56)
        elif chance < 0.66 and not invoice.paid_amount and not invoice.credited_amount:
            yield from self.voided(invoice)
        elif chance < 0.74:
            yield from self.credited(invoice)
        elif chance > 0.85 and invoice.due_at and invoice.due_at + timedelta(days=30) < self.clock.now():
            write_off(invoice.pk, self.clerk, "gone")
            yield "written off"

    def through_stripe(self, invoice: Invoice, told: dict[str, Any], chance: float) -> Iterator[str]:
        remaining = told["amount_remaining"]
        if chance < 0.08:
            self.fake.fail_payment(told["id"])
            yield "payments failed"
            return
        step = 10 if told["currency"] == "kwd" else 1
        amount = step * self.random.randint(1, remaining // step) if chance < 0.16 else remaining
        self.paid_with.setdefault(told["id"], []).append(self.fake.pay(told["id"], amount))
        yield "paid in Stripe" if amount == remaining else "paid in part in Stripe"

    def by_hand(self, invoice: Invoice, *, whole: bool) -> Iterator[str]:
        currency = str(invoice.total.currency)
        amount = invoice.open_amount if whole else self.part_of(invoice.open_amount, 3, currency)
        if amount > 0:
            self.number += 1
            payment = record_payment(
                invoice.pk, Received(amount, self.clock.now(), f"hand:{self.number}", reference="bank"), self.clerk
            )
            yield "paid by hand" if whole else "paid in part by hand"
            if self.random.random() < 0.1:
                reverse_payment(payment.pk, self.clerk, "bounced")
                yield "bounced"

    def part_of(self, amount: Decimal, parts: int, currency: str) -> Decimal:
        """Stripe has no thousandths of a dinar, only tens of them."""
        return round_amount(amount / parts, "USD" if currency == "KWD" else currency)

    def voided(self, invoice: Invoice) -> Iterator[str]:
        try:
            void(invoice.pk, self.issuer, "wrong address")
        except RuleError:
            yield "not voidable"
            return
        yield "voided"

    def credited(self, invoice: Invoice) -> Iterator[str]:
        left = {position: amount for position, amount in left_to_credit(invoice).items() if amount > 0}
        if not left:
            return
        position = self.random.choice(sorted(left))
        currency = str(invoice.total.currency)
        wanted = left[position] if self.random.random() < 0.3 else self.part_of(left[position], 4, currency)
        if wanted <= 0:
            return
        try:
            note = request_credit_note(invoice.pk, {position: wanted}, "was slow", self.clerk)
        except RuleError:
            yield "nothing left to credit"
            return
        if self.random.random() < 0.2:
            reject_credit_note(note.pk, self.approver, "no")
            yield "credit notes rejected"
        else:
            issue_credit_note(note.pk, self.approver)
            yield "credit notes"

    def after_payment(self, invoice: Invoice, told: dict[str, Any] | None, chance: float) -> Iterator[str]:
        if not told or chance > 0.05 or not self.paid_with.get(told["id"]):
            return
        payment = self.random.choice(self.paid_with[told["id"]])
        (made,) = [row for row in self.fake.of("invoice_payment") if row["payment"].get("payment_intent") == payment]
        left = made["amount_paid"] - self.refunded[payment]
        if left > 0 and Payment.objects.filter(invoice=invoice, source__startswith="stripe:").exists():
            step = 10 if str(invoice.total.currency) == "KWD" else 1
            amount = step * self.random.randint(1, left // step)
            self.refunded[payment] += amount
            if chance < 0.01:
                self.disputes[self.fake.dispute(payment, amount)] = payment, amount
                yield "disputes"
            else:
                self.fake.refund(payment, amount)
                yield "refunds"

    def settle_disputes(self) -> None:
        """Some are won, the others are lost some day."""
        for dispute, (payment, amount) in list(self.disputes.items()):
            chance = self.random.random()
            if chance < 0.2:
                self.fake.win(dispute)
                self.refunded[payment] -= amount
                self.happened["disputes won"] += 1
            if chance < 0.3:
                del self.disputes[dispute]

    # Stripe.

    def exchange(self) -> None:
        """Push what is due, with accidents; events come back late, twice and in any order."""
        first = len(self.fake.calls) + 1
        for call in range(first, first + 60):
            if self.network.random() < 0.02:
                self.fake.fail[call] = self.network.choice(FAILURES)
        self.push()
        events, self.fake.events = self.fake.events, []
        self.network.shuffle(events)
        later = {index for index in range(len(events)) if self.network.random() < 0.1}
        now = [event for index, event in enumerate(events) if index not in later]
        answers = self.fake.deliver(self.client, now + self.network.sample(now, len(now) // 10))
        assert set(answers) <= {200}, Counter(answers)
        self.fake.events += [event for index, event in enumerate(events) if index in later]
        self.happened["events from Stripe"] += len(answers)

    def push(self) -> None:
        out = StringIO()
        call_command("push_to_stripe", stdout=out, stderr=StringIO())
        for row in StripePush.objects.filter(blocked=True):
            # A person reads it and tries again; what nobody foresaw must be an accident made here.
            assert "brand_new_error" in row.last_error, (row, row.last_error)
            retry(row.pk, self.clerk)
            self.happened["retried by a person"] += 1
        StripePush.objects.update(next_attempt_at=None)

    def settle_stripe(self) -> None:
        """Nothing fails any more: what is left is told, and heard."""
        self.fake.fail = {}
        while True:
            self.push()
            if not self.fake.events and not StripePush.objects.filter(done_at=None).exists():
                return
            assert set(self.fake.deliver(self.client)) <= {200}


# What must come to pass in every whole year.
WHOLE = (
    "bounced", "contracts amended", "contracts credited", "contracts ended", "contracts hired", "contracts let_go",
    "contracts renewed", "credit notes", "credit notes rejected", "disputes", "disputes won", "keys assigned",
    "late events", "late usage credit_note", "late usage pending", "late usage rows", "late usage write_off",
    "lines by hand", "months closed", "paid by hand", "paid in Stripe", "paid in part by hand",
    "paid in part in Stripe", "payments failed", "recharges", "refunds", "rejected", "retried by a person", "signed up",
    "threshold invoices", "voided", "written off",
)  # fmt: skip
