"""What customers owe, by how long it is overdue."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import DecimalField, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from catalog.money import ZERO, add
from contracts.models import Customer
from invoicing.models import Invoice, Status

# Age -> more than so many days overdue, and at most so many.
AGES: Mapping[str, tuple[int | None, int | None]] = {
    "not due": (None, 0),
    "1-30": (0, 30),
    "31-60": (30, 60),
    "61-90": (60, 90),
    "over 90": (90, None),
}


@dataclass(frozen=True, slots=True)
class Owed:
    """What one customer owes in one currency, by age."""

    customer: Customer
    currency: str
    by_age: Mapping[str, Decimal]

    @property
    def total(self) -> Decimal:
        return add(self.by_age.values())

    @property
    def oldest(self) -> int:
        """The place among AGES of the oldest that is owed."""
        return max((place for place, amount in enumerate(self.by_age.values()) if amount), default=0)


def of_age(age: str, as_of: datetime) -> Q:
    """The invoices of an age. The days count from the instant an invoice fell due."""
    more_than, at_most = AGES[age]
    found = Q()
    if more_than is not None:
        found &= Q(due_at__lt=as_of - timedelta(days=more_than))
    return found if at_most is None else found & Q(due_at__gte=as_of - timedelta(days=at_most))


def age_of(due_at: datetime, as_of: datetime) -> str:
    overdue = as_of - due_at
    return [age for age, (days, _) in AGES.items() if days is None or overdue > timedelta(days=days)][-1]


def open_invoices() -> QuerySet[Any]:
    """Issued and not paid in full, with `owed_by` (the customer who pays) and `open`. Written-off ones are not."""
    return Invoice.objects.filter(status=Status.ISSUED).annotate(
        owed_by=Coalesce("payer", "customer"),
        open=F("total") - F("paid_amount") - F("credited_amount"),
    )


def receivables(as_of: datetime) -> list[Owed]:
    """As `in_order`. One query, whatever the number of invoices."""
    sums = {
        _column(place): Sum("open", filter=of_age(age, as_of), output_field=DecimalField())
        for place, age in enumerate(AGES)
    }
    rows = list(open_invoices().order_by().values("owed_by", "currency").annotate(**sums))
    customers = Customer.objects.in_bulk({row["owed_by"] for row in rows})
    found = [
        Owed(
            customers[row["owed_by"]],
            row["currency"],
            {age: row[_column(place)] or ZERO for place, age in enumerate(AGES)},
        )
        for row in rows
    ]
    return in_order(found)


def in_order(owed: Iterable[Owed]) -> list[Owed]:
    """Those longest overdue first, then by name of the customer and currency."""
    return sorted(owed, key=lambda one: (-one.oldest, one.customer.name, one.customer.pk, one.currency))


def sums_by_currency(owed: Iterable[Owed]) -> dict[str, dict[str, Decimal]]:
    """Currency -> age -> amount."""
    found: dict[str, dict[str, Decimal]] = {}
    for row in owed:
        sums = found.setdefault(row.currency, dict.fromkeys(AGES, ZERO))
        for age, amount in row.by_age.items():
            sums[age] = add([sums[age], amount])
    return dict(sorted(found.items()))


def _column(place: int) -> str:
    return f"age_{place}"
