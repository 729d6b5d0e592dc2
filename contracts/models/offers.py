"""What is offered before anybody signs: contract templates (packages), and how far a deal may go by itself."""

from collections.abc import Callable
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from billing_project.fields import ExactField, key_field
from billing_project.history import tracked
from catalog.models import RateCard, currency_code
from contracts.catalog_terms import catalog_of
from contracts.deal_format import DealError
from contracts.guardrails import NO_LIMITS, Guardrails
from contracts.templates import TemplateTerms, parse_template, template_as_dict


@tracked()
class ContractTemplate(models.Model):
    """A package a customer can sign up for: a contract whose instants are durations from its start.

    `document` is the billing file's template without its key, name and rate card.
    """

    key = key_field()
    name = models.CharField(max_length=200)
    rate_card = models.ForeignKey(RateCard, on_delete=models.PROTECT, related_name="templates")
    document = models.JSONField(
        default=dict,
        blank=True,
        help_text="Terms as in a contract, with durations from its start instead of dates: P1M, P1Y, P0D.",
    )
    archived_at = models.DateTimeField(null=True, blank=True, help_text="No longer offered since then.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["ContractTemplate"]]

    class Meta:
        ordering = ["name", "key"]

    def __str__(self) -> str:
        return self.name or self.key

    @property
    def terms(self) -> TemplateTerms:
        """Raises DealError."""
        return parse_template(self.document, catalog_of(self.rate_card))

    def clean(self) -> None:
        if self.rate_card_id is None:
            return
        try:
            parse_template(self.document, catalog_of(self.rate_card))
        except DealError as error:
            raise ValidationError({"document": [str(fault) for fault in error.faults]}) from error
        self.document = template_as_dict(self.document)


@tracked()
class DealGuardrails(models.Model):
    """How far a deal in a currency may go before a second person must approve it; nothing set means no limit."""

    currency = models.CharField(
        max_length=3,
        blank=True,
        unique=True,
        validators=[currency_code],
        help_text="ISO 4217 code. Empty: deals in every currency that has no guardrails of its own.",
        error_messages={"unique": "There are guardrails for this currency already: change those."},
    )
    max_discount_percent = ExactField(
        "highest discount, %",
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="Of all percentages in force at one time, compounded.",
    )
    max_discount_amount = ExactField(
        "highest amount off",
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Off one invoice.",
    )
    max_reduction_percent = ExactField(
        "lowest rates, % off",
        null=True,
        blank=True,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="How far a multiplier may lower a rate: 20 lets multipliers go down to 0.8.",
    )
    max_free_amount = ExactField(
        "most given away",
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Credits, recurring ones for a whole term, and what commits give beyond what is paid for them.",
    )
    max_term_months = models.PositiveSmallIntegerField(
        "longest term, months", null=True, blank=True, help_text="From the contract's start. Empty: no limit."
    )
    max_net_days = models.PositiveSmallIntegerField(
        "most days to pay", null=True, blank=True, help_text="Empty: no limit."
    )
    overwrites_need_approval = models.BooleanField(
        "own prices need approval",
        default=False,
        help_text="Prices negotiated instead of the card's always need a second person.",
    )

    objects: ClassVar[models.Manager["DealGuardrails"]]

    class Meta:
        ordering = ["currency"]
        verbose_name_plural = "deal guardrails"

    def __str__(self) -> str:
        return f"Guardrails in {self.currency}" if self.currency else "Guardrails in any other currency"

    @property
    def limits(self) -> Guardrails:
        return Guardrails(
            max_discount_percent=self.max_discount_percent,
            max_discount_amount=self.max_discount_amount,
            max_reduction_percent=self.max_reduction_percent,
            max_free_amount=self.max_free_amount,
            max_term_months=self.max_term_months,
            max_net_days=self.max_net_days,
            overwrites_need_approval=self.overwrites_need_approval,
        )


def guardrails_in(currency: str) -> Guardrails:
    """The limits for deals in a currency: its own, else those for every currency, else none."""
    return all_guardrails()(currency)


def all_guardrails() -> Callable[[str], Guardrails]:
    """The limits by currency, read once."""
    rows = {row.currency: row.limits for row in DealGuardrails.objects.all()}
    return lambda currency: rows.get(currency) or rows.get("") or NO_LIMITS
