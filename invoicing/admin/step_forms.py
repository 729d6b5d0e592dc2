"""What a step of an invoice asks for before it is taken."""

import uuid
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing_project.admin import PlainDecimalWidget
from billing_project.decimals import plain
from billing_project.errors import RuleError
from billing_project.forms import SuggestingInput
from catalog.group_values import group_text
from catalog.models import Product
from catalog.money import ZERO, round_amount, subtract
from catalog.price_text import amount_text
from invoicing.credit_notes import left_of_invoice, left_to_credit
from invoicing.models import CreditNote, Invoice, InvoiceLine, Payment


class AskingForm(forms.Form):
    """What a step asks for; what a rule refuses stands at the field it names."""

    template = "invoicing/step_fields.html"

    def begin(self) -> None:
        """Let typing begin in the first field that is wrong, or in the first of all."""
        fields = self.visible_fields()
        for field in [*(each for each in fields if self.is_bound and each.errors), *fields][:1]:
            field.field.widget.attrs["autofocus"] = True

    def hint(self) -> str:
        """What taking the step means."""
        return ""

    def refused(self, refusal: RuleError) -> None:
        """Show what a rule says at the field it names."""
        for problem in refusal.problems:
            name = self.field_of(problem.path)
            self.add_error(name if name in self.fields else None, problem.message)

    def field_of(self, path: str) -> str:
        return path


class StepForm(AskingForm):
    """`part` is the payment, the line or the credit note of the invoice that the step is about."""

    def __init__(self, data: Any, invoice: Invoice, part: Any = None) -> None:
        super().__init__(data)
        self.invoice, self.part, self.currency = invoice, part, str(invoice.total.currency)


def _amount(**kwargs: Any) -> forms.DecimalField:
    return forms.DecimalField(max_digits=28, decimal_places=10, widget=PlainDecimalWidget(), **kwargs)


def _reason(label: str = "Reason", **kwargs: Any) -> forms.CharField:
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})
    return forms.CharField(label=label, max_length=2000, widget=widget, **kwargs)


class ReasonForm(StepForm):
    reason = _reason(help_text="For those who look later.")


class RejectForm(StepForm):
    reason = _reason("Note", help_text="What is wrong with it, for those who mend it.")

    def hint(self) -> str:
        return "It stays in review, at the end of the queue, until somebody has mended it and releases it."


class WriteOffForm(ReasonForm):
    def hint(self) -> str:
        open_text = amount_text(self.invoice.open_amount, self.currency)
        return (
            f"{open_text} is given up: {self.invoice} is uncollectible. A payment that comes after all is still taken."
        )


class VoidForm(ReasonForm):
    def hint(self) -> str:
        if self.invoice.kind == Invoice.Kind.THRESHOLD:
            return f"{self.invoice} is void and what it drew goes back. The next look at the threshold bills it again."
        return f"{self.invoice} is void and what it drew goes back. An invoice in review takes its place, built anew."


