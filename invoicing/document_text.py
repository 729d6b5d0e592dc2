"""Numbers, amounts and days on documents, as the customer's language writes them. Pure."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from catalog.price_text import amount_text, exact_text, unit_price_text
from contracts.period_text import day_text, period_text

# Thousands, decimal mark, and how a day is written; None: with the month in words.
WRITTEN: dict[str, tuple[str, str, str | None]] = {
    "": (",", ".", None),
    "en-gb": (",", ".", None),
    "de": (".", ",", "%d.%m.%Y"),
    "fr": ("\u202f", ",", "%d/%m/%Y"),
    "es": (".", ",", "%d/%m/%Y"),
    "nl": (".", ",", "%d-%m-%Y"),
}


@dataclass(frozen=True, slots=True)
class Words:
    """How one document writes: `locale` is that of the customer, days are those of the contract's time zone."""

    locale: str
    zone: ZoneInfo
    currency: str

    def amount(self, amount: Decimal) -> str:
        return self._written(amount_text(amount, self.currency))

    def unit_price(self, amount: Decimal) -> str:
        return self._written(unit_price_text(amount, self.currency))

    def number(self, number: Decimal) -> str:
        return self._written(exact_text(number))

    def day(self, instant: datetime | None) -> str:
        if instant is None:
            return ""
        _, _, pattern = WRITTEN.get(self.locale, WRITTEN[""])
        return f"{instant.astimezone(self.zone):{pattern}}" if pattern else day_text(instant, self.zone)

    def span(self, starting_at: datetime, ending_before: datetime) -> str:
        """A half-open span with its last day."""
        start, end = starting_at.astimezone(self.zone), ending_before.astimezone(self.zone)
        whole_days = start.time() == time.min == end.time()
        if WRITTEN.get(self.locale, WRITTEN[""])[2] is None or not whole_days:
            return period_text(starting_at, ending_before, self.zone)
        last = ending_before - timedelta(microseconds=1)
        first, last_day = self.day(starting_at), self.day(last)
        return first if first == last_day else f"{first} – {last_day}"

    def _written(self, text: str) -> str:
        thousands, mark, _ = WRITTEN.get(self.locale, WRITTEN[""])
        return text.translate({ord(","): thousands, ord("."): mark})
