"""Work that several processes of the product do at the same time, each with a database connection of its own."""

import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import connections

from tests.benchmarks.processes import cpu_seconds

MEGABYTE = 1024  # ru_maxrss counts kilobytes
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Together:
    """Seconds until all were done; seconds of CPU time of the processes and of their database connections; megabytes of
    the largest process.
    """

    seconds: float
    own_cpu: float
    database_cpu: float
    memory: float

    @property
    def cpu(self) -> float:
        return self.own_cpu + self.database_cpu


def together(works: Sequence[Work]) -> Together:
    """Do each work in a forked process of its own, all from the same moment. Raises RuntimeError when one fails."""
    connections.close_all()
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[tuple[float, float, float] | str] = context.Queue()
    ready = context.Barrier(len(works) + 1)
    children = [context.Process(target=_work, args=(work, ready, answers)) for work in works]
    for child in children:
        child.start()
    ready.wait()
    started = time.monotonic()
    found = [answers.get() for _ in children]
    took = time.monotonic() - started
    for child in children:
        child.join()
    failures = [each for each in found if isinstance(each, str)]
    if failures:
        raise RuntimeError(failures[0])
    own, database, memory = zip(*(each for each in found if not isinstance(each, str)), strict=True)
    return Together(took, sum(own), sum(database), max(memory))


def _work(
    work: Work,
    ready: "multiprocessing.synchronize.Barrier",
    answers: "multiprocessing.Queue[tuple[float, float, float] | str]",
) -> None:
    connection = connections["default"]
    connection.ensure_connection()
    pids = [os.getpid(), connection.connection.info.backend_pid]
    ready.wait()
    before = [cpu_seconds(pid) for pid in pids]
    try:
        work()
    except BaseException as error:
        answers.put(f"{type(error).__name__}: {error}")
        raise
    own, database = (cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True))
    answers.put((own, database, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE))
