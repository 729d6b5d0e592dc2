"""What balances are made of: append-only entries."""

from typing import ClassVar

import pgtrigger
from django.db import models

from billing_project.fields import ExactField, transaction_field
from contracts.models.contracts import Contract
from contracts.models.customers import Customer


class LedgerEntry(models.Model):
    """A change of a balance of a contract, or of one that contracts share: then `contract` is empty and `customer` the
    owner of the commit or credit. Append-only: a balance is the sum of its entries, nothing else.

    `source` names what caused the entry (`invoice-line:9812`); it is unique per balance, so posting twice changes
    nothing.
    """

    class Kind(models.TextChoices):
        START = "start", "Start"
        DRAW = "draw", "Draw"
        EXPIRATION = "expiration", "Expiration"
        ROLLOVER = "rollover", "Rollover"
        MANUAL = "manual", "Manual"
        VOID_RETURN = "void_return", "Returned by a void"
        TRUE_UP = "true_up", "True-up"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="ledger")
    contract = models.ForeignKey(
        Contract,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="ledger",
        help_text="Empty: the balance is the customer's, and shared.",
    )
    balance = models.CharField(max_length=200, help_text="Key of the commit or credit.")
    segment = models.CharField(max_length=40, blank=True, help_text="Which of its windows.")
    kind = models.CharField(max_length=20, choices=Kind)
    amount = ExactField(help_text="In the currency of the balance; draws are negative.")
    at = models.DateTimeField(help_text="When it takes effect.")
    source = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    xid = transaction_field()

    objects: ClassVar[models.Manager["LedgerEntry"]]

    class Meta:
        ordering = ["customer", "contract", "balance", "at", "pk"]
        verbose_name_plural = "ledger entries"
        constraints = [
            models.UniqueConstraint(
                fields=["contract", "customer", "balance", "segment", "source"],
                name="one_ledger_entry_per_source",
                nulls_distinct=False,
            )
        ]
        indexes = [models.Index(fields=["xid"], name="ledger_by_transaction")]
        triggers = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.balance} {self.kind} {self.amount}"
