"""The tables that are exported. Each is read by the transactions that wrote its rows, in an order that stays.

An issued invoice is a row, and so is every change of it: paid, credited, void. Lines come with the issue of their
invoice, once more with the signs turned when it is voided, and in part when they are credited: sums over all rows are
what is billed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from invoicing.exports.columns import Column, Kind, columns
from invoicing.exports.usage import COLUMNS as USAGE_COLUMNS
from invoicing.exports.usage import most_rows, usage_by_day
from invoicing.exports.written import Written
from invoicing.models import FROZEN

FETCHED = 5_000
IN_RANGE = "{0}.xid >= %(start)s AND {0}.xid < %(end)s"
ISSUED = f"e.pgh_label <> 'delete' AND e.status IN ({', '.join(repr(str(each.value)) for each in FROZEN)})"

INVOICES = f"""
SELECT e.pgh_id, e.pgh_created_at, e.pgh_obj_id, e.number, e.kind, e.status, c.key, c.name, p.key, k.key,
       e.starting_at, e.ending_before, e.currency, e.subtotal, e.discount, e.credits_applied, e.tax, e.already_invoiced,
       e.total, e.paid_amount, e.credited_amount, e.total - e.paid_amount - e.credited_amount,
       e.issued_at, e.due_at, e.paid_at, r.number
FROM invoicing_invoiceevent AS e
JOIN contracts_customer AS c ON c.id = e.customer_id
JOIN contracts_contract AS k ON k.id = e.contract_id
LEFT JOIN contracts_customer AS p ON p.id = e.payer_id
LEFT JOIN invoicing_invoice AS r ON r.id = e.replaces_id
WHERE {IN_RANGE.format("e")} AND {ISSUED}
ORDER BY e.pgh_id
"""  # noqa: S608
INVOICE_COLUMNS = columns(
    change=Kind.INTEGER, changed_at=Kind.INSTANT, invoice=Kind.INTEGER, number=Kind.TEXT, kind=Kind.TEXT,
    status=Kind.TEXT, customer=Kind.TEXT, customer_name=Kind.TEXT, payer=Kind.TEXT, contract=Kind.TEXT,
    starting_at=Kind.INSTANT, ending_before=Kind.INSTANT, currency=Kind.TEXT, subtotal=Kind.AMOUNT,
    discount=Kind.AMOUNT, credits_applied=Kind.AMOUNT, tax=Kind.AMOUNT, already_invoiced=Kind.AMOUNT,
    total=Kind.AMOUNT, paid=Kind.AMOUNT, credited=Kind.AMOUNT, open=Kind.AMOUNT, issued_at=Kind.INSTANT,
    due_at=Kind.INSTANT, paid_at=Kind.INSTANT, replaces=Kind.TEXT,
)  # fmt: skip

LINES = f"""
WITH changed AS (
    SELECT e.pgh_id AS change, e.pgh_created_at AS at, e.pgh_obj_id AS invoice, e.number, 'issued' AS event, 1 AS sign
    FROM invoicing_invoiceevent AS e
    WHERE {IN_RANGE.format("e")} AND {ISSUED} AND NOT EXISTS (
        SELECT FROM invoicing_invoiceevent AS b
        WHERE b.pgh_obj_id = e.pgh_obj_id AND b.pgh_id < e.pgh_id AND {ISSUED.replace("e.", "b.")}
    )
    UNION ALL
    SELECT e.pgh_id, e.pgh_created_at, e.pgh_obj_id, e.number, 'void', -1
    FROM invoicing_invoiceevent AS e
    WHERE {IN_RANGE.format("e")} AND e.status = 'void' AND NOT EXISTS (
        SELECT FROM invoicing_invoiceevent AS b
        WHERE b.pgh_obj_id = e.pgh_obj_id AND b.pgh_id < e.pgh_id AND b.status = 'void'
    )
), credited AS (
    SELECT e.pgh_id AS change, e.pgh_created_at AS at, e.pgh_obj_id AS note, e.number, e.invoice_id, e.tax
    FROM invoicing_creditnoteevent AS e
    WHERE {IN_RANGE.format("e")} AND e.status = 'issued'
), found AS (
    SELECT h.event, h.change, h.at, h.number AS document, h.invoice, l.position, l.kind, l.product, l.name, l."group",
           l.starting_at, l.ending_before, l.meter, l.events * h.sign AS events, l.quantity * h.sign AS quantity,
           l.billed_quantity * h.sign AS billed_quantity, l.unit_amount, l.amount * h.sign AS amount,
           l.amount_exact * h.sign AS amount_exact, l.source, l.balance
    FROM changed AS h JOIN invoicing_invoiceline AS l ON l.invoice_id = h.invoice
    UNION ALL
    SELECT 'credited', h.change, h.at, h.number, h.invoice_id, l.position, l.kind, l.product, l.name, l."group",
           l.starting_at, l.ending_before, l.meter, NULL, NULL, NULL, NULL, -n.amount, -n.amount, l.source, l.balance
    FROM credited AS h JOIN invoicing_creditnoteline AS n ON n.credit_note_id = h.note
    JOIN invoicing_invoiceline AS l ON l.id = n.line_id
    UNION ALL
    SELECT 'credited', h.change, h.at, h.number, h.invoice_id, NULL, 'tax', '', 'Tax', '{{}}'::jsonb,
           i.starting_at, i.ending_before, '', NULL, NULL, NULL, NULL, -h.tax, -h.tax, '', ''
    FROM credited AS h JOIN invoicing_invoice AS i ON i.id = h.invoice_id
    WHERE h.tax <> 0
)
SELECT f.event, f.change, f.at, f.document, f.invoice, i.number, c.key, k.key, i.currency, f.position, f.kind,
       f.product, f.name, f."group"::text, f.starting_at, f.ending_before, f.meter, f.events, f.quantity,
       f.billed_quantity, f.unit_amount, f.amount, f.amount_exact, f.source, f.balance
