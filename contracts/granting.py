"""Credits given to a customer itself: funds that its contracts, and those of customers below it, share."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.db import transaction

from billing_project.decimals import plain
from billing_project.errors import Problem, RuleError
from billing_project.history import authored_by
from billing_project.locks import lock
from catalog.money import add
from contracts.deal_format import DealError, Fault
from contracts.models import Customer, guardrails_in, lock_families
from contracts.shared_terms import SharedCredit, funds_as_dict, parse_funds
from contracts.sharing import settled_funds

if TYPE_CHECKING:
    from django.contrib.auth.models import User

A_YEAR = timedelta(days=365)
ACCESS = "access[0]."


def grant_shared_credit(
    customer: Customer,
    key: str,
    amount: Decimal,
    actor: "User | None",
    *,
    starting_at: datetime,
    ending_before: datetime | None = None,
    reason: str = "",
    **terms: Any,
) -> SharedCredit:
    """Give a customer a credit that can be used from `starting_at` on; `terms` as in the billing file (scope, name,
    currency, contracts).

    Raises RuleError by field: a key that is used, a currency that is open, more than the guardrails let one person
    give within a year.
    """
    require_credit(amount, "amount")
    with transaction.atomic(), authored_by(actor, reason):
        lock("billing file")  # files write what customers share too
        lock_families([customer])
        row = Customer.objects.get(pk=customer.pk)
        access = {"amount": plain(amount), "starting_at": starting_at.astimezone(UTC).isoformat()}
        if ending_before is not None:
            access["ending_before"] = ending_before.astimezone(UTC).isoformat()
        place = len(row.shared_funds.credits)
        given = {"key": key, **terms, "access": [access]}
        try:
            written = {**row.funds, "credits": [*row.funds.get("credits", ()), given]}
            row.funds = funds_as_dict(parse_funds(written, ZoneInfo(row.timezone)))
            settled = settled_funds(row)
            if settled.faults:
                raise DealError(settled.faults)
        except DealError as error:
            raise _refusal(error.faults, f"credits[{place}].") from error
        _require_within(settled.funds.credits, starting_at)
        row.funds = funds_as_dict(settled.funds)
        row.save(update_fields=["funds"])
        return settled.funds.credits[place]


def require_credit(amount: Decimal, path: str) -> None:
    """Raises RuleError for a credit of nothing."""
    if amount == 0:
        raise RuleError("A credit of 0 gives nothing: give more than 0.", code="value", path=path)


def _require_within(shared: Sequence[SharedCredit], at: datetime) -> None:
    """A second person agrees to contracts, not to what customers share: beyond the guardrails it is refused."""
    made = shared[-1]
    limit = guardrails_in(made.currency).max_free_amount
    given = add(
        access.amount
        for each in shared
        if (each.currency, each.unit) == (made.currency, "")
        for access in each.access
        if access.starting_at is None or access.starting_at > at - A_YEAR
    )
    if limit is not None and (given > limit or made.unit):
        amount = f"credits in {made.unit}" if made.unit else f"{plain(given)} {made.currency} within a year"
        raise RuleError(
            f"{amount} given to the customer, above {plain(limit)}: name the contract it is for, where a second person "
            "can agree to it.",
            code="guardrail",
            path="amount",
        )


def _refusal(faults: Sequence[Fault], before: str) -> RuleError:
    """The faults by field of the grant."""
    places = [each.path.removeprefix(before).removeprefix(ACCESS) for each in faults]
    problems = [Problem(place, each.code, each.message) for place, each in zip(places, faults, strict=True)]
    return RuleError("; ".join(f"{each.path}: {each.message}" for each in problems), problems=problems)
