"""Model fields that keep money and quantities exact."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core import checks
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Cast
from django.utils.functional import cached_property

from billing_project.decimals import plain

KEY = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*\Z", "Use letters, digits and . _ : @ / -, beginning with a letter or a digit."
)


class PlainDecimalInput(forms.TextInput):
    """Shows a decimal at full precision; a number input would round it or write 5E-8."""

    def format_value(self, value: Any) -> str | None:
        return plain(value) if isinstance(value, Decimal) else super().format_value(value)


class ExactField(models.DecimalField[Any, Any]):
    """A `numeric` column without a scale: what is stored is what was given, digit for digit.

    django's DecimalField wants a number of places and rounds to it; a price of 0.00000005 a token or a quantity of
    5,460,117,900 must pass unchanged.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("max_digits", None)
        kwargs.pop("decimal_places", None)
        super().__init__(*args, **kwargs)

    def db_type(self, connection: Any) -> str:
        return "numeric"

    def _check_decimal_places(self) -> list[checks.CheckMessage]:
        return []

    def _check_max_digits(self) -> list[checks.CheckMessage]:
        return []

    def _check_decimal_places_and_max_digits(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return []

    @cached_property
    def validators(self) -> list[Any]:
        # Without digits to validate: the parent would add a validator for max_digits and decimal_places.
        return super(models.DecimalField, self).validators

    def to_python(self, value: Any) -> Any:
        if isinstance(value, float):
            raise ValidationError("Give the number as text or a decimal, not as a binary float.", code="float")
        number = super().to_python(value)
        if isinstance(number, Decimal) and not number.is_finite():
            raise ValidationError("A finite number is needed.", code="not_finite")
        return number

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return value if hasattr(value, "as_sql") else self.to_python(value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return value if hasattr(value, "as_sql") else self.to_python(value)

    def formfield(self, **kwargs: Any) -> Any:
        kwargs.setdefault("widget", PlainDecimalInput)
        return super().formfield(**{"max_digits": None, "decimal_places": None, **kwargs})


def key_field(help_text: str = "", **kwargs: Any) -> models.CharField[str, str]:
    """The stable key that files, API calls and statements name a thing by."""
    return models.CharField(
        max_length=200,
        unique=True,
        validators=[KEY],
        help_text=help_text or "The short name used in files and API calls, such as gpt-4o-input. It cannot change.",
        **kwargs,
    )


def transaction_field() -> models.BigIntegerField[int, int]:
    """The id of the transaction that wrote the row, given by the database: by it is known what was written since."""
    written = Cast(Cast(models.Func(function="pg_current_xact_id"), models.TextField()), models.BigIntegerField())
    return models.BigIntegerField(db_default=written, editable=False)
