"""A stored row is damaged behind the guards of the database: `check_books` says what is wrong, and where."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from contracts.models import Contract
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.parsing import parse
from invoicing.books import INVARIANTS
from invoicing.close import close_periods
from invoicing.credit_notes import issue_credit_note, request_credit_note
from invoicing.lifecycle import approve, issue
from invoicing.models import Invoice, LateUsage, Recharge, Status
from invoicing.payments import Received, record_payment, reverse_payment
from invoicing.recharges import recharge_now
from invoicing.spend_thresholds import bill_thresholds
from invoicing.voiding import void
from tests.factories import count_all, day, send, user
from tests.year.terms import per_unit, rate, windows

TERMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prepaid": {
        "commits": [
            {
                "key": "year",
                "access": windows("8", "2026-01-01", "2026-02-01", "2026-03-01"),
                "invoices": [{"amount": "6", "at": "2026-01-01"}],
                "rollover": {"fraction": "0.5"},
            }
        ]
    },
    "limit": {"spend_threshold": {"amount": "12"}},
    "filled": {
        "commits": [
            {
                "key": "first",
                "access": [{"amount": "20", "starting_at": "2026-01-01"}],
                "invoices": [{"amount": "20", "at": "2026-01-01"}],
            }
        ],
        "balance_threshold": {"amount": "18", "recharge_to": "30"},
    },
    "head": {"usage_customers": ["below"]},
}
FILE = {
    "meters": [{"key": "calls", "event_type": "api.call", "aggregation": "sum", "property": "units"}],
    "products": [{"key": "calls", "name": "Calls", "meter": "calls"}],
    "rate_cards": [{"key": "list", "currency": "USD", "rates": [rate("calls", per_unit("1"))]}],
    "customers": [
        *({"key": key, "name": key.title(), "tax": {"rate": "0.2"}} for key in TERMS),
        {"key": "below", "parent": "head"},
    ],
    "contracts": [
        {"key": key, "customer": key, "rate_card": "list", "starting_at": "2026-01-01", **terms}
        for key, terms in TERMS.items()
    ],
}
LINE = "UPDATE invoicing_invoiceline SET {} WHERE id = (SELECT min(id) FROM invoicing_invoiceline WHERE {})"
ENTRY = "UPDATE contracts_ledgerentry SET {} WHERE id = (SELECT min(id) FROM contracts_ledgerentry WHERE {})"
POSTING = "UPDATE invoicing_journalposting SET {} WHERE id = (SELECT min(id) FROM invoicing_journalposting WHERE {})"
# What is done to one row, and what of it is said.
DAMAGES: dict[str, tuple[str, str]] = {
    "Rollups equal a recount of the events": (
        "UPDATE meters_hourbucket SET total = total + 1 WHERE total = 5",
        "Meter calls, plain, hour of 2026-01-10 00:00 (): the bucket holds",
    ),
    "Lines add up to totals": (
        LINE.format("amount = amount + 1, amount_exact = amount_exact + 1", "kind = 'usage'"),
        "USD, its lines add up to ",
    ),
    "Amounts are rounded": (LINE.format("amount_exact = amount_exact + 0.01", "kind = 'usage'"), " rounded."),
    "What is issued is unchanged": (
        "UPDATE invoicing_invoice SET bill_to = '{}', net_days = 90 WHERE number = 'INV-000003'",
        "INV-000003: it was changed after it was issued (bill_to, net_days)",
    ),
    "Every closed period has exactly one invoice": (
        "UPDATE contracts_billingperiod SET closed_at = NULL WHERE starting_at = '2026-01-01'",
        "Billing period plain 2026-01-01 to 2026-02-01: it is open and has 1 invoices.",
    ),
    "Billing periods follow each other": (
        "UPDATE contracts_billingperiod SET ending_before = '2026-01-30' WHERE starting_at = '2026-01-01'",
        "Billing period plain 2026-01-01 to 2026-01-30: the next one starts at 2026-02-01",
    ),
    "Invoice numbers have no gaps": (
        "UPDATE invoicing_invoice SET number = 'INV-000099' WHERE number = 'INV-000003'",
        "documents carry one; 3 missing; 99 beyond the last.",
    ),
    "Earlier invoices of a period are subtracted": (
        LINE.format("source = 'INV-000003'", "kind = 'already_invoiced'"),
        " takes off 0 for INV-000001, which billed 14.4 of its period.",
    ),
    "Balances never fall below zero": (
        ENTRY.format("amount = 2", "kind = 'start' AND balance = 'year'"),
        ": it takes year of contract ",
    ),
    "Draws are shown": (LINE.format("balance = 'gone'", "kind = 'draw'"), " of gone drawn, what it takes is "),
    "Draws of issued invoices are posted": (
        ENTRY.format("amount = amount + 1", "kind = 'draw'"),
        ": it draws 5 from first, the ledger has -4.",
    ),
    "Draws of voided invoices are returned": (
        ENTRY.format("amount = amount + 1", "kind = 'void_return'"),
        " of year should be back, ",
    ),
    "Payments and credit notes add up": (
        "UPDATE invoicing_invoice SET paid_amount = paid_amount + 1 WHERE paid_amount > 0",
        "the entries ",
    ),
    "Reversals take back what was paid": (
        "UPDATE invoicing_payment SET amount = amount - 1 WHERE reverses_id IS NOT NULL",
        "what it takes back is 1.",
    ),
    "Credit notes stay within bounds": (
        "UPDATE invoicing_creditnoteline SET amount = amount + 100",
        "101 of it is credited, it is ",
    ),
    "Journal entries balance": (
        POSTING.format("amount = amount + 1", "account = 'revenue'"),
        "its postings add up to 1.",
    ),
    "Revenue by day equals the journal": (
        "UPDATE invoicing_earneddays SET amounts[1] = amounts[1] + 1 WHERE account = 'revenue'",
        "of revenue calls is posted, its days come to ",
    ),
    "Documents are in the books": (
        """UPDATE invoicing_journalposting SET amount = amount * 2 WHERE entry_id =
        (SELECT min(id) FROM invoicing_journalentry WHERE document = 'INV-000004')""",
        "Document INV-000004: it comes to ",
    ),
    "Closed months take no entries": (
        "INSERT INTO invoicing_accountingperiod VALUES ('2026-01-01', '2026-02-02', NULL, '')",
        ", and was written after January 2026 was closed.",
    ),
    "Receivables equal what is open": (
        POSTING.format("amount = amount + 1", "account = 'receivable'"),
        " USD is open, the books say ",
    ),
    "Taxes by rate add up": (
        "UPDATE invoicing_invoice SET tax = tax + 1 WHERE number = 'INV-000004'",
        "(INV-000004): its taxes by rate are not its tax lines, or not ",
    ),
    "Tax owed is what was charged": (
        POSTING.format("product = 'elsewhere'", "account = 'tax'"),
        "Tax elsewhere: documents charge 0 USD, the books ",
    ),
    "What is issued is not unbilled": (
        POSTING.format("account = 'unbilled'", "account = 'revenue'"),
        " of it is still unbilled.",
    ),
    "Late usage is billed once": (
        "UPDATE invoicing_lateusage SET amount = amount + 1 WHERE added_line_id IS NOT NULL",
        "the line that bills it is another's or over another amount.",
    ),
    "Bills and late usage add up to all usage": (
        LINE.format(
            "quantity = quantity - 1",
            "kind = 'usage' AND invoice_id IN (SELECT id FROM invoicing_invoice WHERE kind = 'usage')",
        ),
        " is neither billed nor listed as late.",
    ),
    "Nothing is lost in a rollover": (
        ENTRY.format("amount = amount + 1", "kind = 'rollover' AND amount > 0"),
        "Commit or credit year of customer prepaid: 1 more rolled in than out.",
    ),
    "Usage of a customer is billed by one contract": (
        """UPDATE contracts_contract SET deal = '{"usage_customers": ["below"]}' WHERE key = 'plain'""",
        "bill the usage of the same customer in the same time.",
    ),
    "Recharges are agreed and billed": (
        "UPDATE invoicing_recharge SET charge = charge + 1",
        "its invoice says something else.",
    ),
}


def live() -> None:
    """Two months in which something of everything happens."""
    clerk, other = user("Finance", "clerk"), user("Finance", "other")
    apply_entries(parse([("", FILE)]), day(1))
    for key in (*TERMS, "below"):
        send(key, 5, day(10))
    send("limit", 7, day(12))
    count_all()
    assert bill_thresholds(day(20)) == 1
    assert recharge_now(Contract.objects.select_related("customer", "rate_card"), day(20)).done == 1
    close_periods(day(3, month=2))
    bring_out(clerk)
    plain, prepaid = (Invoice.objects.get(contract__key=key, kind="usage") for key in ("plain", "prepaid"))
    assert prepaid.draws
    given = record_payment(plain.pk, Received(Decimal(1), day(9, month=2), "bank-1"), clerk)
    reverse_payment(given.pk, clerk, "bounced")
    record_payment(plain.pk, Received(Decimal(2), day(9, month=2), "bank-2"), clerk)
    note = request_credit_note(plain.pk, {1: Decimal(1)}, "slow", clerk)
    issue_credit_note(note.pk, other)
    send("limit", 2, day(11))
    send("plain", 3, day(11))
    for key in ("prepaid", "plain"):
        send(key, 20, day(10, month=2))
    count_all()
    close_periods(day(3, month=3))
    bring_out(clerk)
    void(Invoice.objects.get(contract__key="prepaid", starting_at=day(1, month=2)).pk, clerk, "wrong address")
    bring_out(clerk)
    assert LateUsage.objects.exclude(added_line=None).count() == 2
    assert Recharge.objects.count() == 1


def bring_out(actor: Any) -> None:
    for invoice in Invoice.objects.filter(status=Status.IN_REVIEW).order_by("pk"):
        issue(approve(invoice.pk, actor).pk, actor)


def said() -> dict[str, list[str]]:
    return {name: found for name, invariant in INVARIANTS.items() if (found := list(invariant()))}


@pytest.mark.usefixtures("real_commits")
@pytest.mark.django_db(transaction=True)
def test_every_damage_is_noticed_and_named() -> None:
    assert list(DAMAGES) == list(INVARIANTS)
    live()
    assert said() == {}
    missed = {}
    for name, (statement, words) in DAMAGES.items():
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL session_replication_role = replica")
                cursor.execute(statement)
                assert cursor.rowcount > 0, name
            found = list(INVARIANTS[name]())
            transaction.set_rollback(True)
        if not any(words in sentence for sentence in found):
            missed[name] = found
    assert missed == {}
    assert said() == {}
