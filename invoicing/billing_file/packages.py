"""Contract templates of a billing file, and contracts that are signed from one.

A contract that names a template gets what it does not say itself from there. One that exists keeps its terms: what the
file does not say stays as it is, whatever became of the template since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from catalog.models import RateCard
from contracts.catalog_terms import catalog_of
from contracts.deal_format import Catalog, DealError, Fault, with_instants
from contracts.models import Contract, ContractTemplate
from contracts.sign_up import as_document
from contracts.templates import contract_of, parse_template_document, template_as_dict
from invoicing.billing_file.faults import Placed, placed
from invoicing.billing_file.plan import Step
from invoicing.billing_file.rows import upsert

# The template's columns; everything else is its document.
HEAD = ("key", "name", "rate_card")
Outcome = tuple[list[Step], list[Fault]]


@dataclass(frozen=True, slots=True)
class WrittenTemplate:
    """A template as it is written, durations and all; its form is checked."""

    key: str
    name: str
    rate_card: str
    document: Mapping[str, Any]


def read_templates(rows: Sequence[tuple[str, object]], into: list[Placed[WrittenTemplate]]) -> list[Fault]:
    faults: list[Fault] = []
    for path, row in rows:
        try:
            entry = parse_template_document(row)
        except DealError as error:
            faults += placed(path, error.faults)
            continue
        written = template_as_dict(row)
        document = {name: value for name, value in written.items() if name not in HEAD}
        into.append(Placed(path, WrittenTemplate(entry.key, entry.name, entry.rate_card, document)))
    return faults


class Packages:
    """The templates that contracts of a file name: the file's own, else those stored."""

    def __init__(self, rows: Sequence[tuple[str, object]], templates: Sequence[Placed[WrittenTemplate]]) -> None:
        named = [row for _, row in rows if isinstance(row, Mapping) and isinstance(row.get("template"), str)]
        keys = {str(row["template"]) for row in named}
        stored = ContractTemplate.objects.filter(key__in=keys).select_related("rate_card") if keys else ()
        self.templates = {row.key: {**row.document, "name": row.name, "rate_card": row.rate_card.key} for row in stored}
        for each in templates:
            entry = each.entry
            self.templates[entry.key] = {**entry.document, "name": entry.name, "rate_card": entry.rate_card}
        contracts = {str(row.get("key")) for row in named}
        signed = Contract.objects.filter(key__in=contracts, template__isnull=False) if contracts else ()
        self.signed = {
            (row.key, row.template.key): as_document(row)
            for row in (signed.select_related("rate_card", "template") if signed else ())
            if row.template
        }

    def filled_in(self, row: object, zone: ZoneInfo) -> object:
        """A contract object with what its template says. Raises DealError."""
        if not isinstance(row, Mapping) or not isinstance(row.get("template"), str):
            return row
        kept = self.signed.get((str(row.get("key")), row["template"]))
        if kept is not None:
            return {**kept, **row}
        template = self.templates.get(row["template"])
        if template is None:
            raise DealError([Fault("template", "unknown", f"there is no template {row['template']}")])
        local = _zone(row.get("timezone") or template.get("timezone"), zone)
        start = with_instants({"at": row.get("starting_at")}, local)
        instant = start["at"] if isinstance(start, dict) else None
        if not isinstance(instant, datetime) or instant.tzinfo is None:
            return {"rate_card": template["rate_card"], **row}  # refused for its start
        try:
            return {**contract_of(template, instant, local), **row}
        except OverflowError as error:
            raise DealError([Fault("starting_at", "instant", "the template's terms lead past the calendar")]) from error


def apply_templates(entries: Sequence[Placed[WrittenTemplate]]) -> Outcome:
    stored = {row.key: row for row in ContractTemplate.objects.filter(key__in=[each.entry.key for each in entries])}
    cards = {row.key: row for row in RateCard.objects.filter(key__in={each.entry.rate_card for each in entries})}
    catalogs: dict[str, Catalog] = {}
    steps, faults = [], list[Fault]()
    for each in entries:
        entry = each.entry
        card = cards.get(entry.rate_card)
        if card is None:
            faults.append(Fault(f"{each.path}.rate_card", "unknown", f"there is no rate card {entry.rate_card}"))
            continue
        catalog = catalogs.setdefault(card.key, catalog_of(card))
        try:
            head = {"key": entry.key, "rate_card": entry.rate_card}
            parse_template_document({**entry.document, **head}, catalog)
        except DealError as error:
            faults += placed(each.path, error.faults)
            continue
        row = stored.get(entry.key) or ContractTemplate(key=entry.key)
        values = {"name": entry.name or entry.key, "rate_card": card, "document": dict(entry.document)}
        made, wrong = upsert(row, values, each.path, "template")
        steps += [made] if made else []
        faults += wrong
    return steps, faults


def _zone(name: object, otherwise: ZoneInfo) -> ZoneInfo:
    if not name:
        return otherwise
    try:
        return ZoneInfo(str(name))
    except (KeyError, ValueError, OSError):
        return otherwise  # refused where it stands
