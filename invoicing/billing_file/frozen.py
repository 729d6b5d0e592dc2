"""Terms that are billed or drawn from already: they stay as they were."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contracts.deal_format import Fault
from contracts.ledger import entries_of
from contracts.models import Contract, Customer, LedgerEntry
from invoicing.models import FROZEN, InvoiceLine, Status

# What was sold. Priorities, scopes and rates are about what comes, and may change.
SOLD = {
    "commits": ("kind", "unit", "access", "invoices"),
    "credits": ("unit", "access"),
    "recurring_commits": ("unit", "amount", "invoice_amount", "every", "starting_at"),
    "recurring_credits": ("unit", "amount", "every", "starting_at"),
    "charges": ("product", "amount", "quantity", "at", "every"),
}
SHARED = {
    "commits": (*SOLD["commits"], "currency", "billed_by"),
    "credits": (*SOLD["credits"], "currency"),
}
GROWING = ("access", "invoices")


def frozen_terms(contract: Contract, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Fault]:
    """What a new deal changes of terms that issued invoices or the ledger are about."""
    used = _used(contract)
    return [
        fault
        for section, names in SOLD.items()
        for fault in _section(section, names, before.get(section, []), after.get(section, []), used)
    ]


def frozen_funds(customer: Customer, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Fault]:
    """What changes of funds that the ledger knows, or that a contract of the family has billed."""
    used = {(False, each["key"]) for each in before.get("commits", []) if _is_billed(each)}
    used |= {(False, key) for key in entries_of(customer).values_list("balance", flat=True)}
    return [
        fault
        for section, names in SHARED.items()
        for fault in _section(section, names, before.get(section, []), after.get(section, []), used)
    ]


def _is_billed(commit: Mapping[str, Any]) -> bool:
    lines = InvoiceLine.objects.filter(rate=f"shared-commit:{commit['key']}", invoice__status__in=FROZEN)
    lines = lines.exclude(invoice__status=Status.VOID)
    return lines.filter(invoice__contract__key=commit.get("billed_by", "")).exists()


def _used(contract: Contract) -> set[tuple[bool, str]]:
    """Whether it is a charge, and its key."""
    lines = InvoiceLine.objects.filter(invoice__contract=contract, invoice__status__in=FROZEN)
    lines = lines.exclude(invoice__status=Status.VOID)
    used = {(False, key) for key in lines.exclude(balance="").values_list("balance", flat=True)}
    used |= {(False, key) for key in LedgerEntry.objects.filter(contract=contract).values_list("balance", flat=True)}
    charges = lines.filter(rate__startswith="charge:").values_list("rate", flat=True)
    return used | {(True, rate.removeprefix("charge:")) for rate in charges}


def _section(
    section: str,
    names: Sequence[str],
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    used: set[tuple[bool, str]],
) -> Iterator[Fault]:
    places = {each["key"]: index for index, each in enumerate(after)}
    for old in before:
        key = old["key"]
        if (section == "charges", key) not in used:
            continue
        if key not in places:
            yield Fault(section, "frozen", f"{key} is billed or drawn from already, it cannot be taken out")
            continue
        new = after[places[key]]
        for name in names:
            path = _difference(old.get(name), new.get(name), f"{section}[{places[key]}].{name}", name in GROWING)
            if path:
                yield Fault(path, "frozen", f"{key} is billed or drawn from already, this stays as it was")


def _difference(old: Any, new: Any, path: str, growing: bool = False) -> str | None:
    """The path of the first field that differs; what was added at the end of a growing list does not."""
    if growing and isinstance(new, list) and isinstance(old, list | None):
        new, old = new[: len(old or [])] if len(new) >= len(old or []) else new, old or []
    if old == new:
        return None
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in {**old, **new}:
            found = _difference(old.get(name), new.get(name), f"{path}.{name}")
            if found:
                return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            found = _difference(one, other, f"{path}[{index}]")
            if found:
                return found
    return path
