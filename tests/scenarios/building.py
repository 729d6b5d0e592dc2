"""Scenarios in a few words, and what must come of them."""

import json
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command
from pytest_django import DjangoDbBlocker

Written = dict[str, Any]


def per_unit(amount: str, **more: Any) -> Written:
    return {"model": "per_unit", "unit_amount": amount, **more}


def events(*rows: tuple[Any, ...]) -> list[Written]:
    """Events of type `call`: each row is a time, the number `n`, and more properties if there are any."""
    return [
        {"id": f"e{number}", "customer": "acme", "type": "call", "time": time, "properties": {"n": n, **dict(*more)}}
        for number, (time, n, *more) in enumerate(rows)
    ]


def scenario(
    price: Written | None,
    *rows: tuple[Any, ...],
    as_of: str = "2026-02-03T00:00:00Z",
    aggregation: str = "sum",
    rates: list[Written] | None = None,
    meter: Written | None = None,
    product: Written | None = None,
    card: Written | None = None,
    customer: Written | None = None,
    **contract: Any,
) -> Written:
    """One customer, one meter, one product, one contract from 2026 on, closed for January."""
    measured = {"property": "n"} if aggregation != "count" else {}
    return {
        "as_of": as_of,
        "meters": [{"key": "calls", "event_type": "call", "aggregation": aggregation, **measured, **(meter or {})}],
        "products": [{"key": "calls", "meter": "calls", **(product or {})}],
        "rate_cards": [
            {
                "key": "card",
                "currency": "USD",
                "rates": [{"product": "calls", "price": price}] if rates is None else rates,
                **(card or {}),
            }
        ],
        "customers": [{"key": "acme", **(customer or {})}],
        "contracts": [{"key": "c", "customer": "acme", "rate_card": "card", "starting_at": "2026-01-01", **contract}],
        "events": events(*rows),
    }


def run_all(scenarios: dict[str, Written], folder: Path, blocker: DjangoDbBlocker) -> dict[str, Written]:
    """The result of each scenario by name, from one call of `simulate`."""
    path = folder / "scenarios.json"
    path.write_text(json.dumps([{"name": name, **written} for name, written in scenarios.items()]))
    out = StringIO()
    # A scenario that fails has its error as its result.
    with blocker.unblock(), suppress(CommandError):
        call_command("simulate", str(path), json=True, stdout=out)
    return {result["name"]: result for result in json.loads(out.getvalue())["results"]}


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where a result differs from what is expected of it: only the keys that are expected are looked at."""
    if isinstance(expected, dict) and isinstance(found, dict):
        missing = [f"{path}.{key} is missing" for key in expected if key not in found]
        return missing + [
            each for key in expected if key in found for each in differences(expected[key], found[key], f"{path}.{key}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return [each for place, pair in pairs for each in differences(*pair, f"{path}[{place}]")]
    return [] if expected == found else [f"{path} is {found!r}, expected {expected!r}"]
