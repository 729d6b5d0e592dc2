"""Who changed what, read from the rows pghistory's triggers write."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pghistory
from django.contrib.auth import get_user_model
from django.db.models import Model

from billing_project.decimals import plain

LIMIT = 200


def tracked(**options: Any) -> Any:
    """Class decorator: every insert, update and delete of the model, however it is made, leaves a row of history."""
    return pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent(), **options)


@dataclass(frozen=True, slots=True)
class Change:
    at: datetime
    label: str
    by: str
    url: str
    fields: list[tuple[str, str, str]]


def changes_of(tracked: Model) -> list[Change]:
    """The last changes of one object, newest first, each with what differs from the row before."""
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
            fields=list(_differences(columns, before, row)),
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


def _differences(columns: list[Any], before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    for field in columns:
        old, new = (getattr(row, field.attname) if row else None for row in (before, after))
        if old != new:
            yield str(field.verbose_name), _shown(old), _shown(new)


def _shown(value: Any) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return "" if value is None else str(value)
