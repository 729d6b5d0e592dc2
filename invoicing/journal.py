"""Journal entries of documents, written in the transaction of the event that causes them, once per source.

Months close in order. What belongs to a closed month lands on the first day of the first open one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Q, Sum
from django.db.models.functions import Coalesce
from msgspec import structs

from billing_project.locks import lock
from catalog.money import ONE, ZERO, add, divide, multiply, negate, subtract
from contracts.balances import PREPAID, Balance, of_contract
from contracts.models import Contract, LedgerEntry
from contracts.open_balances import OpenBalances
from invoicing.billed_lines import billed_lines, label_of
from invoicing.models import (
    AccountingPeriod,
    CreditNote,
    EarnedDays,
    Invoice,
    InvoiceLine,
    JournalEntry,
    JournalPosting,
    Payment,
    Status,
)
from invoicing.revenue import (
    DEFERRED,
    BilledLine,
    Earned,
    Entry,
    Posting,
    entries_of_credit_note,
    entries_of_invoice,
    entry_of_breakage,
    entry_of_payment,
    entry_of_write_off,
    last_day,
    released_by,
    reversed_entry,
)
from invoicing.taxation import read_taxes
from meters.periods import Period

Kind = LedgerEntry.Kind
USED = (Kind.DRAW, Kind.VOID_RETURN, Kind.EXPIRATION)
MOMENT = timedelta(microseconds=1)


def books_zone() -> ZoneInfo:
    """The days of the books are days of this zone; the days usage is earned on are those of its contract."""
    return ZoneInfo(settings.TIME_ZONE)


def first_open_day() -> date | None:
    """The first day that is not closed; None while no month is."""
    last = AccountingPeriod.objects.values_list("month", flat=True).first()
    return (last + timedelta(days=32)).replace(day=1) if last else None


def issue_entries(invoice: Invoice) -> list[Entry]:
    """The entries of an invoice that is being issued, what it releases of commits, and what expired by now. Its draws
    must be posted; its number is not needed yet.
    """
    at = invoice.issued_at or invoice.ending_before
    issued_on = at.astimezone(books_zone()).date()
    commits = _Commits(invoice)
    lines = billed_lines(invoice, commits.released())
    currency = str(invoice.total.currency)
    return [*entries_of_invoice(lines, issued_on, currency), *commits.breakage(at, currency)]


def post_issue(invoice: Invoice, entries: Iterable[Entry]) -> None:
    _post(entries, invoice, f"invoice:{invoice.pk}")


def post_payment(payment: Payment, *, written_off: bool) -> None:
    day = payment.received_at.astimezone(books_zone()).date()
    entry = entry_of_payment(payment.amount, day, written_off=written_off)
    _post([entry], payment.invoice, f"payment:{payment.pk}")


def post_reversal(given: Payment, back: Payment) -> None:
    """The entry of a payment the other way round: where its money went it comes back from."""
    day = back.received_at.astimezone(books_zone()).date()
    _post(_reversed(f"payment:{given.pk}:", day), back.invoice, f"payment:{back.pk}")


def is_written_off(invoice: Invoice) -> bool:
    return JournalEntry.objects.filter(source=f"invoice:{invoice.pk}:write_off").exists()


def post_write_off(invoice: Invoice, at: datetime) -> None:
    entry = entry_of_write_off(invoice.open_amount, at.astimezone(books_zone()).date())
    _post([entry], invoice, f"invoice:{invoice.pk}")


def post_credit_note(note: CreditNote) -> None:
    at = note.issued_at or note.requested_at
    lines = [
        BilledLine(
            row.line.kind,
            row.line.product,
            row.amount,
            (),
            _purchase_label(note.invoice, row.line.balance),
            position=row.line.position,
        )
        for row in note.lines.select_related("line")
    ]
    taxes = {tax.key: tax.amount for tax in read_taxes(note.taxes)} if note.taxes else {"": note.tax}
    entries = entries_of_credit_note(lines, taxes, at.astimezone(books_zone()).date())
    _post(entries, note.invoice, f"credit-note:{note.pk}", note.number or "")


def post_void(invoice: Invoice) -> None:
    """Every entry of a voided invoice, the other way round."""
    _post(_reversed(f"invoice:{invoice.pk}:"), invoice, f"void:{invoice.pk}")


def _reversed(prefix: str, day: date | None = None) -> list[Entry]:
    """The entries whose source begins so, the other way round, on their own days or on one."""
    rows = JournalEntry.objects.filter(source__startswith=prefix).prefetch_related("postings", "earned_days")
    entries = []
    for row in rows.order_by("pk"):
        postings = tuple(Posting(each.account, each.amount, each.product, each.balance) for each in row.postings.all())
        earned = tuple(
            Earned(each.position, each.account, each.product, each.balance, each.first_day, tuple(each.amounts))
            for each in row.earned_days.all()
        )
        part = row.source.removeprefix(prefix)
        entries.append(reversed_entry(Entry(row.day, row.kind, part, postings, earned), day or row.day, part))
    return entries


def write_entries(entries: Sequence[Entry], rows: Sequence[JournalEntry]) -> None:
    """Write entries: `rows` are their unsaved heads, in the same order. Days in closed months become the first open
    one. Must run inside a transaction; the books are locked until it ends.
    """
    lock("books")
    open_day = first_open_day()
    for entry, row in zip(entries, rows, strict=True):
        row.day = max(entry.day, open_day) if open_day else entry.day
    JournalEntry.objects.bulk_create(rows)
    JournalPosting.objects.bulk_create(
        [
            JournalPosting(
                entry=row,
                account=posting.account,
                amount=posting.amount,
                product=posting.product,
                balance=posting.balance,
            )
            for entry, row in zip(entries, rows, strict=True)
            for posting in entry.postings
        ]
    )
    EarnedDays.objects.bulk_create(
        [
            EarnedDays(
                entry=row,
                position=each.position,
                account=each.account,
                product=each.product,
                balance=each.balance,
                first_day=each.first_day,
                amounts=list(each.amounts),
            )
            for entry, row in zip(entries, rows, strict=True)
            for each in entry.earned
        ]
    )


def _post(entries: Iterable[Entry], invoice: Invoice, prefix: str, document: str = "") -> None:
    wanted = [entry for entry in entries if entry.postings]
    if not wanted:
        return
    rows = [
        JournalEntry(
            kind=entry.kind,
            source=f"{prefix}:{entry.part}",
            currency=str(invoice.total.currency),
            customer_id=invoice.customer_id,
            contract_id=invoice.contract_id,
            document=document or invoice.number or "",
        )
        for entry in wanted
    ]
    write_entries(wanted, rows)


def _purchase_label(invoice: Invoice, balance: str) -> str:
    return f"contract:{invoice.contract.key}/{balance}" if balance else ""


class _Commits:
    """The prepaid commits open to an invoice's contract: what was used of them, and what of their price is earned."""

    def __init__(self, invoice: Invoice) -> None:
        self._invoice = invoice
        contract = invoice.contract
        open_now = OpenBalances([contract], {contract.pk: contract.parsed_deal})
        until = max(invoice.ending_before, invoice.issued_at or invoice.ending_before)
        before_tax = _before_tax(contract) if any(tax["inclusive"] for tax in invoice.taxes) else {}
        self._balances: dict[str, list[Balance]] = defaultdict(list)
        for balance in open_now.of(contract, until):
            if balance.kind == PREPAID:
                label = label_of(balance.owner, balance.key)
                basis = multiply(balance.cost_basis, before_tax.get(label, ONE))
                self._balances[label].append(structs.replace(balance, cost_basis=basis))
        self._earned: dict[str, Decimal] = dict(_earned_before(self._balances)) if self._balances else {}

    def released(self) -> dict[int, Decimal]:
        """How much of their price the draws of the invoice earn, by the draw's place among its draws."""
        found: dict[int, Decimal] = {}
        if not self._balances:
            return found
        invoice, currency = self._invoice, str(self._invoice.total.currency)
        own = f"contract:{invoice.contract.key}"
        draws = [
            (place, label_of(draw.get("owner") or own, draw["balance"]), Decimal(draw["amount"]))
            for place, draw in enumerate(invoice.draws)
        ]
        used = defaultdict(Decimal, _used(self._balances, without_expired=True))
        # Its own draws are posted already: they are counted again one by one.
        for _, label, amount in draws:
            used[label] = subtract(used[label], amount)
        for place, label, amount in draws:
            if label in self._balances:
                used[label] = add([used[label], amount])
                basis, earned = self._balances[label][0].cost_basis, self._earned.get(label, ZERO)
                found[place] = released_by(basis, used[label], earned, currency)
                self._earned[label] = add([earned, found[place]])
        return found

    def breakage(self, at: datetime, currency: str) -> list[Entry]:
        """What is earned because it expired: all that was used or is gone, less what is earned already."""
        entries: list[Entry] = []
        if not self._balances:
            return entries
        used = _used(self._balances, without_expired=False)
        for label, balances in self._balances.items():
            left = released_by(balances[0].cost_basis, used[label], self._earned.get(label, ZERO), currency)
            if left:
                ends = [each.ending_before for each in balances if each.ending_before and each.ending_before <= at]
                span = Period(max(ends) - timedelta(days=1), max(ends)) if ends else Period(at - MOMENT, at)
                entry = entry_of_breakage(left, label, last_day(span, books_zone()))
                entries.append(replace(entry, part=f"breakage:{label}"))
        return entries


