"""Customers, and the keys under which usage events name them."""

from functools import cache
from typing import Any, ClassVar
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction

from billing_project.fields import ExactField, key_field
from billing_project.history import tracked


def timezone_name(value: str) -> None:
    """Validator for IANA time zone names."""
    if value not in _time_zones():
        raise ValidationError(
            "%(value)s is not a time zone name, such as Europe/Berlin or UTC.", params={"value": value}
        )


@cache
def _time_zones() -> set[str]:
    """Looked up once: it walks through folders."""
    return available_timezones()


class Payer(models.TextChoices):
    PARENT = "parent", "The parent customer"
    SELF = "self", "The customer itself"


@tracked()
class Customer(models.Model):
    """Who is billed. Usage events name a customer by its key or by any of its aliases."""

    key = key_field("The customer's key in usage events, such as acme. It cannot change; aliases may be added.")
    name = models.CharField(max_length=200)
    timezone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[timezone_name],
        help_text="Periods of new contracts end at midnight here.",
    )
    email = models.EmailField(blank=True, help_text="Where invoices go.")
    address = models.TextField(blank=True, help_text="Postal address, as it stands on the invoice.")
    tax_id = models.CharField("tax ID", max_length=40, blank=True)
    tax_rate = ExactField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="As a fraction: 0.19 for 19%. Empty: no tax.",
    )
    parent = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="children",
        help_text="The customer this one belongs to: its commits and credits are shared with those below it.",
    )
    payer = models.CharField(
        "invoices go to",
        max_length=10,
        choices=Payer,
        default=Payer.PARENT,
        help_text="Without a parent a customer pays itself.",
    )
    funds = models.JSONField(
        default=dict,
        blank=True,
        help_text="Commits and credits that contracts of this customer and of those below it share.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Customer"]]

    class Meta:
        ordering = ["name", "key"]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        # The main key stands among the aliases too, so that one unique index keeps two customers from sharing a key.
        with transaction.atomic():
            super().save(*args, **kwargs)
            CustomerKey.objects.get_or_create(key=self.key, defaults={"customer": self})

    def clean(self) -> None:
        taken = CustomerKey.objects.filter(key=self.key).exclude(customer=self.pk).select_related("customer").first()
        if taken:
            raise ValidationError({"key": f"{self.key} is already a key of {taken.customer}."})


@tracked()
class CustomerKey(models.Model):
    """A key under which usage events name a customer: its main key and its aliases, each belonging to one customer."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="keys")
    key = models.CharField(
        "alias",
        max_length=500,
        unique=True,
        help_text="Another name of this customer in usage events.",
        error_messages={"unique": "This key already belongs to a customer."},
    )

    objects: ClassVar[models.Manager["CustomerKey"]]

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key
