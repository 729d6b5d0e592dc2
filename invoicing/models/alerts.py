"""What somebody wants to be told of, and when it came to pass."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

from billing_project.fields import ExactField
from billing_project.history import tracked
from contracts.models import Contract, Customer


class AlertKind(models.TextChoices):
    SPEND = "spend", "Spend of the period reaches an amount"
    USAGE = "usage", "Usage of a product in the period reaches a quantity"
    THRESHOLD = "threshold", "Spend reaches a percentage of the spend threshold"
    COMMIT = "commit", "A percentage of a commit or credit is used"
    BALANCE = "balance", "What is left of commits and credits falls to an amount"
    DAYS_LEFT = "days_left", "Days left to use a commit or credit fall to a number"
    ENTITLEMENT = "entitlement", "A percentage of an allowance is used"
    INVOICE = "invoice", "The total of an invoice reaches an amount"
    OVERDUE = "overdue", "An invoice is overdue by days"
    CHARGE = "charge", "Charges of an invoice were refused, so many"


@tracked()
class AlertRule(models.Model):
    """A limit that is watched, for every contract or for those of one customer."""

    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=20, choices=AlertKind)
    limit = ExactField(
        validators=[MinValueValidator(0)],
        help_text="An amount in the contract's currency, a quantity, a percentage, or days.",
    )
    customer = models.ForeignKey(
        Customer, on_delete=models.CASCADE, null=True, blank=True, related_name="alert_rules", help_text="Empty: all."
    )
    currency = models.CharField(max_length=3, blank=True, help_text="For amounts: only contracts in it. Empty: any.")
    feature = models.CharField(
        max_length=200,
        blank=True,
        help_text="For allowances: of which feature; for usage: of which product (its key). Empty: any.",
    )
    emails = ArrayField(
        models.EmailField(), default=list, blank=True, verbose_name="e-mail to", help_text="Addresses, by commas."
    )
    active = models.BooleanField(default=True)

    objects: ClassVar[models.Manager["AlertRule"]]

    class Meta:
        ordering = ["name", "pk"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.feature and self.kind not in (AlertKind.ENTITLEMENT, AlertKind.USAGE):
            raise ValidationError({"feature": "Only alerts on allowances and on usage look at a feature or product."})

    def concerns(self, contract: Contract) -> bool:
        return self.customer_id in (None, contract.customer_id) and self.currency in ("", contract.currency)


class Alert(models.Model):
    """A limit that was reached: once, until it is no longer reached or what it is about is over (`place`)."""

    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="alerts")
    contract = models.ForeignKey(Contract, on_delete=models.CASCADE, related_name="alerts")
    place = models.CharField(max_length=500, blank=True)
    value = ExactField()
    limit = ExactField()
    reason = models.TextField()
    triggered_at = models.DateTimeField()
    recovered_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["Alert"]] = models.Manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "contract", "place"],
                condition=models.Q(recovered_at__isnull=True),
                name="one_open_alert_per_crossing",
            )
        ]

    def __str__(self) -> str:
        return self.reason
