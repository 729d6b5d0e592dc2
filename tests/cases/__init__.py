"""Golden cases of other billing systems and worked examples of their vendors: see README.md beside them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cases.left_out import LEFT_OUT

HERE = Path(__file__).parent


def cases(file: str, *models: str) -> list[Any]:
    """The cases of a file (of some models) that our rules answer, as parameters named by their id."""
    found = [case for case in json.loads((HERE / f"{file}.json").read_text()) if not models or case["model"] in models]
    return [pytest.param(case, id=case["id"]) for case in found if case["id"] not in LEFT_OUT]


def worked_example(name: str) -> Any:
    """One worked example: its inputs and what is expected."""
    found = json.loads((HERE / "worked_examples.json").read_text())
    return next(example for example in found if example["name"] == name)
