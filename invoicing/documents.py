"""The invoice and the credit note as the customer gets them: what stands on them, as text, and as HTML.

An issued document shows what it copied when it was issued, and what was paid and credited since.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Sum
from django.template.loader import render_to_string

from catalog.group_values import group_text
from catalog.money import ZERO, multiply, negate, round_amount, subtract
from contracts.balances import of_contract
from contracts.ledger import entries_of, owner_named
from invoicing.credit_notes import taxes_of
from invoicing.document_text import Words
from invoicing.draft_rows import bill_to
from invoicing.models import CreditNote, Invoice, InvoiceLine, Status, StripePush
from invoicing.taxation import HUNDRED, TaxTotal, read_taxes

BELOW_THE_LINES = ("tax", "already_invoiced")


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A line of the table; `tiers` are the quantities and prices it is made of."""

    name: str
    details: tuple[str, ...]
    quantity: str
    unit_price: str
    tax: str
    amount: str
    tiers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Total:
    """A line of the totals."""

    words: str
    amount: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class ShownBalance:
    """A commit or credit that paid: what it paid here, and what was left of it after."""

    name: str
    drawn: str
    left: str


@dataclass(frozen=True, slots=True)
class ShownDocument:
    """Everything that stands on a document, as text."""

    title: str
    heading: str
    warning: str
    draft: bool
    seller: Mapping[str, str]
    addressed: str
    bill_to: Mapping[str, str]
    facts: tuple[tuple[str, str], ...]
    columns: tuple[str, str, str, str]
    lines: tuple[ShownLine, ...]
    sums: tuple[Total, ...]
    balances: tuple[ShownBalance, ...] = ()
    notes: tuple[str, ...] = ()
    pay_url: str = ""
    reason: str = ""
    language: str = "en"
    payment: tuple[tuple[str, str], ...] = ()

    @property
    def by_rate(self) -> bool:
        """Whether lines are taxed by several rates."""
        return any(line.tax for line in self.lines)


def html(shown: ShownDocument, *, paged: bool = False) -> str:
    """The document as a page; `paged`: for paper, without a button."""
    return render_to_string("invoicing/document.html", {"document": shown, "paged": paged})


def file_name(about: Invoice | CreditNote, extension: str) -> str:
    """How a file of a document is called: by its number, or as a draft."""
    draft = f"draft-{about.pk}" if isinstance(about, Invoice) else f"credit-note-{about.pk}"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", about.number or draft).strip("-.")
    return f"{name}.{extension}"


def pay_url(invoice: Invoice) -> str:
    """Where the customer pays online; empty when there is nothing to pay there."""
    if invoice.status != Status.ISSUED:
        return ""
    first = invoice.stripe_pushes.filter(step=StripePush.Step.INVOICE, stripe_status="open").first()
    return first.hosted_url if first else ""


def shown_invoice(invoice: Invoice, lines: Sequence[InvoiceLine] | None = None) -> ShownDocument:
    """An invoice; an open one as a draft, without a number. `lines`: of one that is not as it is stored."""
    draft = not invoice.frozen
    parties = (settings.SELLER, bill_to(invoice)) if draft else (invoice.seller, invoice.bill_to)
    seller, to = parties
    words = Words(to.get("locale", ""), invoice.contract.zone, str(invoice.total.currency))
    rows = list(invoice.lines.order_by("position")) if lines is None else lines
    taxes = taxes_of(invoice)
    name = to.get("name", "")
    return ShownDocument(
        title=f"Draft invoice for {name}" if draft else f"Invoice {invoice.number}",
        heading="Draft invoice" if draft else "Invoice",
        warning=_warning(invoice),
        draft=draft,
        seller=seller,
        addressed="Bill to",
        bill_to=to,
        facts=tuple((name, value) for name, value in _facts(invoice, words) if value),
        columns=("Description", "Quantity", "Unit price", "Amount"),
        lines=tuple(_shown_lines(invoice, rows, taxes, words)),
        sums=tuple(_sums(invoice, rows, taxes, words)),
        balances=() if draft else tuple(_balances(invoice, rows, words)),
        notes=tuple(_notes(taxes)),
        pay_url=pay_url(invoice),
        payment=tuple(_payment(invoice, seller, words)),
    )


