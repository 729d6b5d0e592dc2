"""What statements would be with a contract nobody saved, and with usage that has not happened. Nothing of it is kept.

The draft of a contract is only ever in memory. Pending events go the real way, into the events table and through the
one reader of usage, in a transaction that is taken back. They come under a customer key of their own and identities
nobody else can send, so nobody waits for that transaction, least of all ingestion.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from billing_project.errors import RuleError
from catalog.models import RateCard
from contracts.catalog_terms import catalog_of
from contracts.deal import ContractDocument
from contracts.deal_format import DealError, Fault, parse_contract
from contracts.models import Contract, Customer, CustomerKey, shared_commit_keys
from contracts.refusals import refusal_of_faults
from contracts.sign_up import contract_from
from invoicing.billing_file.contract_side import CONTRACT_NAMES
from invoicing.billing_file.faults import model_faults
from invoicing.draft_rows import Built
from invoicing.preview import coming, running_period
from meters import partitions
from meters.dictionary import event_types, subjects
from meters.event_rows import EventRows
from meters.events import Event, make_event
from meters.exact_json import RefusedError
from meters.models import Meter
from meters.partitions import GoneError
from meters.periods import Period

T = TypeVar("T")
MOST_EVENTS = 1000
PATIENCE = "SET LOCAL statement_timeout = '20s'; SET LOCAL lock_timeout = '2s'"
STORED = """
SELECT key FROM meters_eventkey WHERE key = ANY(%(keys)s::uuid[])
UNION
SELECT key FROM meters_event WHERE key = ANY(%(keys)s::uuid[]) AND time = ANY(%(times)s)
"""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The statements of the billing period that holds an instant, and of the fees due in it; which of the pending
    events are in them, and the ids of those that are not: stored already, of another customer or time, or of no meter.
    """

    built: list[Built]
    counted: int
    skipped: list[str]


def what_if(contracts: Sequence[Contract], pending: Sequence[Event], at: datetime) -> WhatIf:
    """Contracts of one customer as they stand in memory. Expects customer and rate card."""
    running = [(contract, running_period(contract, at)) for contract in contracts]
    periods = [(contract, period) for contract, period in running if period is not None]

    def build() -> list[Built]:
        return [
            Built(contract, each.statement, None, each.at)
            for contract, period in periods
            for each in coming(contract, period)
        ]

    if not pending or not periods:
        return WhatIf(build(), 0, [each.id for each in pending])
    customer = periods[0][0].customer
    kept = _counting(pending, customer, [period for _, period in periods])
    ids = {(each.source, each.id) for each in kept}
    skipped = [each.id for each in pending if (each.source, each.id) not in ids]
    return WhatIf(_with_events(customer, kept, build) if kept else build(), len(kept), skipped)


def draft_contract(written: Mapping[str, Any]) -> Contract:
    """A contract object as the contract it would be, new or instead of the one there is. Raises RuleError by path."""
    customer = Customer.objects.filter(key=str(written.get("customer", ""))).first()
    card = RateCard.objects.filter(key=str(written.get("rate_card", ""))).first()
    missing = [
        Fault(name, "unknown", f"there is no {name.replace('_', ' ')} {written.get(name)}")
        for name, row in (("customer", customer), ("rate_card", card))
        if row is None and name in written
    ]
    try:
        zone = ZoneInfo(customer.timezone if customer else "UTC")
        shared = shared_commit_keys(customer) if customer else frozenset[str]()
        document: ContractDocument = parse_contract(written, zone, catalog_of(card, shared) if card else None)
        if missing or customer is None or card is None:
            raise DealError(missing)
    except DealError as error:
        raise refusal_of_faults(error.faults) from error
    draft = contract_from(document, customer)
    draft.rate_card = card
    stored = Contract.objects.filter(key=document.key).first()
    if stored is not None:
        draft.pk, draft.created_at, draft._state.adding = stored.pk, stored.created_at, False
    _check(draft)
    return draft


def pending_events(written: object) -> list[Event]:
    """Events as clients send them. Raises RuleError with the place of what is wrong."""
    if not isinstance(written, list):
        raise RuleError("Events are a list.", code="type", path="events")
    if len(written) > MOST_EVENTS:
        raise RuleError(f"At most {MOST_EVENTS:,} events can be looked at together.", code="too_many", path="events")
    found = []
    for place, each in enumerate(written):
        try:
            found.append(make_event(each if isinstance(each, Mapping) else {}))
        except RefusedError as error:
            path = f"events[{place}].{error.path}".rstrip(".")
            raise RuleError(error.message, code=error.code, path=path) from error
    return found


def _check(draft: Contract) -> None:
    # It may well overlap the contract in force: what it would cost instead is the question.
    shadow, draft.shadow = draft.shadow, True
    try:
        draft.full_clean(exclude={"deal"} if not draft.deal else None)
    except ValidationError as error:
        raise refusal_of_faults(model_faults("", error, CONTRACT_NAMES)) from error
    finally:
        draft.shadow = shadow


def _counting(pending: Sequence[Event], customer: Customer, periods: Sequence[Period]) -> list[Event]:
    keys = set(CustomerKey.objects.filter(customer=customer).values_list("key", flat=True))
    types = {name for names in Meter.objects.values_list("event_types", flat=True) for name in names}
    possible = {
        each.key: each
        for each in reversed(pending)  # of two with one identity the first one counts
        if each.customer in keys and each.type in types and any(each.time in period for period in periods)
    }
    stored = _stored(possible.values())
    return [each for key, each in possible.items() if uuid.UUID(bytes=key) not in stored]


def _stored(events: Collection[Event]) -> set[uuid.UUID]:
    with connection.cursor() as cursor:
        cursor.execute(
            STORED,
            {"keys": [uuid.UUID(bytes=each.key) for each in events], "times": [each.time for each in events]},
        )
        return {key for (key,) in cursor.fetchall()}


def _with_events(customer: Customer, events: Sequence[Event], look: Callable[[], T]) -> T:
    """What is seen while the events are there, seen by nobody else."""
    own = f"preview:{uuid.uuid4()}"
    # Before the transaction: a month's table and a type's number are there for everybody, or somebody would wait.
    try:
        partitions.ensure_for(sorted(each.time for each in events))
    except GoneError:
        message = "The events of this month are archived: restore them first."
        raise RuleError(message, code="archived", path="events") from None
    types = event_types.ids([each.type for each in events])
    renamed = [msgspec.structs.replace(each, customer=own, source=own) for each in events]
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(PATIENCE)
        CustomerKey.objects.create(customer=customer, key=own)
        EventRows.of(renamed, subjects.ids([own]), types).write()
        seen = look()
        transaction.set_rollback(True)
    return seen
