"""How contracts change in the year, by what the contract is called, month and day."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.contrib.auth.models import User

from contracts.amendments import amend, change_quantity, end_early, grant_credit
from contracts.models import Contract
from contracts.sign_up import renew


def _amended(contract: Contract, actor: User, at: datetime) -> None:
    override = {"kind": "multiplier", "multiplier": "0.8", "scope": {"products": ["tokens"]}}
    amend(contract, at, {"add": {"overrides": [override], "minimums": [{"amount": "25"}]}}, actor, "asked for it")


def _renewed(contract: Contract, actor: User, at: datetime) -> None:
    renew(contract, f"{contract.key}-next", actor, ending_before=datetime(2027, 1, 1, tzinfo=UTC))


def _ended(contract: Contract, actor: User, at: datetime) -> None:
    end_early(contract, at + timedelta(days=11), actor, "moved on")


def _credited(contract: Contract, actor: User, at: datetime) -> None:
    grant_credit(contract, "sorry", Decimal(20), actor, starting_at=at, reason="an outage")


def _hired(contract: Contract, actor: User, at: datetime) -> None:
    change_quantity(contract, "seats", Decimal(11), at, actor, "hired")


def _let_go(contract: Contract, actor: User, at: datetime) -> None:
    change_quantity(contract, "seats", Decimal(7), at, actor, "let go")


AGREED: dict[tuple[str, int, int], Callable[[Contract, User, datetime], None]] = {
    ("amended in March", 3, 11): _amended,
    ("renewed in May", 4, 18): _renewed,
    ("ends in April", 4, 4): _ended,
    ("granted a credit", 2, 4): _credited,
    ("seats", 3, 18): _hired,
    ("seats", 8, 11): _let_go,
}
