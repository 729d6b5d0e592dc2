"""Replaying what was rejected: corrected or as it was sent, through the same reading and the same ingestion."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings

from meters.archived import rejection, set_aside
from meters.events import Decoded, Event, Rejection, decode
from meters.exact_json import MalformedError, RefusedError, encode, parse
from meters.first_times import with_first_times
from meters.ingest import ingest_events
from meters.models import RejectedEvent
from meters.wire import lago, metronome, orb, stripe_v1, stripe_v2
from meters.wire.reading import Arrival, Untimed, read_each

CONFLICT = "The identity is taken by an event with another body, which counts. Give this one another id if both should."
BATCH = 1_000

Read = Callable[[dict[str, Any], int], Event]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many events count now, how many had been counted already, and how many were refused again."""

    counted: int = 0
    known: int = 0
    refused: int = 0

    @property
    def sentence(self) -> str:
        parts = [
            f"{self.counted:,} counted" if self.counted else "",
            f"{self.known:,} counted before" if self.known else "",
            f"{self.refused:,} refused again: the reason is shown" if self.refused else "",
        ]
        return ", ".join(part for part in parts if part) or "Nothing to replay"


@dataclass(frozen=True, slots=True)
class Correction:
    """One change to an event's JSON: a field, by its dotted path, takes another field's value or a text."""

    field: str
    from_field: str = ""
    value: str = ""

    def apply(self, body: str) -> str:
        """The event as text. Raises RefusedError where it cannot be changed so."""
        try:
            raw = parse(body)
        except (ValueError, RecursionError):
            raise RefusedError("", "malformed_json", "What was sent is no JSON: it is corrected by hand.") from None
        if not isinstance(raw, dict):
            raise RefusedError("", "not_an_object", "An event is a JSON object.")
        value: object = self.value
        if self.from_field:
            holder, name = _reach(raw, self.from_field)
            if name not in holder:
                raise RefusedError(self.from_field, "required", f"It has no `{self.from_field}`.")
            value = holder.pop(name)
        holder, name = _reach(raw, self.field)
        holder[name] = value
        return encode(raw).decode()


def replay(events: Iterable[RejectedEvent], *, by: str, now: datetime) -> Replayed:
    """Take the events again. Never in a transaction: each is marked after its own is committed.

    What was replayed before is left alone; stopped in the middle and repeated it counts nothing twice.
    """
    done, waiting = Replayed(), [event for event in events if event.replayed_at is None]
    for start in range(0, len(waiting), BATCH):
        one = _replay(waiting[start : start + BATCH], by, now)
        done = Replayed(done.counted + one.counted, done.known + one.known, done.refused + one.refused)
    return done


def correct(events: Iterable[RejectedEvent], correction: Correction) -> None:
    """Keep the corrected event beside what was sent. One that cannot be changed so keeps the reason."""
    for event in events:
        if event.replayed_at is not None:
            continue
        try:
            event.corrected = correction.apply(event.corrected or event.body)
        except RefusedError as error:
            event.path, event.code, event.message = error.path, error.code, error.message
            event.save(update_fields=["path", "code", "message"])
        else:
            event.save(update_fields=["corrected"])


def read_again(event: RejectedEvent, now: datetime) -> Event | Rejection:
    """The event, in whatever format it was sent, or the reason why it is none."""
    body = event.corrected or event.body
    # Sent without an id or a time, it keeps those of its first arrival.
    arrival = Arrival(now, event.digest.hex)
    try:
        decoded = _decode(body, arrival)
    except MalformedError as error:
        return Rejection(0, "", "", error.code, error.message, body)
    if decoded.rejected:
        return decoded.rejected[0]
    found = decoded.events[0]
    return msgspec.structs.replace(found, time=event.first_at) if isinstance(found, Untimed) else found


def _decode(body: str, arrival: Arrival) -> Decoded:
    text = body.encode("utf-8", "backslashreplace")
    if text.startswith((b"event_name=", b"identifier=", b"payload", b"timestamp=")):
        return stripe_v1.decode(text, arrival, settings.STRIPE_CUSTOMER_NAMES)
    try:
        raw = parse(body)
    except (ValueError, RecursionError):
        raw = None  # decode says what is wrong with it
    read, id_name = _format_of(raw if isinstance(raw, dict) else {}, arrival)
    if read is None:
        return decode(text, now=arrival.now, batch=False)
    return read_each([(raw, body)], read, id_name, single=True)


def _format_of(raw: dict[str, Any], arrival: Arrival) -> tuple[Read | None, str]:
    """Events of other systems' clients bear names that ours do not."""
    names: list[str] = settings.STRIPE_CUSTOMER_NAMES
    if "payload" in raw:
        return lambda one, _: stripe_v2.read(one, arrival, names), stripe_v2.ID
    if {"event_name", "idempotency_key"} & raw.keys():
        return lambda one, _: orb.read(one, arrival), orb.ID
    if {"code", "external_subscription_id"} & raw.keys():
        return lambda one, _: lago.read(one, arrival), lago.ID
    if "transaction_id" in raw:
        return lambda one, _: metronome.read(one, arrival), metronome.ID
    return None, "id"


def _replay(batch: Sequence[RejectedEvent], by: str, now: datetime) -> Replayed:
    read = [(event, read_again(event, now)) for event in batch]
    read = [(event, _unless_archived(found)) for event, found in read]
    taken = [(event, found) for event, found in read if isinstance(found, Event)]
    result = ingest_events(with_first_times([found for _, found in taken]))
    refused = [(event, found) for event, found in read if isinstance(found, Rejection)]
    clashing = set(result.conflicts)
    for place, (event, found) in enumerate(taken):
        if place in clashing:
            refused.append((event, Rejection(0, found.id, "id", "conflict", CONFLICT, "")))
    for event, reason in refused:
        _note(event, reason, now)
    done = [event.pk for place, (event, _) in enumerate(taken) if place not in clashing]
    RejectedEvent.objects.filter(pk__in=done, replayed_at=None).update(replayed_at=now, replayed_by=by, tried_at=now)
    return Replayed(result.accepted, result.duplicates, len(refused))


def _unless_archived(found: Event | Rejection) -> Event | Rejection:
    """Such an event waits here already: it need not be rejected once more."""
    return rejection(found) if isinstance(found, Event) and set_aside([found]) else found


def _note(event: RejectedEvent, reason: Rejection, now: datetime) -> None:
    event.path, event.code, event.message, event.tried_at = reason.path, reason.code, reason.message, now
    event.event_id = reason.id or event.event_id
    event.save(update_fields=["path", "code", "message", "tried_at", "event_id"])


def _reach(raw: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The object that holds the last step of a dotted path, made where it is missing. Raises RefusedError."""
    *steps, name = path.split(".")
    holder = raw
    for step in steps:
        inner = holder.setdefault(step, {})
        if not isinstance(inner, dict):
            raise RefusedError(path, "not_an_object", f"`{step}` is no object: it holds no `{name}`.")
        holder = inner
    return holder, name
