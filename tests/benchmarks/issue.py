"""Approving and issuing, as the bulk steps of the review queue do: two transactions an invoice, each looked at anew.

An approval builds the statement again and compares it with the stored one. An issue posts the draws under the lock of
the customer's family, takes the next number, copies what the invoice shows, and posts the journal. The limit is SQL
alone that writes the same: two prepared statements and two commits an invoice, nothing looked at.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import psycopg
from django.contrib.auth.models import User
from django.db import connections

from contracts.models import LedgerEntry
from invoicing.lifecycle import approve, issue
from invoicing.models import Invoice, JournalPosting, Status
from tests.benchmarks.database import server_settings
from tests.benchmarks.made_invoices import finance, make_invoices
from tests.benchmarks.report import Result, Row, median, table
from tests.benchmarks.together import Together, together

if TYPE_CHECKING:
    from tests.benchmarks.__main__ import Options

INVOICES = 300  # a turn
PROCESSES = [1, 2]
TARGET = 0.1
BARE_TABLES = """
CREATE TABLE bare_series (prefix text PRIMARY KEY, last_number bigint);
INSERT INTO bare_series VALUES ('INV-', 0);
CREATE TABLE bare_bill (id bigint PRIMARY KEY, customer_id bigint, status text, number text UNIQUE, total numeric);
CREATE TABLE bare_customer (id bigint PRIMARY KEY);
CREATE TABLE bare_ledger (id bigserial PRIMARY KEY, customer_id bigint, source text UNIQUE, amount numeric);
CREATE TABLE bare_posting (id bigserial PRIMARY KEY, bill_id bigint, account text, amount numeric);
CREATE INDEX ON bare_posting (bill_id);
INSERT INTO bare_bill SELECT id, customer_id, 'in_review', NULL, total FROM invoicing_invoice;
INSERT INTO bare_customer SELECT DISTINCT customer_id FROM invoicing_invoice
"""
BARE_APPROVAL = "UPDATE bare_bill SET status = 'approved' WHERE id = %s AND status = 'in_review'"
BARE_ISSUE = """
WITH customer AS MATERIALIZED (
    SELECT c.id FROM bare_customer AS c JOIN bare_bill AS b ON b.customer_id = c.id WHERE b.id = %(bill)s
    FOR UPDATE OF c
), series AS (
    UPDATE bare_series SET last_number = last_number + 1 WHERE prefix = 'INV-' RETURNING last_number
), issued AS (
    UPDATE bare_bill SET status = 'issued', number = 'INV-' || series.last_number FROM series, customer
    WHERE bare_bill.id = %(bill)s AND status = 'approved' RETURNING bare_bill.id, bare_bill.customer_id, total
), drawn AS (
    INSERT INTO bare_ledger (customer_id, source, amount)
    SELECT customer_id, 'invoice:' || id || ':' || number, -total
    FROM issued, generate_series(1, %(entries)s) AS number
)
INSERT INTO bare_posting (bill_id, account, amount)
SELECT id, 'account', total FROM issued, generate_series(1, %(postings)s)
"""


def run(options: "Options") -> tuple[Result, str]:
    counts = options.processes or PROCESSES
    many = max(int(INVOICES * options.scale), 10)
    left = make_invoices(options.url, many * options.rounds * len(counts))
    actor = finance()
    turns: dict[int, list[Together]] = {processes: [] for processes in counts}
    limits: list[float] = []
    with psycopg.connect(options.url, autocommit=True) as connection:
        connection.execute(BARE_TABLES)
        for _ in range(options.rounds):
            for processes, found in turns.items():
                taken, left = left[:many], left[many:]
                shares = [taken[place::processes] for place in range(processes)]
                found.append(together([partial(_take, share, actor) for share in shares]))
                if not limits:
                    entries, postings = _rows(taken)
                if processes == counts[0]:
                    limits.append(many / _bare(connection, taken, entries, postings))
        settings = server_settings(connection)
    _check(many * options.rounds * len(counts))
    limit = median(limits)
    speeds = {processes: median([many / each.seconds for each in found]) for processes, found in turns.items()}
    rows: list[Row] = [
        [
            processes,
            speeds[processes],
            limit,
            speeds[processes] / limit,
            TARGET if processes == counts[0] else "",
            speeds[processes] / speeds[counts[0]],
            median([each.own_cpu for each in found]) / many * 1e3,
            median([each.database_cpu for each in found]) / many * 1e3,
            entries,
            postings,
        ]
        for processes, found in turns.items()
    ]
    result = Result(
        name="issue",
        scale=options.scale,
        product={f"{processes} processes": speed for processes, speed in speeds.items()},
        limit={"bare_sql": limit},
        ratio=speeds[counts[0]] / limit,
        target=TARGET,
        unit="invoices/s",
        details={"invoices": many, "ledger_entries": entries, "postings": postings, "server": settings},
    )
    head = ["processes", "invoices /s", "bare SQL /s", "ratio", "target", "times one process", "ms process"]
    return result, f"{settings}\n\n" + table([*head, "ms database", "ledger entries", "postings"], rows)


def _take(invoices: Sequence[int], actor: User) -> None:
    for invoice in invoices:
        approve(invoice, actor)
        issue(invoice, actor)


def _rows(invoices: Sequence[int]) -> tuple[int, int]:
    """How many ledger entries and journal postings an invoice has, rounded."""
    entries = LedgerEntry.objects.count() / len(invoices)
    postings = JournalPosting.objects.count() / len(invoices)
    connections.close_all()
    return round(entries), round(postings)


def _bare(connection: psycopg.Connection, invoices: Sequence[int], entries: int, postings: int) -> float:
    """Seconds that SQL alone takes. Bills that a turn before took are taken by none after."""
    started = time.monotonic()
    for invoice in invoices:
        connection.execute(BARE_APPROVAL, [invoice], prepare=True)
        connection.execute(BARE_ISSUE, {"bill": invoice, "entries": entries, "postings": postings}, prepare=True)
    return time.monotonic() - started


def _check(many: int) -> None:
    numbers = Invoice.objects.exclude(status__in=(Status.IN_REVIEW, Status.APPROVED)).values_list("number", flat=True)
    found = sorted(int(str(number).rpartition("-")[2]) for number in numbers)
    if found != list(range(1, many + 1)):
        raise RuntimeError(f"{len(found)} numbers of {many}, the last one {found[-1:]}: there is a gap.")
