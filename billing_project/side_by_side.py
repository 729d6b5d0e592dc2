"""The same work on many things by several processes of this one's kind; the answers come in the order of the things."""

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, TypeVar

from django.db import DatabaseError

from billing_project.errors import RuleError
from billing_project.garbage import collected_seldom

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")
Work = Callable[[Iterator[Thing]], Iterator[Answer]]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def answers(work: Work[Thing, Answer], given: Sequence[Thing], processes: int) -> Iterator[Answer]:
    """What `work` yields for each thing, in their order. It is called once in every process and yields one answer for
    each thing it takes, before it takes the next; a refusal ends the others and is raised here.

    One process is this one; so it is where it cannot be copied: with threads, or on other systems.
    """
    if processes < 2 or threading.active_count() > 1 or "fork" not in get_all_start_methods():
        yield from work(iter(given))
        return
    context = get_context("fork")
    next_place = context.Value("q", 0)
    ends: list[Connection] = []
    children = []
    for _ in range(processes):
        end, other_end = context.Pipe(duplex=False)
        ends.append(end)
        children.append(context.Process(target=_answer, args=(work, given, next_place, other_end, list(ends))))
        children[-1].start()
        other_end.close()
    try:
        yield from _in_order(ends, len(given))
    except BaseException:
        for child in children:
            child.terminate()
        raise
    finally:
        for child in children:
            child.join()


def _in_order(ends: list[Any], count: int) -> Iterator[Any]:
    found: dict[int, Any] = {}
    for place in range(count):
        while place not in found:
            if not ends:
                raise RuntimeError("A process ended before its work was done.")
            ready: list[Any] = wait(ends)
            for end in ready:
                try:
                    number, answer = end.recv()
                except EOFError:
                    ends.remove(end)
                    continue
                if number is None:
                    raise answer
                found[number] = answer
        yield found.pop(place)


def _answer(work: Work[Any, Any], given: Sequence[Any], next_place: Any, end: Connection, others: list[Any]) -> None:
    # Ctrl-C reaches every process of a terminal: only the first one acts on it, and tells these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    gc.freeze()  # looking again and again through what is there already takes longer than the rest
    for each in others:
        each.close()  # else writing would not fail when the first process is gone
    taken: list[int] = []

    def things() -> Iterator[Any]:
        while True:
            with next_place.get_lock():
                place = next_place.value
                next_place.value += 1
            if place >= len(given):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                return
            taken[:] = [place]
            yield given[place]

    with suppress(KeyboardInterrupt, BrokenPipeError), collected_seldom():
        try:
            for answer in work(things()):
                end.send((taken[0], answer))
        except (RuleError, DatabaseError) as error:
            end.send((None, error))


def _stop(signum: int, frame: FrameType | None) -> None:
    """Once: what is being put in order after it is not disturbed."""
    signal.signal(signum, signal.SIG_IGN)
    raise KeyboardInterrupt
