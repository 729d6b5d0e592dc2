"""The tests' own Stripe in a process of its own, which keeps what it was asked so that it can be asked again."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlencode

from tests.invoicing.stripe_fake import Fake, Row, running


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came: the form as text, the idempotency key or nothing."""

    verb: str
    path: str
    form: str
    key: str


class Recording(Fake):
    def forget(self) -> None:
        super().forget()
        self.asked: list[Call] = []

    def answer(self, verb: str, path: str, form: Row, key: str) -> tuple[int, Row]:
        self.asked.append(Call(verb, path, urlencode(list(_flat(form))), key))
        return super().answer(verb, path, form, key)


@dataclass(frozen=True, slots=True)
class Asked:
    """What came since this was looked at last; and over how many connections in all, and the totals of all invoices, in
    minor units.
    """

    calls: list[Call]
    connections: int
    totals: list[int]


class StripeProcess:
    def __init__(self, url: str, pipe: Connection) -> None:
        self.url, self._pipe = url, pipe

    def look(self) -> Asked:
        self._pipe.send("look")
        found: Asked = self._pipe.recv()
        return found


@contextmanager
def stripe_process() -> Iterator[StripeProcess]:
    # Not forked: nothing of the benchmark's own connections is to be there.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_serve, args=(theirs,), daemon=True)
    child.start()
    try:
        yield StripeProcess(ours.recv(), ours)
    finally:
        ours.send("")
        child.join()


def _serve(pipe: Connection) -> None:
    fake = Recording()
    with running(fake):
        pipe.send(fake.url)
        while pipe.recv():
            with fake.lock:
                totals = sorted(row["total"] for row in fake.of("invoice"))
                pipe.send(Asked(fake.asked, fake.connections, totals))
                fake.asked = []


def _flat(form: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """{"a": {"b": {"0": "1"}}} as `a[b][0]=1`."""
    if not isinstance(form, dict):
        yield name, form
        return
    for key, value in form.items():
        yield from _flat(value, f"{name}[{key}]" if name else key)
