"""What commits do to the cost of lines, for FOCUS: what a purchase lets one use, what usage that is paid costs."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from catalog.money import ZERO, add, divide, multiply, negate, split, subtract
from contracts.models import Customer
from invoicing.models import Invoice, InvoiceLine, JournalPosting
from invoicing.revenue import DEFERRED


@dataclass(frozen=True, slots=True)
class Paid:
    """By line: `shifted` is what to add to the billed cost for the effective cost; usage that a commit paid costs what
    it released of the commit's price, the draw that pays it costs nothing. `drawn` is how much a commit paid of a line.
    """

    shifted: dict[int, Decimal]
    drawn: dict[int, Decimal]


def paid_by_commits(lines: Sequence[InvoiceLine], invoices: Mapping[int, Invoice]) -> Paid:
    covered = {_place(line): line.pk for line in reversed(lines) if line.kind != "draw" and line.balance}
    released = _released(lines, invoices)
    paid = Paid(defaultdict(Decimal), defaultdict(Decimal))
    for line in lines:
        if line.kind != "draw":
            continue
        used, release = covered.get(_place(line)), released.get(line.pk, ZERO)
        if used is None:
            paid.shifted[line.pk] = release
            continue
        paid.drawn[used] = subtract(paid.drawn[used], line.amount)
        if not line.unit:
            paid.shifted[line.pk] = negate(line.amount)
            paid.shifted[used] = add([paid.shifted[used], line.amount, release])
    return paid


def _place(line: InvoiceLine) -> tuple[Any, ...]:
    group = tuple(sorted(line.group.items()))
    return line.invoice_id, line.product, group, line.starting_at, line.ending_before, line.balance, line.segment


def committed(line: InvoiceLine, invoice: Invoice, drawn: Decimal | None) -> tuple[Decimal, str] | None:
    """How much of a commit, in its unit, a purchase lets one use or usage took of it (`drawn`; None: what counts
    against a postpaid one); None for lines without one.
    """
    currency = str(invoice.total.currency)
    if not line.balance or line.kind in ("draw", "true_up"):
        return None
    if line.kind != "commit_purchase":
        return line.amount if drawn is None else drawn, line.unit or currency
    for usable, price, unit in _terms(line, invoice):
        cost = line.amount if line.gross_amount is None else line.gross_amount
        return multiply(cost, divide(usable, price)) if price else usable, unit or currency
    return line.amount, currency


def _terms(line: InvoiceLine, invoice: Invoice) -> Iterator[tuple[Decimal, Decimal, str]]:
    """What a commit lets one use, what that costs, and its unit: as its contract or customer says now."""
    funds = _funds(invoice.customer) if line.rate.startswith("shared-commit:") else [invoice.contract.deal]
    for terms in funds:
        for each in terms.get("commits", ()):
            if each["key"] == line.balance:
                yield _sum(each.get("access")), _sum(each.get("invoices")), each.get("unit", "")
        for each in terms.get("recurring_commits", ()):
            if each["key"] == line.balance:
                price = Decimal(each.get("invoice_amount") or each["amount"])
                yield Decimal(each["amount"]), price, each.get("unit", "")


def _funds(customer: Customer | None) -> Iterator[Mapping[str, Any]]:
    while customer is not None:
        yield customer.funds or {}
        customer = customer.parent


def _sum(amounts: Any) -> Decimal:
    return add(Decimal(each["amount"]) for each in amounts or ())


def _released(lines: Sequence[InvoiceLine], invoices: Mapping[int, Invoice]) -> dict[int, Decimal]:
    """What each draw released of the price of its commit, by line: what was posted for the commit, split over them."""
    draws: dict[tuple[str, str], list[InvoiceLine]] = defaultdict(list)
    owners = {
        (pk, draw["position"]): draw.get("owner") or f"contract:{invoice.contract.key}"
        for pk, invoice in invoices.items()
        for draw in invoice.draws
    }
    for line in lines:
        if line.kind == "draw":
            owner = owners.get((line.invoice_id, line.position), "")
            draws[str(invoices[line.invoice_id].number), f"{owner}/{line.balance}"].append(line)
    posted = JournalPosting.objects.filter(
        entry__document__in={document for document, _ in draws}, entry__kind="earned", account=DEFERRED
    )
    sums = posted.exclude(balance="").values_list("entry__document", "balance").annotate(total=Sum("amount")).order_by()
    found: dict[int, Decimal] = {}
    for document, balance, total in sums:
        rows = draws.get((document, balance), [])
        currency = str(invoices[rows[0].invoice_id].total.currency) if rows else ""
        parts = split(total, [negate(row.amount) for row in rows], currency) if rows else []
        found |= {row.pk: part for row, part in zip(rows, parts, strict=True)}
    return found