FROM found AS f
JOIN invoicing_invoice AS i ON i.id = f.invoice
JOIN contracts_customer AS c ON c.id = i.customer_id
JOIN contracts_contract AS k ON k.id = i.contract_id
ORDER BY f.event, f.change, f.position
"""  # noqa: S608
LINE_COLUMNS = columns(
    event=Kind.TEXT, change=Kind.INTEGER, changed_at=Kind.INSTANT, document=Kind.TEXT, invoice=Kind.INTEGER,
    number=Kind.TEXT, customer=Kind.TEXT, contract=Kind.TEXT, currency=Kind.TEXT, position=Kind.INTEGER,
    kind=Kind.TEXT, product=Kind.TEXT, name=Kind.TEXT, group=Kind.TEXT, starting_at=Kind.INSTANT,
    ending_before=Kind.INSTANT, meter=Kind.TEXT, events=Kind.INTEGER, quantity=Kind.EXACT, billed_quantity=Kind.EXACT,
    unit_amount=Kind.EXACT, amount=Kind.AMOUNT, amount_exact=Kind.EXACT, source=Kind.TEXT, balance=Kind.TEXT,
)  # fmt: skip

LEDGER = f"""
SELECT l.id, l.created_at, c.key, k.key, l.balance, l.segment, l.kind, l.amount, l.at, l.source
FROM contracts_ledgerentry AS l
JOIN contracts_customer AS c ON c.id = l.customer_id
LEFT JOIN contracts_contract AS k ON k.id = l.contract_id
WHERE {IN_RANGE.format("l")} ORDER BY l.id
"""  # noqa: S608
LEDGER_COLUMNS = columns(
    entry=Kind.INTEGER, created_at=Kind.INSTANT, customer=Kind.TEXT, contract=Kind.TEXT, balance=Kind.TEXT,
    segment=Kind.TEXT, kind=Kind.TEXT, amount=Kind.EXACT, at=Kind.INSTANT, source=Kind.TEXT,
)  # fmt: skip

JOURNAL = f"""
SELECT p.id, e.id, e.day, e.source, e.kind, e.document, c.key, k.key, p.account, p.product, p.balance, e.currency,
       p.amount, e.created_at
