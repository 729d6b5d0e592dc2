"""Revenue by line and day of usage or service: what the entries of the journal are made of."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from django.db import connection, transaction

from billing_project.decimals import plain
from invoicing.revenue import OF_REVENUE

FETCHED = 5_000
ACCOUNTS = ", ".join(f"'{each}'" for each in OF_REVENUE)
COLUMNS = (
    *("day", "booked", "currency", "customer", "contract", "document", "line", "line_kind", "product", "name"),
    *("account", "balance", "entry", "amount"),
)
# Amounts are revenue: credits and what is taken back are below zero.
BY_DAY = """
SELECT d.first_day + (n.place - 1)::int, e.day, e.currency, c.key, k.key, e.document, d.position, l.kind, d.product,
       l.name, d.account, d.balance, e.kind, -n.amount
FROM invoicing_journalentry AS e
JOIN invoicing_earneddays AS d ON d.entry_id = e.id
CROSS JOIN LATERAL unnest(d.amounts) WITH ORDINALITY AS n (amount, place)
JOIN contracts_customer AS c ON c.id = e.customer_id
LEFT JOIN contracts_contract AS k ON k.id = e.contract_id
LEFT JOIN invoicing_creditnote AS t ON t.number = e.document
LEFT JOIN invoicing_invoice AS i ON e.document <> '' AND (i.number = e.document OR i.id = t.invoice_id)
LEFT JOIN invoicing_invoiceline AS l ON l.invoice_id = i.id AND l.position = d.position
WHERE e.day >= %(first)s AND e.day < %(end)s AND n.amount <> 0
ORDER BY e.day, e.id, d.id, n.place
"""
DIFFERING = f"""
WITH posted AS (
    SELECT p.entry_id, p.account, p.product, p.balance, sum(p.amount) AS amount
    FROM invoicing_journalposting AS p WHERE p.account IN ({ACCOUNTS}) GROUP BY 1, 2, 3, 4
), earned AS (
    SELECT d.entry_id, d.account, d.product, d.balance, sum(n.amount) AS amount
    FROM invoicing_earneddays AS d CROSS JOIN LATERAL unnest(d.amounts) AS n (amount) GROUP BY 1, 2, 3, 4
)
SELECT e.source, account, product, coalesce(p.amount, 0), coalesce(d.amount, 0)
FROM posted AS p FULL JOIN earned AS d USING (entry_id, account, product, balance)
JOIN invoicing_journalentry AS e ON e.id = entry_id
WHERE coalesce(p.amount, 0) <> coalesce(d.amount, 0) ORDER BY e.id, account, product
"""  # noqa: S608


def revenue_by_day(first: date, end: date) -> Iterator[tuple[Any, ...]]:
    """What the books of `[first, end)` count as revenue, in the columns COLUMNS. `booked` is the day of the entry: its
    month is the one the books show it in, which is a later one than that of `day` where that was closed already.
    """
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(BY_DAY, {"first": first, "end": end})
        while fetched := cursor.fetchmany(FETCHED):
            yield from fetched


def days_add_up_to_entries() -> Iterator[str]:
    """What lines earn by day adds up to what the journal posts to revenue and credits, entry by entry and product."""
    with connection.cursor() as cursor:
        cursor.execute(DIFFERING)
        for source, account, product, posted, earned in cursor.fetchall():
            yield (
                f"Journal entry {source}: {plain(posted)} of {account} {product or 'without a product'} is posted, its "
                f"days come to {plain(earned)}."
            )
