"""Form fields for what people type: lists of names, instants, texts with suggestions."""

from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import moneyed
from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

if TYPE_CHECKING:  # unfold has no types
    TextInput = forms.TextInput
else:
    TextInput = UnfoldAdminTextInputWidget


class CommaSeparatedField(SimpleArrayField):
    """Several names in one text, separated by commas; empty ones and repetitions are dropped."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        items = value.split(self.delimiter) if isinstance(value, str) else value or []
        return super().to_python(list(dict.fromkeys(item.strip() for item in items if item.strip())))


class InstantField(forms.SplitDateTimeField):
    """A date and a time that may be left out: the day then starts at midnight.

    With `local` the answer has no zone: the form knows in which it was meant.
    """

    widget = UnfoldAdminSplitDateTimeWidget

    def __init__(self, *, local: bool = False, **kwargs: Any) -> None:
        self.local = local
        messages = {"incomplete": "Give the date too.", **(kwargs.pop("error_messages", None) or {})}
        super().__init__(**kwargs, require_all_fields=False, error_messages=messages)
        self.fields[1].required = False

    def compress(self, data_list: Any) -> datetime | None:
        day: date | None
        day, at = data_list or (None, None)
        if day is None:
            return None
        if self.local:
            return datetime.combine(day, at or time.min)
        return super().compress((day, at or time.min))


class SuggestingInput(TextInput):
    """A text input with a list of known values to choose from; others may be typed."""

    def __init__(self, suggestions: Callable[[], Iterable[str]], attrs: dict[str, Any] | None = None) -> None:
        self.suggestions = suggestions
        super().__init__(attrs=attrs)

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        list_id = f"{name}-known"
        field = super().render(name, value, {**(attrs or {}), "list": list_id, "autocomplete": "off"}, renderer)
        options = format_html_join("", '<option value="{}">', ((text,) for text in self.suggestions()))
        return format_html('{}<datalist id="{}">{}</datalist>', field, list_id, options)


def timezone_input() -> SuggestingInput:
    return SuggestingInput(lambda: sorted(available_timezones()))


def currency_input() -> SuggestingInput:
    return SuggestingInput(lambda: sorted(moneyed.CURRENCIES))
