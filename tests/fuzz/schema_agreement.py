"""Does the JSON Schema say of an entry what its reader says? `python -m tests.fuzz.schema_agreement` prints where not.

Every field of the example, once for each place it can stand at, is made wrong in turn. The schema may let pass what
only a rule between fields refuses; it must not refuse what the reader takes, nor take what the reader refuses for its
form.
"""

import copy
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import cache, partial
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from tests.fuzz.billing_file import ADDED, EXAMPLE, LEFT_OUT, WRONG, changed, places

MORE: tuple[Any, ...] = (
    0,
    2,
    Decimal("0.5"),
    Decimal("1e3"),
    "1e3",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "P1M",
    False,
)
FORM = frozenset({"type", "value", "missing", "unknown_field"})
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[-+]\d\d:\d\d)")


def verdict(section: str, entry: Any) -> str:
    """What the reader says of an entry: the code of its first fault, with its path; nothing when it is taken."""
    from catalog.documents import DocumentError
    from contracts.deal_format import DealError, parse_contract
    from contracts.templates import parse_template_document
    from invoicing.billing_file.parsing import read_entry

    try:
        if section == "contracts":
            parse_contract(entry, ZoneInfo("UTC"))
        elif section == "templates":
            parse_template_document(entry)
        else:
            read_entry(section, entry)
    except DealError as error:
        return f"{error.faults[0].code} {error.faults[0]}"
    except DocumentError as error:
        return f"{error.code} {error}"
    return ""


def _is_date(text: object) -> bool:
    """In the years that can be agreed."""
    try:
        return not isinstance(text, str) or 1970 <= date.fromisoformat(text).year < 3000
    except ValueError:
        return False


def _is_instant(text: object) -> bool:
    """As RFC 3339 has it."""
    try:
        return not isinstance(text, str) or bool(INSTANT.fullmatch(text) and datetime.fromisoformat(text.upper()))
    except ValueError:
        return False


@cache
def validator(section: str) -> Any:
    import jsonschema

    from invoicing.billing_file.schema import ENTRIES, json_schema

    of_entry = {**json_schema(), "$ref": f"#/$defs/{ENTRIES[section].__name__}"}
    del of_entry["anyOf"]
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("date")(_is_date)
    formats.checks("date-time")(_is_instant)
    return jsonschema.Draft202012Validator(of_entry, format_checker=formats)


def changes(document: Any) -> Iterator[tuple[str, str, object, Callable[[], Any]]]:
    """The section, the place, what is wrong there, and what makes the entry with it."""
    seen = set()
    for section, entries in document.items():
        for entry in entries if isinstance(entries, list) else ():
            yield section, "", "it is", partial(copy.deepcopy, entry)
            for place in places(entry):
                named = "".join("[]" if isinstance(part, int) else f".{part}" for part in place)
                kind = (section, named, *_tags(entry, place))
                if kind in seen:
                    continue
                seen.add(kind)
                for wrong in (*WRONG, *MORE, ADDED, LEFT_OUT):
                    if not (isinstance(wrong, Decimal) and wrong.is_nan()):  # no number of JSON
                        yield section, named, wrong, partial(changed, entry, place, wrong)


def _tags(entry: Any, place: tuple[str | int, ...]) -> list[str]:
    """The kinds and models of what a place is in."""
    found = []
    for part in place:
        if isinstance(entry, dict):
            found += [str(entry[name]) for name in ("kind", "model") if name in entry]
        entry = entry[part]
    return found


def disagreements(start: int = 0, step: int = 1) -> Iterator[str]:
    """Of every `step`th change."""
    from invoicing.billing_file.reading import read_one

    for section, place, wrong, made in islice(changes(read_one(EXAMPLE)), start, None, step):
        entry = made()
        said = verdict(section, entry)
        taken = validator(section).is_valid(entry)
        if taken and said.split(" ")[0] in FORM:
            yield f"{section}{place} as {wrong!r}: only the reader refuses it ({said})"
        if not taken and not said:
            yield f"{section}{place} as {wrong!r}: only the schema refuses it"


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(64))
    import django

    django.setup()
    found = list(disagreements())
    print("\n".join([*found, f"{len(found)} disagreements."]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