FROM invoicing_journalentry AS e
JOIN invoicing_journalposting AS p ON p.entry_id = e.id
JOIN contracts_customer AS c ON c.id = e.customer_id
LEFT JOIN contracts_contract AS k ON k.id = e.contract_id
WHERE {IN_RANGE.format("e")} ORDER BY p.id
"""  # noqa: S608
JOURNAL_COLUMNS = columns(
    posting=Kind.INTEGER, entry=Kind.INTEGER, day=Kind.DAY, source=Kind.TEXT, kind=Kind.TEXT, document=Kind.TEXT,
    customer=Kind.TEXT, contract=Kind.TEXT, account=Kind.TEXT, product=Kind.TEXT, balance=Kind.TEXT,
    currency=Kind.TEXT, amount=Kind.AMOUNT, created_at=Kind.INSTANT,
)  # fmt: skip

REVENUE = f"""
SELECT e.id, d.first_day + (n.place - 1)::int, e.day, e.source, e.kind, e.document, c.key, k.key, d.position, d.account,
       d.product, d.balance, e.currency, -n.amount
FROM invoicing_journalentry AS e
JOIN invoicing_earneddays AS d ON d.entry_id = e.id
CROSS JOIN LATERAL unnest(d.amounts) WITH ORDINALITY AS n (amount, place)
JOIN contracts_customer AS c ON c.id = e.customer_id
LEFT JOIN contracts_contract AS k ON k.id = e.contract_id
WHERE {IN_RANGE.format("e")} AND n.amount <> 0 ORDER BY d.id, n.place
"""  # noqa: S608
REVENUE_COLUMNS = columns(
    entry=Kind.INTEGER, day=Kind.DAY, booked=Kind.DAY, source=Kind.TEXT, kind=Kind.TEXT, document=Kind.TEXT,
    customer=Kind.TEXT, contract=Kind.TEXT, position=Kind.INTEGER, account=Kind.TEXT, product=Kind.TEXT,
    balance=Kind.TEXT, currency=Kind.TEXT, amount=Kind.AMOUNT,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dataset:
    """`rows` of a range of transactions; `number` of steps it takes to read them, for a bar."""

    name: str
    columns: tuple[Column, ...]
    rows: Callable[[Written], Iterator[tuple[Any, ...]]]
    number: Callable[[Written], int]


def _selected(statement: str) -> Callable[[Written], Iterator[tuple[Any, ...]]]:
    def rows(written: Written) -> Iterator[tuple[Any, ...]]:
        with transaction.atomic(), connection.chunked_cursor() as cursor:
            cursor.execute(statement, {"start": written.start, "end": written.end})
            while fetched := cursor.fetchmany(FETCHED):
                yield from fetched

    return rows


def _counted(statement: str) -> Callable[[Written], int]:
    def number(written: Written) -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT count(*) FROM ({statement}) AS found",  # noqa: S608
                {"start": written.start, "end": written.end},
            )
            return int(cursor.fetchone()[0])

    return number


DATASETS = {
    each.name: each
    for each in (
        Dataset("invoices", INVOICE_COLUMNS, _selected(INVOICES), _counted(INVOICES)),
        Dataset("lines", LINE_COLUMNS, _selected(LINES), _counted(LINES)),
        Dataset("usage", USAGE_COLUMNS, usage_by_day, most_rows),
        Dataset("ledger", LEDGER_COLUMNS, _selected(LEDGER), _counted(LEDGER)),
        Dataset("journal", JOURNAL_COLUMNS, _selected(JOURNAL), _counted(JOURNAL)),
        Dataset("revenue", REVENUE_COLUMNS, _selected(REVENUE), _counted(REVENUE)),
    )
}
