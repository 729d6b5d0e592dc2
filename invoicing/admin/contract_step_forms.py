"""What a change of a contract in force asks for before it is made."""

import uuid
from datetime import date, datetime
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing_project.admin import PlainDecimalWidget
from billing_project.decimals import plain
from contracts.deal import Subscription
from contracts.durations import between
from contracts.models import Contract
from contracts.period_text import instant_text, period_text
from contracts.subscriptions import quantity_at
from invoicing.admin.step_forms import AskingForm
from meters.periods import local_midnight


def _day(label: str, help_text: str, **kwargs: Any) -> forms.DateField:
    widget = UnfoldAdminTextInputWidget(attrs={"type": "date"})
    return forms.DateField(label=label, help_text=help_text, widget=widget, **kwargs)


class ChangeForm(AskingForm):
    """A change of `contract`. Days are midnight in its time zone."""

    reason = forms.CharField(
        max_length=2000, help_text="For those who look later.", widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )
    # The same form sent twice is one change.
    request = forms.UUIDField(widget=forms.HiddenInput())

    def __init__(self, data: Any, contract: Contract) -> None:
        super().__init__(data)
        self.contract = contract
        self.fields["request"].initial = uuid.uuid4()
        self.order_fields([name for name in self.fields if name != "reason"] + ["reason"])

    def at(self, name: str) -> datetime:
        return local_midnight(self.cleaned_data[name], self.contract.zone)

    def today(self) -> date:
        return timezone.localdate(timezone=self.contract.zone)

    def request_key(self) -> str:
        return f"form {self.cleaned_data['request']}"


class EndForm(ChangeForm):
    day = _day("Ends before", "The first day that is no longer part of it, in the contract's time zone.")

    def hint(self) -> str:
        lasts = period_text(self.contract.starting_at, self.contract.ending_before, self.contract.zone)
        return (
            f"{self.contract} lasts {lasts}. Its last period will be short: balances close then, postpaid commits are "
            "trued up, and what would fall due later is not billed."
        )

    def field_of(self, path: str) -> str:
        return "day" if path in ("at", "ending_before") else path


def _length_text(contract: Contract, end: datetime) -> str:
    length = between(contract.starting_at, end, contract.zone)
    parts = ((length.months, "month"), (length.days, "day"), (length.seconds, "second"))
    return ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in parts if number)


class RenewForm(ChangeForm):
    key = forms.CharField(
        max_length=200, help_text="Of the contract that goes on.", widget=UnfoldAdminTextInputWidget()
    )
    ending_before = _day(
        "Ends before", "The first day that is no longer part of it. Empty: it lasts as long as before.", required=False
    )

    def __init__(self, data: Any, contract: Contract) -> None:
        super().__init__(data, contract)
        self.fields["key"].initial = f"{contract.key[:180]}-renewed"

    def hint(self) -> str:
        contract, end = self.contract, self.contract.ending_before
        if end is None:
            return ""  # what has no end is not renewed: sent, it is refused in words
        return (
            f"A contract from {instant_text(end, contract.zone)} on, with the terms of {contract} moved by its length "
            f"({_length_text(contract, end)}). One-time charges and credits do not come again. {self._carried()}"
        )

    def _carried(self) -> str:
        """What rolls over, by the terms of each commit and credit."""
        deal = self.contract.parsed_deal
        funds = (*deal.commits, *deal.credits, *deal.recurring_commits, *deal.recurring_credits)
        rolling = [
            f"{each.name or each.key} (up to {plain(each.rollover.fraction * 100)}% of what "
            f"{'remains' if each.rollover.of == 'remaining' else 'it was'})"
            for each in funds
            if each.rollover
        ]
        return f"What is left rolls over: {', '.join(rolling)}." if rolling else "Nothing that is left rolls over."


class SeatsForm(ChangeForm):
    subscription = forms.ChoiceField(widget=UnfoldAdminSelectWidget())
    quantity = forms.DecimalField(max_digits=28, decimal_places=10, min_value=0, widget=PlainDecimalWidget())
    day = _day("From", "The first day with this quantity, in the contract's time zone.")
    seats = forms.CharField(
        label="Who has a seat",
        required=False,
        help_text="One in each line. Empty: as before.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )

    def __init__(self, data: Any, contract: Contract) -> None:
        super().__init__(data, contract)
        offered = running_subscriptions(contract)
        now = timezone.now()
        self.fields["subscription"].choices = [  # type: ignore[attr-defined]
            (each.key, f"{each.key}: {plain(quantity_at(each, now))} now") for each in offered
        ]
        self.fields["day"].initial = self.today().isoformat()

    def hint(self) -> str:
        return "What it costs follows from the subscription: when increases are billed, and when decreases count."

    def named(self) -> list[str] | None:
        lines = [line.strip() for line in self.cleaned_data["seats"].splitlines()]
        return [line for line in lines if line] or None

    def field_of(self, path: str) -> str:
        last = path.rpartition(".")[2]
        if last in ("at", "effective_at"):
            return "day"
        return last if last in self.fields else path


def running_subscriptions(contract: Contract) -> list[Subscription]:
    now = timezone.now()
    subscriptions = contract.parsed_deal.subscriptions
    return [each for each in subscriptions if each.ending_before is None or each.ending_before > now]
