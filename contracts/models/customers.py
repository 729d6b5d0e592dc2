"""Customers, and the keys under which usage events name them."""

from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connection, models, transaction

from billing_project.fields import ExactField, key_field
from billing_project.history import tracked
from catalog.tax_models import COUNTRY
from contracts.deal_format import DealError
from contracts.shared_terms import NOTHING_SHARED, SharedFunds, funds_as_dict, parse_funds


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


class TaxTreatment(models.TextChoices):
    """What tax a customer pays, whatever the rates say; the codes behind are those of EN 16931."""

    TAXED = "", "Taxed by the rates"
    EXEMPT = "exempt", "Exempt"
    REVERSE_CHARGE = "reverse_charge", "Reverse charge: the customer owes the tax"
    INTRA_COMMUNITY = "intra_community", "Supply within the EU"
    EXPORT = "export", "Export: not charged"
    OUTSIDE = "outside", "Outside the scope of tax"


NEEDS_TAX_ID = (TaxTreatment.REVERSE_CHARGE, TaxTreatment.INTRA_COMMUNITY)


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
    country = models.CharField(
        max_length=2,
        blank=True,
        validators=[COUNTRY],
        help_text="Two letters of ISO 3166, such as DE: decides the tax.",
    )
    region = models.CharField(max_length=40, blank=True, help_text="Where part of the country has tax of its own.")
    locale = models.CharField(
        max_length=10,
        blank=True,
        choices=[("en-gb", "English"), ("de", "German"), ("fr", "French"), ("es", "Spanish"), ("nl", "Dutch")],
        help_text="How numbers and dates are written on documents. Empty: as in American English.",
    )
    tax_rate = ExactField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="One rate for everything, as a fraction: 0.19 for 19%. Empty: the tax rates of the country.",
    )
    tax_treatment = models.CharField(max_length=20, blank=True, choices=TaxTreatment, default=TaxTreatment.TAXED)
    tax_note = models.CharField(
        max_length=300, blank=True, help_text="Why nothing is charged, as it stands on the invoice."
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
            if self.parent is not None and self.pk is not None:
                # One family at a time: of two customers that become each other's parent at once, one is refused.
                lock_families([self, self.parent])
                self._clean_parent()
            super().save(*args, **kwargs)
            CustomerKey.objects.get_or_create(key=self.key, defaults={"customer": self})

    @property
    def shared_funds(self) -> SharedFunds:
        return parse_funds(self.funds, ZoneInfo(self.timezone)) if self.funds else NOTHING_SHARED

    def clean(self) -> None:
        taken = CustomerKey.objects.filter(key=self.key).exclude(customer=self.pk).select_related("customer").first()
        if taken:
            raise ValidationError({"key": f"{self.key} is already a key of {taken.customer}."})
        self._clean_parent()
        self._clean_tax()
        if self.funds:
            self._clean_funds()

    def _clean_tax(self) -> None:
        if not self.tax_treatment:
            return
        if self.tax_rate:
            raise ValidationError({"tax_rate": "Nothing is charged by the tax treatment: leave the rate empty."})
        if self.tax_treatment in NEEDS_TAX_ID and not self.tax_id:
            raise ValidationError({"tax_id": "The customer owes the tax itself: its tax ID must be on the invoice."})
        if self.tax_treatment == TaxTreatment.EXEMPT and not self.tax_note.strip():
            raise ValidationError({"tax_note": "Say why it is exempt: the law asks for it on the invoice."})

    def _clean_parent(self) -> None:
        if self.parent_id is None:
            return
        above = Families(Customer.objects.filter(pk=self.parent_id)).line(self.parent_id)
        if self.pk in {each.pk for each in above}:
            names = " below ".join(str(each) for each in above)
            raise ValidationError({"parent": f"{names}: a customer cannot stand below itself."})

    def _clean_funds(self) -> None:
        try:
            self.funds = funds_as_dict(parse_funds(self.funds, ZoneInfo(self.timezone)))
        except DealError as error:
            raise ValidationError({"funds": [str(fault) for fault in error.faults]}) from error


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


ABOVE = """
    WITH RECURSIVE family AS (
        SELECT id, parent_id FROM contracts_customer WHERE id = ANY(%s)
        UNION
        SELECT above.id, above.parent_id FROM contracts_customer above JOIN family ON above.id = family.parent_id
    )
    SELECT customer.* FROM contracts_customer customer JOIN family USING (id)
"""
BELOW = """
    WITH RECURSIVE family AS (
        SELECT id FROM contracts_customer WHERE id = ANY(%s)
        UNION
        SELECT below.id FROM contracts_customer below JOIN family ON below.parent_id = family.id
    )
    SELECT id FROM family
"""


class Families:
    """Customers with all who stand above them: one query however many and deep, none without parents."""

    def __init__(self, customers: Iterable[Customer]) -> None:
        self._known = {each.pk: each for each in customers}
        missing = {each.parent_id for each in self._known.values() if each.parent_id} - self._known.keys()
        for row in Customer.objects.raw(ABOVE, [list(missing)]) if missing else ():
            self._known.setdefault(row.pk, row)

    def line(self, customer: int) -> list[Customer]:
        """The customer, its parent, and so on up."""
        found = [self._known[customer]]
        while found[-1].parent_id and len(found) <= len(self._known):
            found.append(self._known[found[-1].parent_id])
        return found

    def payer(self, customer: int) -> Customer:
        """Whom invoices of a customer are addressed to: itself, or the first above it that pays itself."""
        line = self.line(customer)
        return next((each for each in line if each.payer == Payer.SELF), line[-1])


def shared_commit_keys(customer: Customer) -> frozenset[str]:
    """The commits that a customer and all above it share."""
    line = Families([customer]).line(customer.pk) if customer.pk else []
    return frozenset(commit.key for each in line for commit in each.shared_funds.commits)


def below(customers: Iterable[int]) -> set[int]:
    """The customers and all who stand below them."""
    wanted = list(customers)
    if not wanted:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(BELOW, [wanted])
        return {row[0] for row in cursor.fetchall()}


def lock_families(customers: Iterable[Customer]) -> set[int]:
    """Wait for all else that draws on what these customers' families share, until the transaction ends; returns the
    heads of the families.
    """
    wanted = [each.pk for each in customers]
    while True:
        heads = {each.pk for each in Customer.objects.raw(ABOVE, [wanted]) if each.parent_id is None}
        rows = Customer.objects.select_for_update(no_key=True).filter(pk__in=heads).order_by("pk")
        # A head that got a parent while we waited is none any more: look again.
        if all(row.parent_id is None for row in rows):
            return heads