def shown_credit_note(note: CreditNote) -> ShownDocument:
    """A credit note; one that is only asked for as a draft, without a number."""
    invoice = note.invoice
    seller, to = note.seller or settings.SELLER, note.bill_to or invoice.bill_to
    words = Words(to.get("locale", ""), invoice.contract.zone, str(invoice.total.currency))
    draft = note.status != CreditNote.Status.ISSUED
    taxes = read_taxes(note.taxes) or ((TaxTotal("", "Tax", "S", ZERO, note.subtotal, note.tax),) if note.tax else ())
    facts = (
        ("Credit note number", note.number or ""),
        ("Date", words.day(note.issued_at)),
        ("Credits invoice", f"{invoice.number} of {words.day(invoice.issued_at)}"),
        *_common_facts(invoice, words),
    )
    rejected = note.status == CreditNote.Status.REJECTED
    warning = "Rejected: it was never issued." if rejected else "Not a credit note yet: nobody has issued it."
    return ShownDocument(
        title=f"Draft credit note for {to.get('name', '')}" if draft else f"Credit note {note.number}",
        heading="Draft credit note" if draft else "Credit note",
        warning=warning if draft else "",
        draft=draft,
        seller=seller,
        addressed="Credited to",
        bill_to=to,
        facts=tuple((name, value) for name, value in facts if value),
        columns=("Line of the invoice", "", "Invoiced", "Credited"),
        lines=tuple(_credited_lines(note, taxes, words)),
        sums=tuple(_credit_sums(note, taxes, words)),
        notes=tuple(_notes(taxes)),
        reason=note.reason,
        payment=tuple(_after_credit(note, seller, words)),
    )


def _after_credit(note: CreditNote, seller: Mapping[str, str], words: Words) -> Iterator[tuple[str, str]]:
    gone = f"{words.amount(note.total)} of invoice {note.invoice.number} is no longer due"
    yield "", f"{gone}; what was paid already is given back or offset."
    if seller.get("email"):
        yield "", f"Questions about this credit note: {seller['email']}"


def _warning(invoice: Invoice) -> str:
    if not invoice.frozen:
        return "Not an invoice yet: amounts may still change."
    return "Void" if invoice.status == Status.VOID else ""


def _facts(invoice: Invoice, words: Words) -> Iterator[tuple[str, str]]:
    if invoice.frozen:
        yield "Invoice number", invoice.number or ""
        yield "Invoice date", words.day(invoice.issued_at)
        yield "Due date", words.day(invoice.due_at)
    if invoice.replaces is not None:
        yield "Replaces", invoice.replaces.number or ""
    yield from _common_facts(invoice, words)


def _common_facts(invoice: Invoice, words: Words) -> Iterator[tuple[str, str]]:
    yield "Service period", words.span(invoice.starting_at, invoice.ending_before)
    yield "Purchase order", invoice.purchase_order if invoice.frozen else invoice.contract.purchase_order
    yield "Contract", str(invoice.contract)
    yield "Currency", words.currency


def _percents(taxes: Iterable[TaxTotal], words: Words) -> dict[str, str]:
    """What stands in the column of tax, by key; with one rate for everything there is none."""
    found = {tax.key: f"{words.number(tax.percent)}%" if tax.category == "S" else tax.category for tax in taxes}
    return found if len(found) > 1 else {}


