"""Work shared by processes: answers in order, everything taken once, nothing left running."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from billing_project.errors import RuleError
from billing_project.side_by_side import answers, cores

Squares = Iterator[tuple[int, int]]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test run's own threads, if it has any, hold nothing these processes ask for."""
    monkeypatch.setattr("billing_project.side_by_side.threading.active_count", lambda: 1)


def squares(given: Iterator[int]) -> Squares:
    for each in given:
        yield each * each, os.getpid()


def left() -> list[Any]:
    return multiprocessing.active_children()


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_each_is_answered_once_and_in_order(processes: int, count: int) -> None:
    assert [found for found, _ in answers(squares, range(count), processes)] == [n * n for n in range(count)]
    assert left() == []


def test_others_do_the_work() -> None:
    workers = {pid for _, pid in answers(squares, range(50), 2)}
    assert os.getpid() not in workers
    assert {pid for _, pid in answers(squares, range(50), 1)} == {os.getpid()}


def test_a_slow_one_holds_up_only_the_answers_behind_it(tmp_path: Path) -> None:
    """The first waits for the last: in one process that would be forever."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def work(given: Iterator[int]) -> Iterator[int]:
        for each in given:
            if each == 0:
                fifo.read_text()
            if each == 9:
                fifo.write_text("now")
            yield each

    assert list(answers(work, range(10), 2)) == list(range(10))


def test_a_refusal_is_raised_here_and_ends_the_others() -> None:
    def work(given: Iterator[int]) -> Iterator[int]:
        for each in given:
            if each == 3:
                raise RuleError("Three is not allowed.", code="three", path="numbers[3]")
            yield each

    with pytest.raises(RuleError, match="not allowed") as refusal:
        list(answers(work, range(100), 2))
    assert (refusal.value.problems[0].code, refusal.value.problems[0].path) == ("three", "numbers[3]")
    assert left() == []


def test_who_stops_listening_stops_the_others_and_lets_them_put_things_in_order(tmp_path: Path) -> None:
    def work(given: Iterator[int]) -> Iterator[int]:
        opened = tmp_path / f"{os.getpid()}.open"
        opened.touch()
        try:
            for each in given:
                if each > 4:
                    threading.Event().wait(60)
                yield each
        finally:
            opened.rename(opened.with_suffix(".closed"))

    some = answers(work, range(100), 2)
    assert [next(some) for _ in range(3)] == [0, 1, 2]
    some.close()  # type: ignore[attr-defined]
    assert left() == []
    assert list(tmp_path.glob("*.open")) == []


def test_one_that_is_killed_is_noticed() -> None:
    def work(given: Iterator[int]) -> Iterator[int]:
        for each in given:
            if each == 5:
                os._exit(1)
            yield each

    with pytest.raises(RuntimeError, match="ended before"):
        list(answers(work, range(20), 2))
    assert left() == []


def test_where_there_are_threads_it_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_project.side_by_side.threading.active_count", lambda: 2)
    assert {pid for _, pid in answers(squares, range(5), 2)} == {os.getpid()}


def test_cores() -> None:
    assert cores() >= 1
