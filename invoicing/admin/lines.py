"""Lines as people see them, with the links that say why each is what it is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from catalog.group_values import group_text
from catalog.models import Product, Rate
from contracts.admin.explorer import ALL_GROUPS
from contracts.models import Contract
from contracts.period_text import period_text
from invoicing.draft_rows import draft_line
from invoicing.models import Invoice, InvoiceLine
from invoicing.statement import Statement
from meters.models import Meter

MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ShownLine:
    line: InvoiceLine
    group: str
    span: str
    rate_url: str
    meter_url: str
    events_url: str

    @property
    def converted(self) -> bool:
        return bool(self.line.quantity != self.line.billed_quantity)

    @property
    def flat(self) -> bool:
        """Charged whatever the quantity."""
        return bool(self.line.tiers) and not any(Decimal(tier["quantity"]) for tier in self.line.tiers)

    @property
    def by_tier(self) -> bool:
        return self.line.unit_amount is None and not self.flat

    @property
    def rounded(self) -> bool:
        return bool(self.line.amount != self.line.amount_exact)


@dataclass(frozen=True, slots=True)
class ShownUnrated:
    """Usage without a price, and where to give it one."""

    product: str
    group: str
    quantity: str
    add_rate_url: str


def statement_lines(statement: Statement) -> list[InvoiceLine]:
    """The lines of a statement as an invoice would hold them, not saved."""
    return [draft_line(Invoice(), position, line) for position, line in enumerate(statement.lines, start=1)]


def shown_lines(lines: Sequence[InvoiceLine], contract: Contract) -> list[ShownLine]:
    zone = contract.zone
    rates = _rate_urls(line.rate for line in lines)
    meters = _urls(Meter, "admin:meters_meter_change", {line.meter for line in lines})
    return [
        ShownLine(
            line=line,
            group=group_text(line.group),
            span=period_text(line.starting_at, line.ending_before, zone),
            rate_url=rates.get(line.rate, ""),
            meter_url=meters.get(line.meter, ""),
            events_url=_events_url(line, contract) if line.meter in meters else "",
        )
        for line in lines
    ]


def _events_url(line: InvoiceLine, contract: Contract) -> str:
    """The usage behind a line by day, or by hour where it is shorter, and from there its events."""
    zone = contract.zone
    first = line.starting_at.astimezone(zone).date()
    last = (line.ending_before - MOMENT).astimezone(zone).date()
    keys = list(line.group)
    asked = {
        "customer": contract.customer.key,
        "meter": line.meter,
        "group_by": keys[0] if len(keys) == 1 else ALL_GROUPS if keys else "",
        "start": first.isoformat(),
        "end": last.isoformat(),
        "window": "hour" if first == last else "day",
        "tz": zone.key,
    }
    return f"{reverse('admin:contracts_usage')}?{urlencode(asked)}"


def shown_unrated(unrated: Iterable[Mapping[str, Any]], contract: Contract) -> list[ShownUnrated]:
    unrated = list(unrated)
    products = dict(Product.objects.filter(key__in={row["product"] for row in unrated}).values_list("key", "pk"))
    return [
        ShownUnrated(
            product=row["product"],
            group=group_text(row["group"]),
            quantity=row["quantity"],
            add_rate_url=f"{reverse('admin:catalog_rate_add')}?"
            + urlencode(
                {
                    "rate_card": contract.rate_card_id,
                    "product": products.get(row["product"], ""),
                    "where": group_text(row["group"]),
                }
            ),
        )
        for row in unrated
    ]


def _rate_urls(references: Iterable[str]) -> dict[str, str]:
    """`rate:812`, or `rate:812;override:0` -> the page of the rate card it is on."""
    references = set(references)
    keys = [int(pk) for kind, _, pk in (each.partition(";")[0].partition(":") for each in references) if kind == "rate"]
    found = Rate.objects.filter(pk__in=keys).values_list("pk", "rate_card")
    urls = {f"rate:{pk}": reverse("admin:catalog_ratecard_change", args=[card]) for pk, card in found}
    return {each: urls[of] for each in references if (of := each.partition(";")[0]) in urls}


def _urls(model: Any, url: str, keys: Iterable[str]) -> dict[str, str]:
    return {key: reverse(url, args=[pk]) for pk, key in model.objects.filter(key__in=keys).values_list("pk", "key")}
