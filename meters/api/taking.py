"""The one verb behind every way in over HTTP: what was read is stored, what was refused is kept with its reason."""

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import Throttled

from billing_project.api import problem
from billing_project.errors import Problem
from meters.backlog import WAIT, backlog
from meters.events import Decoded, Event, Rejection
from meters.first_times import with_first_times
from meters.group_commit import ingest_together
from meters.ingest import IngestResult, record_rejections

CONFLICT = (
    "The identity is taken by an event with another body. The first one counts; this one is listed as a conflict."
)
TOO_MANY = "More events wait to be counted than the roller can keep up with; none of these was stored."


@dataclass(frozen=True, slots=True)
class Taken:
    """The events as they are stored, how many were new, and what was refused, in the order sent."""

    events: list[Event]
    result: IngestResult
    rejected: list[Rejection]
    single: bool

    def report(self) -> dict[str, Any]:
        return {
            "accepted": self.result.accepted,
            "duplicates": self.result.duplicates,
            "rejected": [
                {"index": one.index, "id": one.id, "code": one.code, "message": one.message} for one in self.rejected
            ],
        }

    def refusal(self, status: int = HTTPStatus.BAD_REQUEST) -> dict[str, Any]:
        """A problem that names every refused event."""
        kept = self.result.accepted + self.result.duplicates
        first = self.rejected[0]
        others = "the others are stored" if kept else "none is stored"
        detail = f"{len(self.rejected)} of {len(self.rejected) + kept} events were rejected; {others}."
        detail += f" The first one, {self._path(first)}: {first.message}"
        if self.single:
            detail = f"The event was rejected: {first.message}"
        problems = [Problem(self._path(one), one.code, one.message) for one in self.rejected]
        return problem(status, detail, problems, **self.report())

    def _path(self, one: Rejection) -> str:
        return one.path if self.single else f"[{one.index}]" + (f".{one.path}" if one.path else "")


def take(decoded: Decoded, sender: str, id_name: str = "id") -> Taken:
    """Store what can be stored. Returns after the commit; waits before it while the roller does not keep up. Raises
    Throttled while too many wait to be counted.
    """
    if backlog.is_too_long():
        raise Throttled(WAIT, TOO_MANY)
    if pause := backlog.pause(len(decoded.events)):
        time.sleep(pause)
    events = with_first_times(decoded.events)
    result = ingest_together(events)
    if decoded.rejected:
        record_rejections(decoded.rejected, sender)
    conflicts = [
        Rejection(decoded.positions[place], events[place].id, id_name, "conflict", CONFLICT, "")
        for place in result.conflicts
    ]
    archived = [
        Rejection(
            decoded.positions[place],
            events[place].id,
            "time",
            "archived",
            "The events of that month are archived; this one is kept, and can be replayed once they are restored.",
            "",
        )
        for place in result.archived
    ]
    rejected = sorted([*decoded.rejected, *conflicts, *archived], key=lambda one: one.index)
    return Taken(events, result, rejected, decoded.single)