def _before_tax(contract: Contract) -> dict[str, Decimal]:
    """How much of what a contract's commits cost is before tax, where it was included, by their label."""
    rows = InvoiceLine.objects.filter(kind="commit_purchase", gross_amount__gt=0, invoice__contract=contract)
    rows = rows.exclude(invoice__status=Status.VOID)
    found = rows.values_list("balance").annotate(net=Sum("amount"), gross=Sum("gross_amount")).order_by()
    return {label_of(of_contract(contract.key), balance): divide(net, gross) for balance, net, gross in found}


def _owner_filter(labels: Iterable[str]) -> Q:
    """The ledger entries of balances: labels are `contract:KEY/BALANCE` or `customer:KEY/BALANCE`."""
    found = Q(pk__in=[])
    for label in labels:
        owner, _, balance = label.partition("/")
        kind, _, key = owner.partition(":")
        if kind == "contract":
            found |= Q(contract__key=key, balance=balance)
        else:
            found |= Q(contract=None, customer__key=key, balance=balance)
    return found


def _used(labels: Mapping[str, object], *, without_expired: bool) -> Mapping[str, Decimal]:
    kinds = [kind for kind in USED if not (without_expired and kind == Kind.EXPIRATION)]
    rows = LedgerEntry.objects.filter(_owner_filter(labels), kind__in=kinds)
    used: dict[str, Decimal] = defaultdict(Decimal)
    for contract, customer, balance, total in (
        rows.values_list("contract__key", "customer__key", "balance").annotate(total=Sum("amount")).order_by()
    ):
        owner = f"contract:{contract}" if contract else f"customer:{customer}"
        used[label_of(owner, balance)] = negate(total)
    return used


def _earned_before(labels: Mapping[str, object]) -> Iterable[tuple[str, Decimal]]:
    rows = JournalPosting.objects.filter(
        account=DEFERRED, balance__in=list(labels), entry__kind__in=("earned", "breakage")
    )
    return rows.values_list("balance").annotate(total=Coalesce(Sum("amount"), ZERO)).order_by()
