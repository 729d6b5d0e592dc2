"""The books: journal entries that balance and are never changed, and the months that are closed."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import ClassVar

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from billing_project.fields import ExactField, transaction_field
from contracts.models import Contract, Customer


class AccountingPeriod(models.Model):
    """A closed month of the books. What arrives later lands in the first open one; months close in order."""

    month = models.DateField(primary_key=True, help_text="Its first day.")
    closed_at = models.DateTimeField(auto_now_add=True)
    closed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    reason = models.TextField(blank=True, help_text="Why it was closed with work left open.")

    objects: ClassVar[models.Manager["AccountingPeriod"]]

    class Meta:
        ordering = ["-month"]
        permissions = [("close_month", "Can close months of the books")]
        triggers = [pgtrigger.Protect(name="closed_for_good", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.month:%B %Y}"


class JournalEntry(models.Model):
    """What happened on a day, written in the transaction that made it happen. `source` names the cause
    (`invoice:12:issued`), unique.
    """

    day = models.DateField()
    kind = models.CharField(max_length=20)
    source = models.CharField(max_length=200, unique=True)
    currency = models.CharField(max_length=3)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="journal")
    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, null=True, blank=True, related_name="journal")
    document = models.CharField(max_length=60, blank=True, help_text="Number of the invoice or credit note.")
    created_at = models.DateTimeField(auto_now_add=True)
    xid = transaction_field()

    objects: ClassVar[models.Manager["JournalEntry"]]

    class Meta:
        ordering = ["day", "pk"]
        verbose_name_plural = "journal entries"
        indexes = [models.Index(fields=["day"]), models.Index(fields=["xid"], name="journal_by_transaction")]
        triggers = [
            pgtrigger.Protect(name="append_only_entries", operation=pgtrigger.Update | pgtrigger.Delete),
            pgtrigger.Trigger(
                name="not_into_closed_months",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF EXISTS (
                        SELECT 1 FROM invoicing_accountingperiod
                        WHERE month >= date_trunc('month', NEW.day)::date
                    ) THEN
                        RAISE EXCEPTION 'pgtrigger: the books of % are closed', to_char(NEW.day, 'YYYY-MM');
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.source


class JournalPosting(models.Model):
    """A debit (above zero) or credit (below) of an account. The postings of an entry add up to zero."""

    entry = models.ForeignKey(JournalEntry, on_delete=models.PROTECT, related_name="postings")
    account = models.CharField(max_length=30)
    amount = ExactField()
    product = models.CharField(max_length=200, blank=True)
    balance = models.CharField(max_length=200, blank=True, help_text="The commit that deferred revenue is for.")

    objects: ClassVar[models.Manager["JournalPosting"]]

    class Meta:
        ordering = ["entry", "pk"]
        constraints = [models.CheckConstraint(name="postings_are_not_zero", condition=~Q(amount=0))]
        indexes = [models.Index(fields=["account"])]
        triggers = [
            pgtrigger.Protect(name="append_only_postings", operation=pgtrigger.Update | pgtrigger.Delete),
            pgtrigger.Trigger(
                name="entries_balance",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                func="""
                    IF (SELECT sum(amount) FROM invoicing_journalposting WHERE entry_id = NEW.entry_id) <> 0 THEN
                        RAISE EXCEPTION 'pgtrigger: journal entry % does not balance', NEW.entry_id;
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.amount}"


class EarnedDays(models.Model):
    """What a line earns on each of a row of days: the detail of an entry's postings to revenue and credits, with their
    signs. The entry says in which month of the books that counts.
    """

    entry = models.ForeignKey(JournalEntry, on_delete=models.PROTECT, related_name="earned_days")
    position = models.PositiveIntegerField(null=True, help_text="The line of the invoice; empty: of none.")
    account = models.CharField(max_length=30)
    product = models.CharField(max_length=200, blank=True)
    balance = models.CharField(max_length=200, blank=True)
    first_day = models.DateField()
    amounts = ArrayField(ExactField(), help_text="Of the first day and those that follow it.")

    objects: ClassVar[models.Manager["EarnedDays"]]

    class Meta:
        ordering = ["entry", "pk"]
        verbose_name_plural = "earned days"
        triggers = [pgtrigger.Protect(name="append_only_days", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.account} from {self.first_day}"

    def days(self) -> Iterator[tuple[date, Decimal]]:
        for number, amount in enumerate(self.amounts):
            yield self.first_day + timedelta(days=number), amount
