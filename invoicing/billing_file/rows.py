"""Rows of the database brought to what a file says, with every check a form would make."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model

from invoicing.billing_file.faults import Fault, model_faults
from invoicing.billing_file.plan import Step, step


def upsert(
    row: Model, values: Mapping[str, Any], path: str, kind: str, names: Mapping[str, str] | None = None
) -> tuple[Step | None, list[Fault]]:
    """Set and save the fields of a row, new or stored, if they differ; what its model refuses, by path."""
    is_new = row.pk is None
    before = {} if is_new else {name: getattr(row, name) for name in values}
    changed = is_new or any(before[name] != value for name, value in values.items())
    if changed:
        for name, value in values.items():
            setattr(row, name, value)
        try:
            row.full_clean()
        except ValidationError as error:
            return None, model_faults(path, error, names or {})
    changes = {name: (old, getattr(row, name)) for name, old in before.items() if old != getattr(row, name)}
    if is_new or changes:
        row.save()
    return step(kind, str(getattr(row, "key", "")), is_new, changes), []
