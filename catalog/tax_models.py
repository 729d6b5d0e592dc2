"""Rates of tax, by where the customer is, by what is sold and by date."""

from decimal import Decimal
from typing import ClassVar

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q

from billing_project.fields import ExactField, key_field
from billing_project.history import tracked
from catalog.ranges import TimestampRange

COUNTRY = RegexValidator(r"^[A-Z]{2}\Z", "Give the two capital letters of ISO 3166, such as DE or US.", code="country")


@tracked()
class TaxRate(models.Model):
    """What is due on products of a tax category sold to customers of a place, from an instant to an instant."""

    class Category(models.TextChoices):
        """The codes of UNCL 5305 that EN 16931 knows."""

        STANDARD = "S", "S: taxed"
        ZERO = "Z", "Z: taxed at zero"
        EXEMPT = "E", "E: exempt"
        REVERSE_CHARGE = "AE", "AE: reverse charge, the customer owes it"
        INTRA_COMMUNITY = "K", "K: supply within the EU, exempt"
        EXPORT = "G", "G: export, not charged"
        OUTSIDE = "O", "O: outside the scope of tax"

    key = key_field("The short name in files and journal entries, such as de-vat-19. It cannot change.")
    name = models.CharField(max_length=60, help_text="As it stands on the invoice, without the percentage: VAT.")
    percent = ExactField(
        validators=[MinValueValidator(0), MaxValueValidator(100)], help_text="19 for 19%; 0 unless it is taxed."
    )
    category = models.CharField(max_length=2, choices=Category, default=Category.STANDARD)
    country = models.CharField(
        max_length=2, validators=[COUNTRY], help_text="Of the customer, as two letters of ISO 3166: DE."
    )
    region = models.CharField(
        max_length=40, blank=True, help_text="A part of the country with a rate of its own. Empty: all of it."
    )
    product_category = models.CharField(
        max_length=100, blank=True, help_text="The tax category of products it is for. Empty: those without one."
    )
    inclusive = models.BooleanField(
        "included in prices", default=False, help_text="The prices on the card hold this tax already."
    )
    note = models.CharField(
        max_length=300, blank=True, help_text="The legal reason where nothing is charged, as it stands on the invoice."
    )
    starting_at = models.DateTimeField(null=True, blank=True, help_text="Empty: since ever.")
    ending_before = models.DateTimeField(null=True, blank=True, help_text="Empty: until further notice.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["TaxRate"]]

    class Meta:
        ordering = ["country", "region", "product_category", F("starting_at").asc(nulls_first=True)]
        constraints = [
            models.CheckConstraint(
                name="tax_rate_ends_after_it_starts",
                condition=Q(ending_before__isnull=True)
                | Q(starting_at__isnull=True)
                | Q(ending_before__gt=F("starting_at")),
                violation_error_message="A tax rate must end after it starts.",
            ),
            ExclusionConstraint(
                name="tax_rates_do_not_overlap",
                expressions=[
                    ("country", RangeOperators.EQUAL),
                    ("region", RangeOperators.EQUAL),
                    ("product_category", RangeOperators.EQUAL),
                    (TimestampRange("starting_at", "ending_before"), RangeOperators.OVERLAPS),
                ],
                violation_error_message="Overlaps another tax rate of this place and product category.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.key}"

    def clean(self) -> None:
        taxed = self.category == self.Category.STANDARD
        if self.percent is not None and taxed != (self.percent > Decimal(0)):
            needed = "above zero" if taxed else "0"
            raise ValidationError({"percent": f"Must be {needed} in category {self.category}."})
        if self.inclusive and not taxed:
            raise ValidationError({"inclusive": "Prices hold no tax that is not charged."})
        # The database looks at overlaps once more, for two people who save at once.
        if self.category in ("E", "AE", "K", "G", "O") and not self.note.strip():
            raise ValidationError({"note": "Say why no tax is charged: the law asks for it on the invoice."})
