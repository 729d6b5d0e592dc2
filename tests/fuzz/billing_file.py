"""The billing file with every field wrong in turn, in forty ways: `python -m tests.fuzz.billing_file`, four minutes.

What must come of each: it is accepted, or refused with a path. Anything else, a traceback above all, is a finding.
"""

import copy
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[1] / "scenarios" / "everything.yaml"
Place = tuple[str | int, ...]
WRONG: tuple[Any, ...] = (
    None, "", "   ", "-1", -1, "1e70", "1e24", "9" * 60, 10**18, "NaN", "Infinity", Decimal("NaN"), True, [], ["x"],
    {}, {"zzz": 1}, [[]], "zzz", "1_000", "0x10", "x" * 5000, "0001-01-01", "9999-12-31", "2026-02-30",
    "2026-01-01T00:00:00", "2026-01-01T00:00:00+99:00", "0", "1e-50", "+1", "1,5", "10%", "a\tb", "0.5", 1, " 5 ",
    "5\n", "-0", "💥",
)  # fmt: skip
ADDED = object()  # a field that is not known, or an entry that is there already
LEFT_OUT = object()


def places(value: Any, here: Place = ()) -> Iterator[Place]:
    """Every field, object and list of a document."""
    if here:
        yield here
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*here, key))


def changed(document: Any, place: Place, wrong: object) -> Any:
    """The document with something wrong at a place."""
    document = copy.deepcopy(document)
    holder = document
    for part in place[:-1]:
        holder = holder[part]
    if wrong is LEFT_OUT:
        del holder[place[-1]]
    elif wrong is not ADDED:
        holder[place[-1]] = wrong
    elif isinstance(holder[place[-1]], dict):
        holder[place[-1]]["zzz"] = 1
    elif isinstance(holder[place[-1]], list):
        holder[place[-1]] *= 2
    return document


def findings(start: int = 0, step: int = 1) -> Iterator[str]:
    """What comes of every `step`th change otherwise than it should. Nothing is applied."""
    from django.utils import timezone

    from invoicing.billing_file.applying import apply_entries
    from invoicing.billing_file.faults import FileError
    from invoicing.billing_file.parsing import parse
    from invoicing.billing_file.reading import read_one

    document = read_one(EXAMPLE)
    changes = [(place, wrong) for place in places(document) for wrong in (*WRONG, ADDED, LEFT_OUT)]
    for place, wrong in changes[start::step]:
        try:
            apply_entries(parse([("", changed(document, place, wrong))]), timezone.now(), dry_run=True)
        except FileError as error:
            if not all(fault.path for fault in error.faults):
                yield f"{place} as {wrong!r}: no path in {error}"
        except Exception as error:  # noqa: BLE001 - what is looked for
            yield f"{place} as {wrong!r}: {type(error).__name__}: {error}"


def restless(start: int = 0, step: int = 1) -> Iterator[str]:
    """Of every `step`th change that is taken: where a dry run shows another plan than what is done, and where what was
    applied is changed by applying it again. Everything is taken back.
    """
    from django.db import transaction
    from django.utils import timezone

    from invoicing.billing_file.applying import apply_entries
    from invoicing.billing_file.faults import FileError
    from invoicing.billing_file.parsing import parse
    from invoicing.billing_file.reading import read_one

    document = read_one(EXAMPLE)
    changes = [(place, wrong) for place in places(document) for wrong in (*WRONG, ADDED, LEFT_OUT)]
    for place, wrong in changes[start::step]:
        files = [("", changed(document, place, wrong))]
        with transaction.atomic():
            try:
                planned = apply_entries(parse(files), timezone.now(), dry_run=True)
                done = apply_entries(parse(files), timezone.now())
                again = apply_entries(parse(files), timezone.now())
            except FileError:
                planned, done, again = [], [], []
            transaction.set_rollback(True)
        if planned != done:
            yield f"{place} as {wrong!r}: planned {planned}, done {done}"
        yield from (f"{place} as {wrong!r}: again {each}" for each in again if each.action != "unchanged")


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
    import django

    django.setup()
    found = list(findings())
    print("\n".join([*found, f"{len(found)} findings."]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
