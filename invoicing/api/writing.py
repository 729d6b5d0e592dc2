"""Writes by API: an entry of the billing file, applied as a file would be, and refused by the path of its field."""

from collections.abc import Mapping
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.db.models import Model
from django.http import Http404
from django.utils import timezone

from billing_project.errors import ConflictError, RuleError
from billing_project.locks import lock
from catalog.documents import DocumentError, read
from contracts.deal_format import Fault, with_instants
from contracts.models import Contract, Customer, CustomerKey
from invoicing.billing_file.entry import apply_entry, refuse

T = TypeVar("T")
UTC = ZoneInfo("UTC")


def create(section: str, kind: type[Model], entry: Mapping[str, Any]) -> None:
    """Make what is new. ConflictError if there is one of that key."""
    lock("billing file")  # as applying does: of two that make the same, the second one finds it
    key = entry.get("key")
    if isinstance(key, str) and kind._default_manager.filter(key=key).exists():
        raise ConflictError(f"{key} is there already.", code="exists", path="key")
    apply_entry(section, entry, timezone.now())


def change(section: str, entry: Mapping[str, Any], key: str, changes: Mapping[str, Any]) -> None:
    """Bring what is there (`entry`) to the same with changes, by the rules of JSON merge patch; its key stays."""
    if changes.get("key", key) != key:
        raise RuleError("A key cannot change.", code="frozen", path="key")
    merged = _merged(entry, changes)
    entry = {**(merged if isinstance(merged, dict) else {}), "key": key}
    apply_entry(section, entry, timezone.now())


def read_body(kind: type[T], given: Mapping[str, Any], zone: ZoneInfo = UTC) -> T:
    """A body that is no entry of a file; bare dates are midnight in the zone. RuleError by path."""
    try:
        found: T = read(kind, with_instants(given, zone))
    except DocumentError as error:
        refuse([Fault(error.path, error.code, error.message)])
    return found


def customer_of(key: str) -> Customer:
    """The customer with this key or alias. Raises Http404."""
    found = CustomerKey.objects.select_related("customer").filter(key=key).first()
    if found is None:
        raise Http404
    return found.customer


def contract_of(key: str) -> Contract:
    """Raises Http404."""
    found = Contract.objects.select_related("customer", "rate_card", "template", "renews").filter(key=key).first()
    if found is None:
        raise Http404
    return found


def _merged(old: Any, new: Any) -> Any:
    """RFC 7396: members of objects are merged, null takes one out, anything else replaces."""
    if not isinstance(new, Mapping) or not isinstance(old, Mapping):
        return new
    kept = {name: value for name, value in old.items() if name not in new}
    return kept | {name: _merged(old.get(name), value) for name, value in new.items() if value is not None}
