"""Acting on usage as it comes in: what is to be looked at are the customers the roller touched, nobody else."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.db.models import Q
from django.utils import timezone

from contracts.models import Contract, Standing
from contracts.touched_contracts import contracts_of
from meters.touched import reading

CHUNK = 500


class Reaction(Protocol):
    @property
    def done(self) -> int: ...

    @property
    def failed(self) -> dict[int, str]: ...


Verb = Callable[[Collection[Contract], datetime], Reaction]


@dataclass(slots=True)
class Looked:
    """What a look came to: contracts looked at, what was done, what went wrong; `busy`: another process is at it."""

    contracts: int = 0
    done: int = 0
    failed: int = 0
    busy: bool = False

    def add(self, contracts: int, reaction: Any) -> None:
        self.contracts += contracts
        self.done += reaction.done
        self.failed += len(reaction.failed)

    def __str__(self) -> str:
        if self.busy:
            return "Another process is at it: nothing was done."
        failed = f", {self.failed} failed and are tried again" if self.failed else ""
        return f"{self.contracts} contract{'' if self.contracts == 1 else 's'} looked at, {self.done} acted on{failed}."


def react(reader: str, verb: Verb, only: Q) -> Looked:
    """Let a verb look at the contracts whose usage changed since the reader's last look. Safe to kill: what was not
    seen to the end is seen again; safe on many machines: of one name one reads at a time.
    """
    looked, more = Looked(), True
    while more:
        with reading(reader) as batch:
            if batch is None:
                looked.busy = not looked.contracts
                return looked
            concerned = contracts_of(list(batch.keys.values()), only)
            reaction = verb(concerned.contracts, timezone.now())
            batch.failed = concerned.keys_of(reaction.failed)
            looked.add(len(concerned.contracts), reaction)
            more = batch.more
    return looked


def look_at_all(verb: Verb, only: Q, as_of: datetime | None = None) -> Looked:
    """Let a verb look at every contract, in portions: for what no usage tells, such as new terms and the time."""
    looked, after = Looked(), 0
    rows = Contract.objects.filter(only, status=Standing.ACTIVE).select_related("customer", "rate_card").order_by("pk")
    while contracts := list(rows.filter(pk__gt=after)[:CHUNK]):
        looked.add(len(contracts), verb(contracts, as_of or timezone.now()))
        after = contracts[-1].pk
    return looked
