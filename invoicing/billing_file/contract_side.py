"""Customers and contracts of a billing file."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from catalog.models import RateCard
from contracts.billing_periods import redraw_periods
from contracts.catalog_terms import catalog_of
from contracts.deal import ContractDocument
from contracts.deal_format import Catalog, DealError, deal_as_dict, deal_of, faults_of
from contracts.guardrails import Guardrails
from contracts.models import (
    PERIOD_FIELDS,
    Anchor,
    Contract,
    ContractTemplate,
    Customer,
    CustomerKey,
    Standing,
    all_guardrails,
    shared_commit_keys,
)
from contracts.shared_terms import funds_as_dict
from contracts.sharing import settle
from invoicing.billing_file.agreeing import settled, waiting_change
from invoicing.billing_file.faults import Fault, Placed, placed, unfolded
from invoicing.billing_file.frozen import frozen_funds, frozen_terms
from invoicing.billing_file.plan import Step, step
from invoicing.billing_file.rows import upsert
from invoicing.billing_file.schema import CustomerEntry

CUSTOMER_NAMES = {
    "tax_rate": "tax.rate",
    "tax_id": "tax.id",
    "tax_treatment": "tax.treatment",
    "tax_note": "tax.note",
}
CONTRACT_NAMES = {"billing_every": "billing.every", "billing_anchor": "billing.anchor", "anchor_date": "billing.anchor"}
Outcome = tuple[list[Step], list[Fault]]


def apply_customers(entries: Sequence[Placed[CustomerEntry]]) -> Outcome:
    paths = {each.path: place for place, each in enumerate(entries)}
    keys = {each.entry.key for each in entries}
    stored = {row.key: row for row in Customer.objects.filter(key__in=keys)}
    aliases = {alias for each in entries for alias in each.entry.aliases}
    owners = dict(CustomerKey.objects.filter(key__in=keys | aliases).values_list("key", "customer__key"))
    owners |= {key: key for key in keys}
    entries, circles = _parents_first(entries)
    if circles:
        return [], circles
    steps: dict[str, Step] = {}
    faults: list[Fault] = []
    parents = {row.key: row for row in Customer.objects.filter(key__in={each.entry.parent for each in entries})}
    for each in entries:
        entry = each.entry
        parent = parents.get(entry.parent or "")
        if entry.parent and parent is None:
            faults.append(Fault(f"{each.path}.parent", "unknown", f"there is no customer {entry.parent}"))
            continue
        row = stored.get(entry.key) or Customer(key=entry.key)
        funds = _written_funds(entry, row)
        if row.funds and funds != row.funds:
            faults += placed(each.path, frozen_funds(row, row.funds, funds))
        values = {
            "name": entry.name or entry.key,
            "timezone": entry.timezone,
            "email": entry.email,
            "tax_rate": entry.tax.rate,
            "tax_id": entry.tax.id,
            "parent": parent,
            "payer": entry.payer,
            "funds": funds,
            **_said(entry),
        }
        taken = list(_taken(each, owners))
        made, wrong = (None, taken) if taken else upsert(row, values, each.path, "customer", CUSTOMER_NAMES)
        faults += unfolded(wrong, "funds", each.path)
        if made:
            parents[row.key] = row
            steps[each.path] = _with_aliases(row, each, owners, made)
    return [steps[path] for path in sorted(steps, key=paths.__getitem__)], faults


def _said(entry: CustomerEntry) -> dict[str, Any]:
    """What stays as it is where the file does not say it."""
    values = {
        "address": entry.address,
        "country": entry.country,
        "region": entry.region,
        "locale": entry.locale,
        "tax_treatment": entry.tax.treatment,
        "tax_note": entry.tax.note,
    }
    return {name: value for name, value in values.items() if value is not None}


def _parents_first(entries: Sequence[Placed[CustomerEntry]]) -> tuple[list[Placed[CustomerEntry]], list[Fault]]:
    """Customers after their parents; those that stand below themselves are faults."""
    named = {each.entry.key: each for each in entries}
    ordered: dict[str, Placed[CustomerEntry]] = {}
    faults = []
    for each in entries:
        line = [each.entry.key]
        parent = each.entry.parent
        while parent in named and parent not in line and parent not in ordered:
            line.append(parent)
            parent = named[parent].entry.parent
        if parent in line:
            names = " below ".join([*line, parent or ""])
            faults.append(Fault(f"{each.path}.parent", "cycle", f"{names}: a customer cannot stand below itself"))
        ordered |= {key: named[key] for key in reversed(line)}
    return list(ordered.values()), faults


def _written_funds(entry: CustomerEntry, row: Customer) -> dict[str, Any]:
    """What an entry shares, as it is stored; what was settled before stays so where the file does not say."""
    written = funds_as_dict(entry.funds)
    for section in ("commits", "credits"):
        before = {each["key"]: each for each in row.funds.get(section, [])}
        for each in written.get(section, []):
            known = before.get(each["key"], {})
            each |= {name: known[name] for name in ("currency", "billed_by") if name in known and name not in each}
    return written


def settle_customers(entries: Sequence[Placed[CustomerEntry]], changed: Collection[str]) -> Outcome:
    """What customers share, checked against all contracts there are now, those in the file too. The next close looks
    at what those bill that `changed`.
    """
    faults: list[Fault] = []
    shared = {each.entry.key: each.path for each in entries if each.entry.funds.terms}
    for row in Customer.objects.filter(key__in=shared).order_by("key"):
        try:
            settle(row, wake=row.key in changed)
        except DealError as error:
            faults += placed(shared[row.key], error.faults)
    return [], faults


def _taken(each: Placed[CustomerEntry], owners: Mapping[str, str]) -> Iterator[Fault]:
    for index, alias in enumerate(each.entry.aliases):
        owner = owners.get(alias, each.entry.key)
        if owner != each.entry.key:
            yield Fault(f"{each.path}.aliases[{index}]", "taken", f"{alias} is already a key of {owner}")


def _with_aliases(row: Customer, each: Placed[CustomerEntry], owners: dict[str, str], made: Step) -> Step:
    known = set() if made.action == "create" else set(row.keys.values_list("key", flat=True))
    new = [alias for alias in dict.fromkeys(each.entry.aliases) if alias not in known and alias != row.key]
    CustomerKey.objects.bulk_create([CustomerKey(customer=row, key=alias) for alias in new])
    owners |= dict.fromkeys(new, row.key)
    if not new or made.action == "create":
        return made
    return Step("change", made.kind, made.key, (*made.details, f"aliases: {', '.join(new)} added"))


def apply_contracts(entries: Sequence[Placed[ContractDocument]], now: datetime) -> Outcome:
    stored = {
        row.key: row
        for row in Contract.objects.filter(key__in=[each.entry.key for each in entries]).select_related(
            "customer", "rate_card"
        )
    }
    customers = {row.key: row for row in Customer.objects.filter(key__in={each.entry.customer for each in entries})}
    cards = {row.key: row for row in RateCard.objects.filter(key__in={each.entry.rate_card for each in entries})}
    catalogs = {card.key: catalog_of(card) for card in cards.values()}
    templates = _templates(entries)
    guardrails = all_guardrails()
    steps: dict[str, Step] = {}
    faults: list[Fault] = []
    known = dict(stored) | {row.key: row for row in Contract.objects.filter(key__in=_renewed(entries) - stored.keys())}
    # Contracts there are first: one that ends now makes room for the next. What renews another comes after it.
    for each in sorted(entries, key=lambda one: (one.entry.key not in stored, one.entry.starting_at)):
        customer, card = customers.get(each.entry.customer), cards.get(each.entry.rate_card)
        wrong = list(_unknown(each, customer, card, known))
        if not wrong and customer and card:
            row = stored.get(each.entry.key) or Contract(key=each.entry.key)
            old = known[each.entry.renews] if each.entry.renews else None
            template = templates.get(each.entry.template or "") or row.template
            around = _Around(customer, card, catalogs[card.key], old, template, guardrails(card.currency))
            made, wrong = _apply_one(row, each, around, now)
            known |= {row.key: row} if made else {}
            if made:
                steps[each.path] = made
        faults += wrong
    return [steps[each.path] for each in entries if each.path in steps], faults


def _renewed(entries: Sequence[Placed[ContractDocument]]) -> set[str]:
    return {each.entry.renews for each in entries if each.entry.renews}


def _unknown(
    each: Placed[ContractDocument], customer: Customer | None, card: RateCard | None, known: Mapping[str, Contract]
) -> Iterator[Fault]:
    if each.entry.renews and each.entry.renews not in known:
        yield Fault(f"{each.path}.renews", "unknown", f"there is no contract {each.entry.renews} before this one")
    if customer is None:
        yield Fault(f"{each.path}.customer", "unknown", f"there is no customer {each.entry.customer}")
    if card is None:
        yield Fault(f"{each.path}.rate_card", "unknown", f"there is no rate card {each.entry.rate_card}")


def _templates(entries: Sequence[Placed[ContractDocument]]) -> dict[str, ContractTemplate]:
    named = {each.entry.template for each in entries} - {None}
    return {row.key: row for row in ContractTemplate.objects.filter(key__in=named)} if named else {}


@dataclass(frozen=True, slots=True)
class _Around:
    """What a contract refers to, and how far it may go."""

    customer: Customer
    card: RateCard
    catalog: Catalog
    renews: Contract | None
    template: ContractTemplate | None
    limits: Guardrails


def _apply_one(
    row: Contract, each: Placed[ContractDocument], around: _Around, now: datetime
) -> tuple[Step | None, list[Fault]]:
    entry, path, customer = each.entry, each.path, around.customer
    is_new = row.pk is None
    faults = placed(path, faults_of(entry, replace(around.catalog, shared_commits=shared_commit_keys(customer))))
    if not is_new and row.customer_id != customer.pk:
        faults.append(Fault(f"{path}.customer", "frozen", f"the contract is {row.customer.key}'s and stays so"))
    anchor, anchor_date = _anchor(entry.billing.anchor)
    deal = deal_as_dict(deal_of(entry))
    before = {} if is_new else deal_as_dict(row.parsed_deal)
    if not is_new and deal != before:
        faults += placed(path, frozen_terms(row, before, deal))
    if faults:
        return None, faults
    values = {
        "name": entry.name,
        "customer": customer,
        "renews": around.renews,
        "rate_card": around.card,
        "template": around.template,
        "starting_at": entry.starting_at,
        "ending_before": entry.ending_before,
        "timezone": entry.timezone or (customer.timezone if is_new else row.timezone),
        "billing_every": entry.billing.every,
        "billing_anchor": anchor,
        "anchor_date": anchor_date,
        "net_days": entry.net_days,
        "purchase_order": row.purchase_order if entry.purchase_order is None else entry.purchase_order,
        "shadow": entry.shadow,
        "deal": deal,
    }
    if before == deal:
        values["deal"] = row.deal
    return _save(row, values, each, around.limits, before, now)


def _save(
    row: Contract,
    values: dict[str, Any],
    each: Placed[ContractDocument],
    limits: Guardrails,
    before: Mapping[str, Any],
    now: datetime,
) -> tuple[Step | None, list[Fault]]:
    """Bring a contract to its values, or let what goes beyond the guardrails wait."""
    is_new, deal = row.pk is None, values["deal"]
    if not is_new:
        waiting, faults = waiting_change(row, values, each.path, limits, CONTRACT_NAMES)
        if waiting or faults:
            return waiting, faults
    drawn_by = [*PERIOD_FIELDS, "ending_before"]
    drawn = {name: getattr(row, name) for name in drawn_by}
    made, wrong = upsert(row, values, each.path, "contract", CONTRACT_NAMES)
    wrong = unfolded(wrong, "deal", each.path)
    if made and not is_new and any(drawn[name] != getattr(row, name) for name in drawn_by):
        redraw_periods(row, now)
    if made and made.action == "change" and deal != before:
        made = step("contract", row.key, False, _without_deal(made, before, deal))
    if made and (is_new or (made.action == "change" and row.status != Standing.ACTIVE)):
        made = settled(row, made, limits)
    return made, wrong


def _without_deal(made: Step, before: Mapping[str, Any], deal: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The changes of a contract with the parts of its deal that differ instead of all of it."""
    columns: dict[str, tuple[Any, Any]] = {}
    for detail in made.details:
        name, _, rest = detail.partition(": ")
        if name != "deal":
            old, _, new = rest.partition(" → ")
            columns[name] = (old, new)
    parts = {
        name: (before.get(name), deal.get(name))
        for name in sorted({*before, *deal})
        if before.get(name) != deal.get(name)
    }
    return {**columns, **parts}


def _anchor(written: str) -> tuple[str, date | None]:
    if written in (Anchor.CALENDAR, Anchor.CONTRACT):
        return written, None
    return Anchor.DATE, date.fromisoformat(written)
