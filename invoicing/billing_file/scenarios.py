"""`simulate`: scenarios through the real path, each alone in a database that is thrown away."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import DatabaseError

from billing_project.errors import RuleError
from billing_project.scratch import Scratch, scratch_database
from billing_project.side_by_side import answers, cores
from contracts.deal_format import Fault
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.events import send
from invoicing.billing_file.faults import FileError
from invoicing.billing_file.parsing import parse
from invoicing.billing_file.reading import Written, read_documents, split_scenarios
from invoicing.billing_file.results import result
from invoicing.close import close_periods
from invoicing.past_recharges import recharge_past
from invoicing.spend_thresholds import bill_thresholds
from invoicing.tax_terms import asking_nobody
from meters import dictionary, partitions
from meters.rollup import roll_up

WORTH_A_PROCESS = 4  # as long as making another database takes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario as written, or why it cannot be read."""

    name: str
    written: Any = None
    faults: tuple[Fault, ...] = ()


def read_scenarios(path: Path) -> list[Scenario]:
    """The scenarios of a file, in order: one for each document, or those of the list it holds."""
    found: list[Scenario] = []
    for document in read_documents(path):
        if document.faults:
            found.append(Scenario(_unnamed(len(found)), faults=document.faults))
        else:
            found += [_scenario(written, len(found) + n) for n, written in enumerate(split_scenarios(document.value))]
    return found


def _scenario(written: Any, place: int) -> Scenario:
    if isinstance(written, Written):
        return Scenario(_unnamed(place), faults=written.faults)
    return Scenario(_name(written, place), written)


def _name(written: object, place: int) -> str:
    name = written.get("name") if isinstance(written, dict) else None
    return name if isinstance(name, str) and name else _unnamed(place)


def _unnamed(place: int) -> str:
    return f"scenario {place + 1}"


def simulate(
    scenarios: Sequence[Scenario], folder: Path, now: datetime, processes: int | None = None
) -> Iterator[dict[str, Any]]:
    """The result of each scenario, or its error, in order. `folder` is what paths of event files are relative to.
    `processes`: how many work on them, each in a database of its own; as many as pay, if not said.
    """
    many = min(cores(), len(scenarios) // WORTH_A_PROCESS) if processes is None else processes
    yield from answers(lambda some: _run_all(some, folder, now), scenarios, many)


def _run_all(scenarios: Iterable[Scenario], folder: Path, now: datetime) -> Iterator[dict[str, Any]]:
    with scratch_database() as scratch:
        _forget()
        try:
            for scenario in scenarios:
                with asking_nobody():
                    result = _run_alone(scratch, scenario, folder, now)
                yield result
        finally:
            _forget()


def _run_alone(scratch: Scratch, scenario: Scenario, folder: Path, now: datetime) -> dict[str, Any]:
    try:
        if scenario.faults:
            raise FileError(scenario.faults)
        return _run(scenario, folder, now)
    except FileError as error:
        faults = [{"code": each.code, "message": each.message, "path": each.path} for each in error.faults]
        return {"name": scenario.name, "error": {**faults[0], "errors": faults}}
    except RuleError as error:
        problem = error.problems[0]
        return _failed(scenario, problem.code, problem.message, problem.path)
    except DatabaseError as error:
        logger.debug("scenario %s", scenario.name, exc_info=True)
        return _failed(scenario, "database", " ".join(str(error).split()))
    except Exception as error:
        logger.debug("scenario %s", scenario.name, exc_info=True)
        return _failed(scenario, "internal", f"{type(error).__name__}: {error}")
    finally:
        scratch.wipe()
        dictionary.forget()


def _failed(scenario: Scenario, code: str, message: str, path: str = "") -> dict[str, Any]:
    return {"name": scenario.name, "error": {"code": code, "message": message, "path": path}}


def _run(scenario: Scenario, folder: Path, now: datetime) -> dict[str, Any]:
    entries = parse([("", scenario.written)])
    as_of = entries.as_of or now
    apply_entries(entries, as_of)
    sent = send(entries, folder, as_of)
    while roll_up().more:
        pass
    closed_before = recharge_past(as_of)
    close_periods(as_of, alone=not closed_before)
    bill_thresholds(as_of)
    return {**result(scenario.name, as_of), "events": sent}


def _forget() -> None:
    """What this process knows of one database is not so in another."""
    dictionary.forget()
    partitions.forget()
