"""Every golden case our rules answer, as a scenario through the whole path: `python -m tests.scenarios.golden`.

One call of `simulate` for each file of cases. Prints every difference; exit status 1 if there is any.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.scenarios.golden_prices import Golden

FILES = ("price", "proration", "credits", "aggregation", "worked_examples")
NOT_IN_A_FILE = {"om-parse-006": "What is no JSON cannot stand in a file."}


def golden(file: str) -> dict[str, "Golden"]:
    """The cases of a file by id, but those left out."""
    from tests.cases import HERE
    from tests.cases.left_out import LEFT_OUT
    from tests.scenarios.golden_examples import examples
    from tests.scenarios.golden_prices import PRICES
    from tests.scenarios.golden_terms import TERMS

    if file == "worked_examples":
        return examples()
    makers = {**PRICES, **TERMS}
    cases = json.loads((Path(HERE) / f"{file}.json").read_text())
    return {case["id"]: makers[case["model"]](case) for case in cases if case["id"] not in {*LEFT_OUT, *NOT_IN_A_FILE}}


def wrong(cases: dict[str, "Golden"]) -> Iterator[str]:
    """What comes out otherwise, one line for each case."""
    from django.utils import timezone

    from invoicing.billing_file.scenarios import read_scenarios, simulate

    with TemporaryDirectory() as folder:
        path = Path(folder) / "golden.json"
        path.write_text(json.dumps([{"name": name, **each.written} for name, each in cases.items()]))
        scenarios = read_scenarios(path)
    for result in simulate(scenarios, Path(), timezone.now()):
        name = result["name"]
        if "error" in result:
            yield f"{name}: {result['error']['path']} {result['error']['message']}"
        elif (found := cases[name].found(result)) != cases[name].expected:
            yield f"{name}: {found}, expected {cases[name].expected}"


def main(files: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
    import django

    django.setup()
    count, faults = 0, []
    for file in files or FILES:
        cases = golden(file)
        count += len(cases)
        faults += list(wrong(cases))
    print("\n".join([*faults, f"{count - len(faults)} of {count} cases come out as expected."]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
