"""Customers and contracts of a billing file."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from catalog.models import Rate, RateCard
from contracts.billing_periods import redraw_periods
from contracts.catalog_terms import catalog_of
from contracts.deal import ContractDocument
from contracts.deal_format import Catalog, deal_as_dict, deal_of, faults_of
from contracts.models import PERIOD_FIELDS, Anchor, Contract, Customer, CustomerKey
from invoicing.billing_file.faults import Fault, placed
from invoicing.billing_file.frozen import frozen_terms
from invoicing.billing_file.parsing import Placed
from invoicing.billing_file.plan import Step, step
from invoicing.billing_file.rows import upsert
from invoicing.billing_file.schema import CustomerEntry

CUSTOMER_NAMES = {"tax_rate": "tax.rate", "tax_id": "tax.id"}
CONTRACT_NAMES = {"billing_every": "billing.every", "billing_anchor": "billing.anchor", "anchor_date": "billing.anchor"}
Outcome = tuple[list[Step], list[Fault]]


def apply_customers(entries: Sequence[Placed[CustomerEntry]]) -> Outcome:
    keys = {each.entry.key for each in entries}
    stored = {row.key: row for row in Customer.objects.filter(key__in=keys)}
    aliases = {alias for each in entries for alias in each.entry.aliases}
    owners = dict(CustomerKey.objects.filter(key__in=keys | aliases).values_list("key", "customer__key"))
    owners |= {key: key for key in keys}
    steps, faults = [], list[Fault]()
    for each in entries:
        entry = each.entry
        values = {
            "name": entry.name or entry.key,
            "timezone": entry.timezone,
            "email": entry.email,
            "tax_rate": entry.tax.rate,
            "tax_id": entry.tax.id,
            **({} if entry.address is None else {"address": entry.address}),
        }
        row = stored.get(entry.key) or Customer(key=entry.key)
        taken = list(_taken(each, owners))
        made, wrong = (None, taken) if taken else upsert(row, values, each.path, "customer", CUSTOMER_NAMES)
        faults += wrong
        if made:
            steps.append(_with_aliases(row, each, owners, made))
    return steps, faults


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
    filtered = any(each.entry.usage_filter for each in entries)
    splits = _splits(cards.values()) if filtered else {}
    steps: dict[str, Step] = {}
    faults: list[Fault] = []
    # Contracts there are first: one that ends now makes room for the next.
    for each in sorted(entries, key=lambda one: one.entry.key not in stored):
        customer, card = customers.get(each.entry.customer), cards.get(each.entry.rate_card)
        wrong = list(_unknown(each, customer, card))
        if not wrong and customer and card:
            row = stored.get(each.entry.key) or Contract(key=each.entry.key)
            made, wrong = _apply_one(row, each, customer, card, catalogs[card.key], now)
            wrong += _unfilterable(each, splits.get(card.key, {}))
            if made:
                steps[each.path] = made
        faults += wrong
    return [steps[each.path] for each in entries if each.path in steps], faults


def _unknown(each: Placed[ContractDocument], customer: Customer | None, card: RateCard | None) -> Iterator[Fault]:
    if customer is None:
        yield Fault(f"{each.path}.customer", "unknown", f"there is no customer {each.entry.customer}")
    if card is None:
        yield Fault(f"{each.path}.rate_card", "unknown", f"there is no rate card {each.entry.rate_card}")


def _splits(cards: Iterable[RateCard]) -> dict[str, dict[str, list[str]]]:
    """By card, what the meters of its products split usage by."""
    rows = Rate.objects.filter(rate_card__in=list(cards), product__meter__isnull=False)
    splits: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for card, meter, keys in rows.values_list("rate_card__key", "product__meter__key", "product__meter__group_by"):
        splits[card][meter] = keys
    return splits


def _unfilterable(each: Placed[ContractDocument], splits: Mapping[str, Sequence[str]]) -> Iterator[Fault]:
    for key in each.entry.usage_filter:
        for meter, keys in sorted(splits.items()):
            if key not in keys:
                message = f"meter {meter} does not split usage by {key}"
                yield Fault(f"{each.path}.usage_filter.{key}", "group", message)
                break


def _apply_one(
    row: Contract, each: Placed[ContractDocument], customer: Customer, card: RateCard, catalog: Catalog, now: datetime
) -> tuple[Step | None, list[Fault]]:
    entry, path = each.entry, each.path
    is_new = row.pk is None
    faults = placed(path, faults_of(entry, catalog))
    if not is_new and row.customer_id != customer.pk:
        faults.append(Fault(f"{path}.customer", "frozen", f"the contract is {row.customer.key}'s and stays so"))
    anchor, anchor_date = _anchor(entry.billing.anchor)
    if anchor is None:
        message = f"is {entry.billing.anchor!r}; write calendar, contract or a date such as 2026-01-15"
        faults.append(Fault(f"{path}.billing.anchor", "value", message))
    deal = deal_as_dict(deal_of(entry))
    before = {} if is_new else deal_as_dict(row.parsed_deal)
    if not is_new and deal != before:
        faults += placed(path, frozen_terms(row, before, deal))
    if faults:
        return None, faults
    values = {
        "name": entry.name,
        "customer": customer,
        "rate_card": card,
        "starting_at": entry.starting_at,
        "ending_before": entry.ending_before,
        "timezone": entry.timezone or (customer.timezone if is_new else row.timezone),
        "billing_every": entry.billing.every,
        "billing_anchor": anchor,
        "anchor_date": anchor_date,
        "net_days": entry.net_days,
        "shadow": entry.shadow,
        "deal": deal,
    }
    if before == deal:
        values["deal"] = row.deal
    drawn_by = [*PERIOD_FIELDS, "ending_before"]
    drawn = {name: getattr(row, name) for name in drawn_by}
    made, wrong = upsert(row, values, path, "contract", CONTRACT_NAMES)
    if made and not is_new and any(drawn[name] != getattr(row, name) for name in drawn_by):
        redraw_periods(row, now)
    if made and made.action == "change" and deal != before:
        made = step("contract", entry.key, False, _without_deal(made, before, deal))
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


def _anchor(written: str) -> tuple[str | None, date | None]:
    if written in (Anchor.CALENDAR, Anchor.CONTRACT):
        return written, None
    try:
        return Anchor.DATE, date.fromisoformat(written)
    except ValueError:
        return None, None