def _shown_lines(
    invoice: Invoice, rows: Sequence[InvoiceLine], taxes: Sequence[TaxTotal], words: Words
) -> Iterator[ShownLine]:
    percents = _percents(taxes, words)
    span = words.span(invoice.starting_at, invoice.ending_before)
    for row in rows:
        if row.kind in BELOW_THE_LINES:
            continue
        own = words.span(row.starting_at, row.ending_before)
        flat = bool(row.tiers) and not any(Decimal(tier["quantity"]) for tier in row.tiers)
        by_tier = row.unit_amount is None and not flat
        amount = row.amount if row.gross_amount is None else row.gross_amount
        counted = row.kind not in ("draw", "discount") and not flat
        yield ShownLine(
            name=f"Covered by {row.name}" if row.kind == "draw" else row.name,
            details=tuple(filter(None, [group_text(row.group), own if own != span else "", *_why(row, words)])),
            quantity=words.number(row.billed_quantity) if counted and row.billed_quantity and not _part(row) else "",
            unit_price="" if row.unit_amount is None else words.unit_price(row.unit_amount),
            tax=percents.get(row.tax_key, ""),
            amount=f"{words.number(amount)} {row.unit}" if row.unit else words.amount(amount),
            tiers=tuple(_tiers(row, words)) if by_tier else (),
        )


def _part(row: InvoiceLine) -> bool:
    """Whether the line is for a part of a charge: quantity and tiers are those of the whole."""
    return row.share is not None and row.share != 1


def _why(row: InvoiceLine, words: Words) -> Iterator[str]:
    if row.share is not None and _part(row):
        percent = round_amount(multiply(row.share, HUNDRED), "USD")
        yield f"{words.number(percent)}% of the charge for {words.number(row.billed_quantity)}"
    if row.balance and row.kind not in ("draw", "commit_purchase", "true_up"):
        yield f"Covered by {row.balance}"


def _tiers(row: InvoiceLine, words: Words) -> Iterator[tuple[str, str]]:
    for tier in row.tiers:
        flat = Decimal(tier["flat_amount"])
        more = f" + {words.unit_price(flat)} flat" if flat else ""
        yield words.number(Decimal(tier["quantity"])), words.unit_price(Decimal(tier["unit_amount"])) + more


def _sums(invoice: Invoice, rows: Sequence[InvoiceLine], taxes: Sequence[TaxTotal], words: Words) -> Iterator[Total]:
    earlier = [row for row in rows if row.kind == "already_invoiced"]
    before_tax = subtract(subtract(invoice.subtotal.amount, invoice.discount), invoice.credits_applied)
    if taxes or earlier:
        yield Total("Total before tax", words.amount(before_tax))
    yield from _tax_sums(taxes, words)
    tax_of = {each.number: each for each in Invoice.objects.filter(number__in=[row.source for row in earlier])}
    for row in earlier:
        known = tax_of.get(row.source)
        holds = f" (with {words.amount(known.tax)} tax)" if known and known.tax else ""
        yield Total(f"{row.name}{holds}", words.amount(row.amount))
    if not invoice.frozen:
        yield Total("Total", words.amount(invoice.total.amount), strong=True)
        return
    settled = list(_settled(invoice, words))
    if settled or invoice.status == Status.VOID:
        yield Total("Total", words.amount(invoice.total.amount), strong=invoice.status == Status.VOID)
        yield from settled
    if invoice.status != Status.VOID:
        yield Total(
            "Amount due", words.amount(max(invoice.open_amount, ZERO) if settled else invoice.total.amount), True
        )
        if settled and invoice.open_amount < 0:
            yield Total("To be given back", words.amount(negate(invoice.open_amount)), True)


def _settled(invoice: Invoice, words: Words) -> Iterator[Total]:
    for payment in invoice.payments.order_by("received_at", "pk"):
        what = "Paid" if payment.amount > 0 else "Given back"
        about = f", {payment.reference}" if payment.reference else ""
        yield Total(f"{what} {words.day(payment.received_at)}{about}", words.amount(negate(payment.amount)))
    for note in invoice.credit_notes.filter(status=CreditNote.Status.ISSUED).order_by("issued_at", "pk"):
        yield Total(f"Credited by {note.number}, {words.day(note.issued_at)}", words.amount(negate(note.total)))


