"""What must be so after a year: the books, and that Stripe says the same to the cent."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO

from django.core.management import call_command
from django.db.models import Sum

from billing_project.decimals import plain
from catalog.money import ZERO, add
from invoicing.books import INVARIANTS
from invoicing.models import CreditNote, Invoice, JournalPosting, Payment, Status, StripeEvent, StripePush
from invoicing.stripe_items import from_minor
from tests.invoicing.stripe_fake import Fake

ISSUED = (Status.ISSUED, Status.PAID, Status.UNCOLLECTIBLE)
SAME_STATUS = {"paid": "paid", "open": "issued", "void": "void", "uncollectible": "uncollectible"}


def wrong(fake: Fake) -> Iterator[str]:
    """Everything that is not as it must be, one sentence each."""
    yield from books()
    yield from stripe_agrees(fake)
    yield from disputed(fake)
    yield from earned_and_deferred()
    yield from exported()


def books() -> Iterator[str]:
    for invariant in INVARIANTS.values():
        yield from invariant()


def stripe_agrees(fake: Fake) -> Iterator[str]:
    """By invoice, and by customer: billed, paid there, given back there, credited, open."""
    ours: dict[str, list[Decimal]] = defaultdict(lambda: [ZERO] * 5)
    theirs: dict[str, list[Decimal]] = defaultdict(lambda: [ZERO] * 5)
    refunds, taken = refunded(fake), taken_there(fake)
    pushes = StripePush.objects.filter(step="invoice").exclude(stripe_id="").select_related("invoice__customer")
    for push in pushes:
        invoice, told = push.invoice, fake.objects.get(push.stripe_id)
        if told is None:
            if invoice.status != Status.VOID:
                yield f"{invoice}: it is gone from Stripe"
            continue
        currency = str(invoice.total.currency)
        payer = invoice.paid_by.key
        stripe = Payment.objects.filter(invoice=invoice, source__startswith="stripe:")
        paid = stripe.filter(amount__gt=0).aggregate(sum=Sum("amount"))["sum"] or ZERO
        back = -(stripe.filter(amount__lt=0).aggregate(sum=Sum("amount"))["sum"] or ZERO)
        notes = CreditNote.objects.filter(invoice=invoice, status="issued").aggregate(sum=Sum("total"))["sum"] or ZERO
        # Taken there before a credit note or void here was told: a person reads it, and pays it back.
        excess = from_minor(sum(taken[told["id"]]), currency) - paid
        if excess and push.warning.startswith(f"Stripe took {plain(excess)} {currency}"):
            paid += excess
        mine = [invoice.total.amount, paid, back, notes]
        there = [
            from_minor(told["total"], currency),
            from_minor(sum(taken[told["id"]]), currency),
            from_minor(refunds[told["id"]], currency),
            from_minor(sum(n["amount"] for n in fake.of("credit_note") if n["invoice"] == told["id"]), currency),
        ]
        open_there = from_minor(told["amount_remaining"], currency) if told["status"] == "open" else ZERO
        # What bounced after Stripe was told of it counts there still: a person sees a warning.
        bounced = Payment.objects.filter(invoice=invoice, reverses__stripe_push__done_at__isnull=False)
        elsewhere = bounced.aggregate(sum=Sum("amount"))["sum"] or ZERO
        open_here = add([invoice.open_amount, elsewhere]) if told["status"] == "open" else ZERO
        if [*mine, open_here] != [*there, open_there]:
            yield f"{invoice} of {payer}: {[*mine, open_here]}, Stripe {[*there, open_there]}, {told['status']}"
        came_back = Payment.objects.filter(invoice=invoice, amount__lt=0).exists()
        if invoice.status != SAME_STATUS[told["status"]] and not (told["status"] == "paid" and came_back):
            yield f"{invoice}: {invoice.status}, Stripe {told['status']}"
        ours[payer] = [add(pair) for pair in zip(ours[payer], [*mine, open_here], strict=True)]
        theirs[payer] = [add(pair) for pair in zip(theirs[payer], [*there, open_there], strict=True)]
    for payer in {*ours, *theirs}:
        if ours[payer] != theirs[payer]:
            yield f"customer {payer}: {ours[payer]}, Stripe {theirs[payer]}"
    yield from nothing_left_out(fake)


def nothing_left_out(fake: Fake) -> Iterator[str]:
    numbers_there = [row["number"] for row in fake.of("invoice")]
    if len(numbers_there) != len(set(numbers_there)):
        yield "Stripe has an invoice twice"
    ours = set(StripePush.objects.filter(step="invoice").values_list("stripe_id", flat=True))
    for row in fake.of("invoice"):
        if row["id"] not in ours:
            yield f"{row['number']} is in Stripe, and nothing here knows of it"
    if len(fake.of("customer")) != len({row["metadata"]["key"] for row in fake.of("customer")}):
        yield "Stripe has a customer twice"
    for push in StripePush.objects.filter(done_at=None):
        yield f"{push} was never done: {push.last_error}"
    for event in StripeEvent.objects.filter(applied_at=None):
        yield f"{event} still waits"
    unpushed = Invoice.objects.filter(status__in=ISSUED, total__gt=0).exclude(stripe_pushes__step="invoice")
    for invoice in unpushed.exclude(status=Status.PAID):
        yield f"{invoice} was never pushed"


def taken_there(fake: Fake) -> dict[str, list[int]]:
    """What Stripe took for each invoice; not what it was told was paid elsewhere."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in fake.of("invoice_payment"):
        if row["payment"]["type"] == "payment_intent":
            found[row["invoice"]].append(row["amount_paid"])
    return found


