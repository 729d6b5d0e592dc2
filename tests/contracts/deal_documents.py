"""Every deal that is written in the test-suite: in its modules, scenarios and cases."""

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from contracts.deal import Deal
from contracts.deal_format import DealError, deal_as_dict, parse_deal
from invoicing.billing_file.reading import read_documents

TESTS = Path(__file__).resolve().parent.parent
PARTS = frozenset(Deal.__struct_fields__)
UTC = ZoneInfo("UTC")


@cache
def deal_documents() -> list[dict[str, Any]]:
    """Each once, as it is stored."""
    found = {}
    for written in (*_in_modules(), *_in_files()):
        try:
            deal = deal_as_dict(parse_deal(written, UTC))
        except DealError:
            continue  # the tests of bad input
        if deal:
            found[json.dumps(deal, sort_keys=True)] = deal
    return list(found.values())


def _in_modules() -> Iterator[Any]:
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                try:
                    yield from _deals(ast.literal_eval(node))
                except ValueError:
                    continue  # a name or a call in it


def _in_files() -> Iterator[Any]:
    for path in sorted(TESTS.rglob("*.yaml")):
        for written in read_documents(path):
            yield from _deals(written.value)


def _deals(written: Any) -> Iterator[Any]:
    """The objects in a document that have parts of a deal, without their other fields."""
    if isinstance(written, dict):
        parts = {name: value for name, value in written.items() if name in PARTS}
        if parts:
            yield parts
        for value in written.values():
            yield from _deals(value)
    elif isinstance(written, list | tuple):
        for value in written:
            yield from _deals(value)
