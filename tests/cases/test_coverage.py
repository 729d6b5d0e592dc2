"""Every golden case runs here or is left out by name with the rule that says so."""

import json
from pathlib import Path

from tests.cases import HERE
from tests.cases.left_out import LEFT_OUT


def test_every_case_runs_or_is_left_out() -> None:
    source = "".join(path.read_text() for path in Path(HERE).glob("test_*_cases.py"))
    for file in ("price", "credits", "proration", "aggregation"):
        for case in json.loads((HERE / f"{file}.json").read_text()):
            assert f'"{case["model"]}"' in source or case["id"] in LEFT_OUT, case["id"]


def test_every_worked_example_runs_or_is_left_out() -> None:
    books = HERE.parent / "invoicing" / "test_journal.py"
    source = (HERE / "test_worked_examples.py").read_text() + books.read_text()
    for example in json.loads((HERE / "worked_examples.json").read_text()):
        assert f'"{example["name"]}"' in source or example["name"] in LEFT_OUT, example["name"]


def test_what_is_left_out_exists() -> None:
    known = {
        case["id"]
        for name in ("price", "credits", "proration", "aggregation")
        for case in json.loads((HERE / f"{name}.json").read_text())
    }
    known |= {example["name"] for example in json.loads((HERE / "worked_examples.json").read_text())}
    assert set(LEFT_OUT) <= known