def refunded(fake: Fake) -> dict[str, int]:
    of: dict[str, str] = {
        row["payment"]["payment_intent"]: row["invoice"]
        for row in fake.of("invoice_payment")
        if row["payment"].get("payment_intent")
    }
    found: dict[str, int] = defaultdict(int)
    for charge in fake.of("charge"):
        found[of[charge["payment_intent"]]] += charge["amount_refunded"]
    return found


def disputed(fake: Fake) -> Iterator[str]:
    """What banks took back is taken back here, and what they gave again is here again, or a person sees it."""
    for row in fake.of("dispute"):
        sums = Payment.objects.filter(source__startswith=f"stripe-dispute:{row['id']}:")
        entries = sorted(sums.values_list("amount", flat=True))
        amounts = [-row["amount"], row["amount"]] if row["status"] == "won" else [-row["amount"]]
        shown = StripePush.objects.filter(warning__contains=row["id"]).exists()
        currency = str(sums[0].invoice.total.currency) if entries else ""
        if entries != [from_minor(each, currency) for each in amounts if currency] and not shown:
            yield f"dispute {row['id']} ({row['status']}) over {row['amount']}: {entries}"


def earned_and_deferred() -> Iterator[str]:
    """What was billed, less credit notes, is earned, deferred still, or tax: currency by currency."""
    books: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    sums = JournalPosting.objects.values_list("entry__currency", "account").annotate(sum=Sum("amount")).order_by()
    for currency, account, total in sums:
        books[currency][account] = total
    billed: dict[str, Decimal] = defaultdict(Decimal)
    for invoice in Invoice.objects.filter(status__in=ISSUED):
        billed[str(invoice.total.currency)] += invoice.total.amount
    for note in CreditNote.objects.filter(status="issued").select_related("invoice"):
        billed[str(note.invoice.total.currency)] -= note.total
    for currency, amount in billed.items():
        book = books[currency]
        earned, tax = -(book["revenue"] + book["credits"]), -book["tax"]
        # Accruals are taken back on a later day, so over all days nothing is unbilled.
        if book["unbilled"]:
            yield f"{book['unbilled']} {currency} is unbilled after everything was issued"
        if earned - book["deferred_revenue"] + tax != amount:
            yield f"{earned} {currency} earned, {-book['deferred_revenue']} deferred, {tax} tax, {amount} billed"
        if add(book.values()):
            yield f"the accounts in {currency} add up to {add(book.values())}"


def exported() -> Iterator[str]:
    out = StringIO()
    call_command("export_journal", stdout=out)
    if len(out.getvalue().splitlines()) < JournalPosting.objects.count():
        yield "the exported journal is not whole"
