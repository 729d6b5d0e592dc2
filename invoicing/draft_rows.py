"""Statements as rows of invoices and lines: saved many at a time, shown before that, compared with what is saved."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from billing_project.decimals import plain
from billing_project.rows import copy_rows, take_ids, update_rows
from catalog.documents import written_out
from catalog.price_format import price_as_dict
from catalog.prices import Price
from contracts.balances import Balance
from contracts.models import BillingPeriod, Contract, Customer
from invoicing.models import Invoice, InvoiceLine
from invoicing.statement import Line, Statement
from invoicing.taxation import written_taxes
from meters.periods import Period

ZERO_AFTER_USAGE = "Nothing was charged although there was usage."
UNTAXED = "No tax rate covers some of it: give the customer its country or a tax treatment, or add a tax rate."
UNRATED = "Some usage has no rate: add one to the rate card."

TOTALS = ("subtotal", "discount", "credits_applied", "tax", "already_invoiced", "total")
STATEMENT_FIELDS = ("currency", *TOTALS, "taxes", "unrated", "draws", "attention")
ABOUT = ("kind", "customer", "payer", "contract", "period", "scheduled_at", "starting_at", "ending_before", "net_days")
# A line's own fields that have a column of the same name, and those that are written in another form.
PLAIN = (
    *("kind", "product", "name", "meter", "aggregation", "events", "quantity", "billed_quantity", "prior_quantity"),
    *("unit_amount", "amount", "amount_exact", "rate", "unit", "segment", "share", "subscription", "tax_key"),
    "gross_amount",
)
SHAPED = ("starting_at", "ending_before", "group", "tiers", "source", "balance", "price")
LINE_FIELDS = ("invoice", "position", *PLAIN, *SHAPED)

_totals = attrgetter(*TOTALS)
_plain = attrgetter(*PLAIN)


@dataclass(frozen=True, slots=True)
class Built:
    """A statement, and what it is for: a billing period, or the fees due at an instant. `payer` is whom the invoice is
    addressed to, if not the customer; `balances` are those a period's statement could draw on.
    """

    contract: Contract
    statement: Statement
    period: BillingPeriod | None = None
    scheduled_at: datetime | None = None
    payer: Customer | None = None
    balances: tuple[Balance, ...] = ()


def draft_invoice(built: Built) -> Invoice:
    """An unsaved draft of a statement."""
    contract, statement = built.contract, built.statement
    invoice = Invoice(
        kind=statement.kind,
        customer=contract.customer,
        payer=built.payer,
        contract=contract,
        period=built.period,
        scheduled_at=built.scheduled_at,
        starting_at=statement.period.starting_at,
        ending_before=statement.period.ending_before,
        net_days=contract.net_days,
    )
    _set_statement(invoice, statement)
    return invoice


def bill_to(invoice: Invoice) -> dict[str, str]:
    """Whom an invoice is addressed to, and for whom if that is another."""
    payer = invoice.paid_by
    found = {name: getattr(payer, name) for name in ("name", "address", "email", "tax_id", "country", "locale")}
    return found if payer == invoice.customer else {**found, "on_behalf_of": invoice.customer.name}


def draft_line(invoice: Invoice, position: int, line: Line) -> InvoiceLine:
    """An unsaved line of an invoice."""
    price = None if line.price is None else price_as_dict(line.price)
    values = _line_values(line, line.period.starting_at, line.period.ending_before, price)
    return InvoiceLine(**dict(zip(LINE_FIELDS, (invoice, position, *values), strict=True)))


def write_drafts(drafts: Sequence[Built]) -> None:
    """Save drafts with their lines."""
    ids = take_ids(Invoice, len(drafts))
    rows = ((key, *_about(built), *_statement_values(built.statement)) for key, built in zip(ids, drafts, strict=True))
    copy_rows(Invoice, ("id", *ABOUT, *STATEMENT_FIELDS), rows)
    _write_lines((key, built.statement) for key, built in zip(ids, drafts, strict=True))


def write_anew(invoices: Sequence[tuple[Invoice, Statement]], flags: Mapping[int, list[str]]) -> None:
    """Save other totals and lines of open invoices, their status, and `flags` (by invoice) beside what the statement
    says needs a look. The rows must be locked.
    """
    InvoiceLine.objects.filter(invoice__in=[invoice.pk for invoice, _ in invoices]).delete()
    for invoice, statement in invoices:
        _set_statement(invoice, statement)
        invoice.attention = [*invoice.attention, *flags.get(invoice.pk, ())]
    rows = (
        (invoice.pk, invoice.status, *_statement_values(statement)[:-1], invoice.attention)
        for invoice, statement in invoices
    )
    update_rows(Invoice, ("status", *STATEMENT_FIELDS), rows)
    _write_lines((invoice.pk, statement) for invoice, statement in invoices)


def same_as_written(invoice: Invoice, statement: Statement) -> bool:
    """Whether the stored lines and draws are what the statement says now."""
    if [_drawn(draw) for draw in invoice.draws] != [_drawn(draw) for draw in _draws(statement)]:
        return False
    if invoice.taxes != written_taxes(statement.taxes):
        return False
    expected = [_comparable(draft_line(invoice, i, line)) for i, line in enumerate(statement.lines, start=1)]
    return expected == [_comparable(line) for line in invoice.lines.order_by("position")] and len(
        invoice.unrated
    ) == len(statement.unrated)


def _comparable(line: InvoiceLine) -> dict[str, Any]:
    return {
        field.attname: getattr(line, field.attname)
        for field in InvoiceLine._meta.concrete_fields
        if field.attname not in ("id", "invoice_id")
    }


def _drawn(draw: dict[str, Any]) -> tuple[str, ...]:
    """What of a draw says from which balance it takes how much; drafts of old do not name the owner."""
    return draw.get("owner") or "", draw["balance"], draw["segment"], draw["amount"]


def _draws(statement: Statement) -> list[dict[str, Any]]:
    return [
        {
            "owner": draw.owner,
            "balance": draw.balance,
            "segment": draw.segment,
            "kind": draw.kind,
            "amount": plain(draw.amount),
            "position": draw.position,
        }
        for draw in statement.draws
    ]


def _set_statement(invoice: Invoice, statement: Statement) -> None:
    # The currency comes first: the amounts take theirs from it.
    for name, value in zip(STATEMENT_FIELDS, _statement_values(statement), strict=True):
        setattr(invoice, name, value)


def _about(built: Built) -> tuple[Any, ...]:
    contract, period = built.contract, built.statement.period
    return (
        built.statement.kind,
        contract.customer_id,
        built.payer.pk if built.payer else None,
        contract.pk,
        built.period.pk if built.period else None,
        built.scheduled_at,
        period.starting_at,
        period.ending_before,
        contract.net_days,
    )


def _statement_values(statement: Statement) -> tuple[Any, ...]:
    return (
        statement.currency,
        *_totals(statement),
        written_taxes(statement.taxes),
        [
            {"product": row.product, "group": dict(row.group), "quantity": plain(row.quantity)}
            for row in statement.unrated
        ],
        _draws(statement),
        _attention(statement),
    )


def _attention(statement: Statement) -> list[str]:
    used = any(line.events for line in statement.lines)
    return [
        *([UNRATED] if statement.unrated else []),
        *([UNTAXED] if statement.untaxed else []),
        *([ZERO_AFTER_USAGE] if used and not statement.subtotal else []),
    ]


def _write_lines(statements: Iterable[tuple[int, Statement]]) -> None:
    copy_rows(InvoiceLine, LINE_FIELDS, _line_rows(statements))


def _line_rows(statements: Iterable[tuple[int, Statement]]) -> Iterator[tuple[Any, ...]]:
    texts = _Texts()
    for invoice, statement in statements:
        for position, line in enumerate(statement.lines, start=1):
            yield invoice, position, *_line_values(line, *texts.of_period(line.period), texts.of_price(line.price))


class _Texts:
    """What most lines share, written out once: a few prices and periods."""

    def __init__(self) -> None:
        # Each price is kept with its text, so that its identity is not given to another one.
        self._prices: dict[int, tuple[Price, str]] = {}
        self._periods: dict[Period, tuple[str, str]] = {}

    def of_price(self, price: Price | None) -> str | None:
        if price is None:
            return None
        if id(price) not in self._prices:
            self._prices[id(price)] = price, written_out(price_as_dict(price))
        return self._prices[id(price)][1]

    def of_period(self, period: Period) -> tuple[str, str]:
        if period not in self._periods:
            self._periods[period] = str(period.starting_at), str(period.ending_before)
        return self._periods[period]


def _line_values(line: Line, starting_at: Any, ending_before: Any, price: Any) -> tuple[Any, ...]:
    return (
        *_plain(line),
        starting_at,
        ending_before,
        dict(line.group),
        [
            {
                "quantity": plain(tier.quantity),
                "unit_amount": plain(tier.unit_amount),
                "flat_amount": plain(tier.flat_amount),
                "amount": plain(tier.amount),
            }
            for tier in line.tiers
        ],
        line.source[:300],
        line.balance or "",
        price,
    )
