"""One entry applied as a file of it alone would be: what the API and small changes do."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NoReturn

from billing_project.errors import ConflictError, Problem, RuleError
from contracts.deal_format import Fault
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.faults import FileError
from invoicing.billing_file.parsing import parse

# What is right by itself, but not beside what is there.
CONFLICTS = frozenset({"changed", "exists", "frozen", "taken"})
INDEX = re.compile(r"^\w+\[0\]\.?")


def apply_entry(section: str, entry: object, now: datetime, within: Sequence[str] = ()) -> None:
    """Apply an entry of a section. RuleError or ConflictError with every fault found, by path within the entry, or
    within the part of it that the caller was given (`within`: what its paths begin with).
    """
    try:
        apply_entries(parse([("", {section: [entry]})]), now)
    except FileError as error:
        refuse([Fault(_path(each.path, within), each.code, each.message) for each in error.faults])


def refuse(faults: Sequence[Fault]) -> NoReturn:
    """Raises the faults: as a conflict where all of them only clash with what is there."""
    problems = [Problem(each.path, each.code, each.message) for each in faults]
    kind = ConflictError if all(each.code in CONFLICTS for each in faults) else RuleError
    raise kind("; ".join(map(str, faults)), problems=problems)


def _path(path: str, within: Sequence[str]) -> str:
    inner = INDEX.sub("", path)
    return next((inner.removeprefix(start) for start in within if inner.startswith(start)), inner)
