"""Changes a product backend makes to a running contract: seats by date, a credit.

Each reads the deal, changes one part and applies the whole contract again, under the lock of applying: two changes at
once both come in.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from billing_project.errors import ConflictError, RuleError
from billing_project.locks import lock
from catalog.documents import DocumentError, read
from catalog.money import ZERO
from contracts.deal import Access
from contracts.deal_format import with_instants
from contracts.models import Contract, Customer
from contracts.written import written_contract
from invoicing.billing_file.entry import apply_entry
from invoicing.live import in_force

GRANTED = ("key", "name", "priority", "scope", "unit")
WINDOW = ("amount", "starting_at", "ending_before")


def set_quantity(
    contract: Contract, subscription: str, quantity: object, at: str | None, seats: Sequence[str] | None, now: datetime
) -> None:
    """Change the quantity of a subscription from an instant on (None: `now`), and who has its seats.

    A change at the same instant replaces the one there is. RuleError, also for an instant in a period that is closed.
    """
    with transaction.atomic():
        deal = _locked(contract)
        terms = next((each for each in deal.get("subscriptions", ()) if each["key"] == subscription), None)
        if terms is None:
            raise RuleError(f"The contract has no subscription {subscription}.", code="unknown", path="subscription")
        since = _instant(at, contract) if at else now
        wanted = _quantity(quantity)
        if seats is not None and len(seats) > wanted:
            message = f"{len(seats)} seats are named, the quantity is {wanted}."
            raise RuleError(message, code="value", path="seats")
        if contract.billing_periods.filter(closed_at__isnull=False, ending_before__gt=since).exists():
            raise ConflictError("The billing period is closed already: change it later.", code="closed", path="at")
        changes = [each for each in terms.get("changes", ()) if datetime.fromisoformat(each["at"]) != since]
        changes.append({"at": since.isoformat(), "quantity": str(wanted)})
        terms["changes"] = sorted(changes, key=lambda each: datetime.fromisoformat(each["at"]))
        if seats is not None:
            terms["seats"] = list(seats)
        apply_entry("contracts", deal, now)


def grant_credit(contract: Contract, given: Mapping[str, Any], now: datetime) -> None:
    """Add a credit: its `amount` in one window, or the windows of `access`."""
    if (given.get("amount") is None) == (given.get("access") is None):
        raise RuleError("Give either an amount or windows in access.", code="value", path="amount")
    with transaction.atomic():
        deal = _locked(contract)
        credits_there = deal.get("credits", [])
        if any(each["key"] == given["key"] for each in credits_there):
            raise ConflictError(f"{given['key']} is a credit of the contract already.", code="exists", path="key")
        window = {name: given[name] for name in WINDOW if given.get(name) is not None}
        credit = {name: given[name] for name in GRANTED if given.get(name) is not None}
        credit["access"] = given.get("access") or [window]
        place = f"credits[{len(credits_there)}]."
        deal["credits"] = [*credits_there, credit]
        apply_entry("contracts", deal, now, within=(f"{place}access[0].", place))


def the_contract(customer: Customer, key: str | None, now: datetime) -> Contract:
    """The customer's contract of this key, or the one in force. ConflictError where that is not one."""
    contracts = list(customer.contracts.select_related("customer", "rate_card"))
    found = [each for each in contracts if each.key == key] if key else in_force(contracts, now)
    if len(found) != 1:
        names = ", ".join(sorted(each.key for each in found)) or "none"
        message = f"The customer has no contract {key}." if key else f"Name the contract; in force: {names}."
        raise ConflictError(message, code="contract", path="contract")
    return found[0]


def _locked(contract: Contract) -> dict[str, Any]:
    """The contract as it stands once nobody else applies anything."""
    lock("billing file")
    contract.refresh_from_db()
    return written_contract(contract)


def _instant(written: str, contract: Contract) -> datetime:
    try:
        access = read(Access, with_instants({"amount": "0", "starting_at": written}, contract.zone))
    except DocumentError as error:
        raise RuleError(error.message, code=error.code, path="at") from error
    found: datetime = access.starting_at
    return found


def _quantity(written: object) -> Decimal:
    try:
        access: Access = read(Access, {"amount": written})
    except DocumentError as error:
        raise RuleError(error.message, code=error.code, path="quantity") from error
    return access.amount or ZERO