class LineForm(StepForm):
    name = forms.CharField(
        max_length=200, help_text="As it stands on the invoice.", widget=UnfoldAdminTextInputWidget()
    )
    quantity = _amount(initial=1)
    unit_amount = _amount(help_text="Before tax; below zero takes off.")
    product = forms.CharField(
        max_length=200,
        required=False,
        help_text="Key of a product, for reports. It may be empty.",
        widget=SuggestingInput(lambda: Product.objects.values_list("key", flat=True)),
    )
    reason = _reason(help_text="For those who look later; customers do not see it.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["unit_amount"].label = f"Unit amount in {self.currency}"

    def hint(self) -> str:
        return "Who writes a line may not approve the invoice."

    def clean_product(self) -> str:
        key = str(self.cleaned_data["product"])
        if key and not Product.objects.filter(key=key).exists():
            raise forms.ValidationError("No product has this key: choose one of the list, or leave it empty.")
        return key


class RemoveLineForm(ReasonForm):
    def hint(self) -> str:
        return f"“{self.part.name}” over {amount_text(self.part.amount, self.currency)} is taken off."


class PaymentForm(StepForm):
    amount = _amount()
    received_on = forms.DateField(label="Received on", widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}))
    method = forms.ChoiceField(
        choices=Payment.Method.choices, initial=Payment.Method.BANK_TRANSFER, widget=UnfoldAdminSelectWidget()
    )
    reference = forms.CharField(
        max_length=200,
        required=False,
        help_text="As it stands on the bank statement.",
        widget=UnfoldAdminTextInputWidget(),
    )
    # The same form sent twice is one payment.
    key = forms.UUIDField(widget=forms.HiddenInput())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].label = f"Amount in {self.currency}"
        self.fields["amount"].initial = round_amount(self.invoice.open_amount, self.currency)
        self.fields["received_on"].initial = self._today().isoformat()
        self.fields["key"].initial = uuid.uuid4()

    def hint(self) -> str:
        return f"{amount_text(self.invoice.open_amount, self.currency)} is open."

    def clean_received_on(self) -> date:
        day = cast("date", self.cleaned_data["received_on"])
        if day > self._today():
            raise forms.ValidationError("This day is still to come.")
        return day

    def received_at(self) -> datetime:
        return datetime.combine(self.cleaned_data["received_on"], time.min, tzinfo=self.invoice.contract.zone)

    def _today(self) -> date:
        return timezone.localdate(timezone=self.invoice.contract.zone)


class ReversePaymentForm(ReasonForm):
    def hint(self) -> str:
        return (
            f"The payment of {amount_text(self.part.amount, self.currency)} bounced or was paid back: {self.invoice} "
            "is open again by that amount."
        )


class CreditForm(StepForm):
    """A field for each line that has something left to credit."""

    template = "invoicing/credit_fields.html"
    reason = _reason(help_text="The customer reads it on the credit note.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        left = {position: amount for position, amount in left_to_credit(self.invoice).items() if amount > 0}
        self.left, self.of_invoice = left, left_of_invoice(self.invoice)
        self.lines = list(self.invoice.lines.filter(position__in=left).order_by("position"))
        remaining = self.of_invoice
        for line in self.lines:
            most = min(left[line.position], remaining)
            remaining = subtract(remaining, most)
            self.fields[f"line_{line.position}"] = _amount(
                required=False, label=line.name, min_value=ZERO, initial=round_amount(most, self.currency)
            )
        self.order_fields([*(f"line_{line.position}" for line in self.lines), "reason"])

    def hint(self) -> str:
        left = amount_text(self.of_invoice, self.currency)
        return f"{left} of {self.invoice} is left to credit. Somebody else looks at it and issues it."

    def rows(self) -> Iterator[tuple[InvoiceLine, str, Decimal, forms.BoundField]]:
        """Each line, its group, what is left of it, and its field."""
        for line in self.lines:
            yield line, group_text(line.group), self.left[line.position], self[f"line_{line.position}"]

    def amounts(self) -> dict[int, Decimal]:
        given = {line.position: self.cleaned_data.get(f"line_{line.position}") for line in self.lines}
        return {position: amount for position, amount in given.items() if amount}

    def field_of(self, path: str) -> str:
        return path.replace("lines[", "line_").removesuffix("]") if path.startswith("lines[") else path


class IssueNoteForm(StepForm):
    part: CreditNote

    def hint(self) -> str:
        total = amount_text(self.part.total, self.currency)
        asked = f" {self.part.requested_by} asked for it:" if self.part.requested_by else ""
        return (
            f"The credit note over {total} takes the next number and cannot change any more.{asked} {self.part.reason}"
        )


class RejectNoteForm(ReasonForm):
    def hint(self) -> str:
        return f"The credit note over {plain(self.part.total)} {self.currency} is not issued."
