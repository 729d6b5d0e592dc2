"""Every work of a machine, killed at random points and resumed: `python -m tests.kills [--kills 500]`.

In a scratch database. Work runs in a forked process that kills itself (SIGKILL) before or after a statement, a commit
or a call to Stripe. Afterwards it is done again to the end, and books, Stripe, receivers and exported files must be as
if nothing had happened.
"""

import argparse
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from tests.processes import connected_settings

KILLED = -int(signal.SIGKILL)


class Points:
    """Where work can be killed: before and after every statement, commit and call to Stripe, counted from 1."""

    def __init__(self, last: int | None) -> None:
        self.passed, self.last = 0, last

    def watch(self) -> None:
        import stripe
        from django.db import connection

        database: Any = connection
        database.execute_wrappers.append(lambda execute, *given: self.around(execute, *given))
        commit, ask = database._commit, stripe.RequestsClient.request
        database._commit = lambda: self.around(commit)
        client: Any = stripe.RequestsClient
        client.request = lambda *given, **named: self.around(ask, *given, **named)

    def around(self, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        self.one_more()
        result = call(*given, **named)
        self.one_more()
        return result

    def one_more(self) -> None:
        self.passed += 1
        if self.passed == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def in_a_fork(work: Callable[[], object], die_at: int | None) -> tuple[bool, int]:
    """Do work in a process of its own: whether it was killed, and how many points it passed if not."""
    from django.db import connections

    connections.close_all()  # or both would speak on one
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _as_child(work, die_at, writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        passed = int(told.read() or 0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, KILLED):
        raise AssertionError(f"the work ended with {status}")
    return status == KILLED, passed


def _as_child(work: Callable[[], object], die_at: int | None, writing: int) -> NoReturn:
    status = 1
    try:
        points = Points(die_at)
        points.watch()
        work()
        os.write(writing, str(points.passed).encode())
        status = 0
    except BaseException:  # noqa: BLE001 - told by the status
        traceback.print_exc()
    os._exit(status)


@contextmanager
def survived(
    kills: int, seed: int, say: Callable[[str], None] = lambda text: None
) -> Iterator[tuple[list[str], Counter[str]]]:
    """After so many kills: what is wrong, and how often each work was killed."""
    from django.test import override_settings

    from billing_project.scratch import scratch_database
    from meters import dictionary, partitions
    from tests.invoicing.receiver import Receiver
    from tests.invoicing.stripe_fake import running
    from tests.year.surviving import House

    receiver = Receiver()
    with (
        scratch_database(),
        running() as fake,
        connected_settings(fake.url),
        override_settings(WEBHOOKS_MAY_REACH_PRIVATE_NETWORKS=True),
        TemporaryDirectory() as folder,
    ):
        dictionary.forget()
        partitions.forget()
        try:
            house = House(fake, receiver, Path(folder), seed)
            while house.killed.total() < kills:
                house.month()
                say(f"month {house.months}: {dict(house.killed)}")
            yield list(house.wrong()), house.killed
        finally:
            dictionary.forget()
            partitions.forget()
            receiver.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from billing_project import embedded

    embedded.ensure_started()
    start = time.monotonic()
    with survived(given.kills, given.seed, say=print) as (faults, killed):
        print("\n".join([*faults, f"{killed.total()} kills: {dict(killed)}; {len(faults)} faults."]))
    print(f"{time.monotonic() - start:.0f} s")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