def _tax_sums(taxes: Iterable[TaxTotal], words: Words) -> Iterator[Total]:
    for tax in taxes:
        percent = f" {words.number(tax.percent)}%" if tax.category in ("S", "Z") and tax.percent else ""
        yield Total(f"{tax.name}{percent} on {words.amount(tax.base)}", words.amount(tax.amount))


def _credit_sums(note: CreditNote, taxes: Sequence[TaxTotal], words: Words) -> Iterator[Total]:
    if taxes:
        yield Total("Total before tax", words.amount(note.subtotal))
        yield from _tax_sums(taxes, words)
    yield Total("Credited", words.amount(note.total), strong=True)


def _credited_lines(note: CreditNote, taxes: Sequence[TaxTotal], words: Words) -> Iterator[ShownLine]:
    percents = _percents(taxes, words)
    invoice = note.invoice
    span = words.span(invoice.starting_at, invoice.ending_before)
    for row in note.lines.select_related("line").order_by("line__position"):
        own = words.span(row.line.starting_at, row.line.ending_before)
        yield ShownLine(
            name=row.line.name,
            details=tuple(filter(None, [group_text(row.line.group), own if own != span else ""])),
            quantity="",
            unit_price=words.amount(row.line.amount),
            tax=percents.get(row.line.tax_key, ""),
            amount=words.amount(row.amount),
        )


def _balances(invoice: Invoice, rows: Sequence[InvoiceLine], words: Words) -> Iterator[ShownBalance]:
    """The commits and credits that were drawn, each with what was left of it when the invoice was issued: the sum of
    the ledger up to its own draw, so that it stays what it was.
    """
    names = {row.position: row for row in rows}
    drawn: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = {}
    for number, draw in enumerate(invoice.draws):
        owner = draw.get("owner") or of_contract(invoice.contract.key)
        drawn.setdefault((owner, draw["balance"]), []).append((number, draw))
    for (owner, balance), draws in drawn.items():
        entries = entries_of(owner_named(owner)).filter(balance=balance)
        last = (
            entries.filter(source__in=[f"invoice:{invoice.pk}:{number}" for number, _ in draws]).order_by("pk").last()
        )
        line = names.get(draws[0][1]["position"])
        left = entries.filter(pk__lte=last.pk).aggregate(total=Sum("amount"))["total"] if last else None
        unit = line.unit if line is not None else ""
        shown = [
            f"{words.number(each)} {unit}" if unit else words.amount(each)
            for each in (sum((Decimal(draw["amount"]) for _, draw in draws), ZERO), left or ZERO)
        ]
        name = line.name if line is not None and line.kind == "draw" else balance
        yield ShownBalance(name, shown[0], shown[1])


def _notes(taxes: Iterable[TaxTotal]) -> Iterator[str]:
    yield from dict.fromkeys(tax.note for tax in taxes if tax.note)
    if any(tax.inclusive for tax in taxes):
        yield "The prices of the lines include tax."


def _payment(invoice: Invoice, seller: Mapping[str, str], words: Words) -> Iterator[tuple[str, str]]:
    """How to pay, as words or as a fact with its name."""
    days = f"{invoice.net_days} day{'' if invoice.net_days == 1 else 's'}"
    if not invoice.frozen:
        yield "", f"Payment within {days} of the invoice date."
    elif invoice.status == Status.ISSUED:
        due = (
            f"Please pay {words.amount(invoice.open_amount)} by {words.day(invoice.due_at)} and quote {invoice.number}."
        )
        yield "", f"Payment terms: {days} net. {due}"
    names = (("bank", "Bank"), ("account_holder", "Account holder"), ("iban", "IBAN"), ("bic", "BIC"))
    if invoice.status != Status.PAID and seller.get("iban"):
        yield from ((name, seller[key]) for key, name in names if seller.get(key))
    if seller.get("email"):
        yield "", f"Questions about this invoice: {seller['email']}"
