"""What is wrong in a billing file, by the path of the field."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.core.exceptions import ValidationError

from contracts.deal_format import Fault

PLACE = re.compile(r"([a-z_]+[a-z_.\[\]0-9]*): (.*)", re.DOTALL)

__all__ = ["Fault", "FileError", "Placed", "joined", "model_faults", "placed", "unfolded"]
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Placed(Generic[E]):
    """An entry and its path in the file."""

    path: str
    entry: E


class FileError(ValueError):
    """A billing file that cannot be accepted, with every fault found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


def joined(path: str, rest: str) -> str:
    """A path and the rest of it: `contracts[0]` and `billing.anchor`."""
    return f"{path}{rest}" if not path or not rest or rest.startswith("[") else f"{path}.{rest}"


def placed(path: str, faults: Iterable[Fault]) -> list[Fault]:
    """Faults of a part of a file as faults of the file."""
    return [Fault(joined(path, fault.path), fault.code, fault.message) for fault in faults]


def unfolded(faults: Iterable[Fault], column: str, path: str) -> list[Fault]:
    """Faults of a column that holds a document, as faults of the fields the file has at its place."""
    found = []
    for fault in faults:
        place = PLACE.match(fault.message) if fault.path == joined(path, column) else None
        found.append(Fault(joined(path, place[1]), "refused", place[2]) if place else fault)
    return found


def model_faults(path: str, error: ValidationError, names: Mapping[str, str]) -> list[Fault]:
    """What a model refused, by the names its fields have in the file (`names`, where they differ)."""
    if not hasattr(error, "error_dict"):
        return [Fault(path, error.code or "invalid", text) for text in error.messages]
    found = []
    for field, errors in error.error_dict.items():
        place = "" if field == "__all__" else names.get(field, field)
        for each in errors:
            found += [Fault(joined(path, place), each.code or "invalid", text) for text in each.messages]
    return found
