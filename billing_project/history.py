"""Who changed what, read from the rows pghistory's triggers write."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, TypeVar

import pghistory
from django.contrib.auth import get_user_model
from django.db.models import Model

from billing_project.decimals import plain

LIMIT = 200
M = TypeVar("M", bound=Model)


def tracked(**options: Any) -> Any:
    """Class decorator: every insert, update and delete of the model, however it is made, leaves a row of history."""
    return pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent(), **options)


def authored_by(actor: Any | None, reason: str = "", **more: Any) -> AbstractContextManager[Any]:
    """What is changed within is kept with who did it and why. `actor` None: a program, or whoever is known already."""
    known = {"user": actor.pk} if actor is not None else {}
    given = {**known, **({"reason": reason} if reason else {}), **more}
    return pghistory.context(**given)


def authors_since(tracked: Model, since: datetime | None) -> set[int]:
    """The users who changed an object after an instant (None: ever), but for those who only decided about it."""
    model = tracked.pgh_event_model  # type: ignore[attr-defined]
    rows = model.objects.filter(pgh_obj_id=tracked.pk, pgh_context__isnull=False).select_related("pgh_context")
    if since is not None:
        rows = rows.filter(pgh_created_at__gt=since)
    contexts = [_context(row) for row in rows]
    return {each["user"] for each in contexts if each.get("user") and not each.get("decision")}


def as_known(model: type[M], at: datetime, keys: Any = None) -> dict[Any, M]:
    """The rows of a tracked model as they stood at an instant, by primary key; `keys` (or a query of them) names some.

    One query. An object that was not there yet, or no longer, is left out.
    """
    events = model.pgh_event_model  # type: ignore[attr-defined]
    rows = events.objects.filter(pgh_created_at__lte=at)
    if keys is not None:
        rows = rows.filter(pgh_obj_id__in=keys)
    columns = [field.attname for field in model._meta.concrete_fields if hasattr(events, field.attname)]
    found: dict[Any, M] = {}
    # The last row of each object: history is written under the object's lock, in order.
    for row in rows.order_by("pgh_obj_id", "-pgh_id").distinct("pgh_obj_id"):
        if row.pgh_label != "delete":
            known = model(**{name: getattr(row, name) for name in columns})
            known._state.adding = False
            found[row.pgh_obj_id] = known
    return found


@dataclass(frozen=True, slots=True)
class Change:
    at: datetime
    label: str
    by: str
    url: str
    fields: list[tuple[str, str, str]]


# The differences within a field: its name, the value before (None for a new object) and after.
InWords = Callable[[str, Any, Any], Iterable[tuple[str, str, str]] | None]


def changes_of(tracked: Model, in_words: InWords = lambda name, old, new: None) -> list[Change]:
    """The last changes of one object, newest first, each with what differs from the row before. `in_words` may tell a
    field's differences itself, or None.
    """
    model = tracked.pgh_event_model  # type: ignore[attr-defined]
    rows = list(model.objects.filter(pgh_obj_id=tracked.pk).select_related("pgh_context").order_by("-pk")[: LIMIT + 1])
    names = _user_names(rows)
    columns = [field for field in tracked._meta.concrete_fields if hasattr(model, field.attname)]
    return [
        Change(
            at=row.pgh_created_at,
            label=row.pgh_label,
            by=_author(_context(row), names),
            url=str(_context(row).get("url", "")),
            fields=list(_differences(columns, before, row, in_words)),
        )
        for row, before in pairwise([*rows, None])
    ][:LIMIT]


def _context(row: Any) -> dict[str, Any]:
    return row.pgh_context.metadata if row.pgh_context else {}


def _user_names(rows: list[Any]) -> dict[Any, str]:
    users: set[Any] = {_context(row).get("user") for row in rows} - {None}
    return {user.pk: user.get_username() for user in get_user_model()._default_manager.filter(pk__in=users)}


def _author(context: dict[str, Any], names: dict[Any, str]) -> str:
    if user := context.get("user"):
        return names.get(user, f"user {user}")
    return f"API key ch_{context['api_key']}…" if context.get("api_key") else "the system"


def _differences(columns: list[Any], before: Any, after: Any, in_words: InWords) -> Iterator[tuple[str, str, str]]:
    for field in columns:
        old, new = (getattr(row, field.attname) if row else None for row in (before, after))
        if old == new:
            continue
        told = in_words(field.attname, old, new)
        if told is not None:
            yield from told
        else:
            yield str(field.verbose_name), _shown(old), _shown(new)


def _shown(value: Any) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return "" if value is None else str(value)
