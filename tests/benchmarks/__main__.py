"""`python -m tests.benchmarks NAME`: see the package's docstring."""

import argparse
import os
import secrets
import sys
from dataclasses import dataclass
from importlib import import_module

from tests import benchmarks

ALIASES = {"live_spend": "live_usage"}
NAMES = ("ingest", "rollup", "live_usage", "live_spend", "close", "issue", "push", "everything", "threshold_reaction")


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. Empty lists stand for the benchmark's own defaults."""

    scale: float
    rows: list[int]
    batch: list[int]
    processes: list[int]
    contracts: list[int]
    seconds: float
    rounds: int
    url: str


def numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=benchmarks.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--scale", type=float, default=1.0, help="how much work: 0.1 for a quick look")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rows", type=numbers, default=[], help="events there at the start, in stages: 0,5000000")
    parser.add_argument("--batch", type=numbers, default=[], help="events a request: 1000,100,1")
    parser.add_argument("--processes", type=numbers, default=[], help="for close and issue: 1,2")
    parser.add_argument("--contracts", type=numbers, default=[], help="for close, in rising stages: 1000,10000,30000")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each measurement takes")
    parser.add_argument("--rounds", type=int, default=3, help="how often; medians are printed")
    return parser.parse_args()


def main() -> None:
    given = parse()
    name = ALIASES.get(given.name, given.name)
    os.environ["COUNTINGHOUSE_MODE"] = "demo"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.settings")
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(64))
    from tests.benchmarks.database import own_database

    with own_database(name) as url:
        os.environ["DATABASE_URL"] = url
        import django

        django.setup()
        from django.db import connections

        from billing_project.tables import make_tables
        from tests.benchmarks.report import circumstances

        make_tables()
        options = Options(
            scale=given.scale,
            rows=given.rows,
            batch=given.batch,
            processes=given.processes,
            contracts=given.contracts,
            seconds=given.seconds,
            rounds=given.rounds,
            url=url,
        )
        print(f"{name}: {circumstances()}", file=sys.stderr)
        result, text = import_module(f"tests.benchmarks.{name}").run(options)
        connections.close_all()
    result.name = given.name
    print(result.as_json() if given.json else f"{text}\n\nratio {result.ratio:.2f}, target {result.target}")


if __name__ == "__main__":
    main()
