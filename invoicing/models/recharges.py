"""Balances that were filled up because they had fallen to their threshold."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing_project.fields import ExactField
from contracts.models import Contract
from invoicing.models.invoices import Invoice


class Recharge(models.Model):
    """One crossing of a balance threshold: what was added, and what is charged for it. It becomes a prepaid commit of
    the contract, named `balance`: at once, or when its invoice is paid.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", "Waits for payment"
        USABLE = "usable", "Usable"
        DROPPED = "dropped", "Never paid"

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="recharges")
    number = models.PositiveIntegerField()
    balance = models.CharField(max_length=200, help_text="Key of the commit it became, or will become.")
    status = models.CharField(max_length=20, choices=Status)
    at = models.DateTimeField(help_text="When the balance was seen to have fallen.")
    left = ExactField(help_text="What was left of it then.")
    amount = ExactField(help_text="What was added, in the balance's unit.")
    unit = models.CharField(max_length=200, blank=True)
    charge = ExactField(help_text="What is charged, in the contract's currency, before tax.")
    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, null=True, blank=True, related_name="recharge")
    usable_from = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["Recharge"]] = models.Manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["contract", "number"], name="recharges_are_numbered"),
            models.UniqueConstraint(
                fields=["contract"], condition=Q(status="waiting"), name="one_recharge_waits_at_a_time"
            ),
            models.CheckConstraint(
                name="usable_recharges_say_since_when", condition=~Q(status="usable") | Q(usable_from__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.balance} of {self.contract}"
