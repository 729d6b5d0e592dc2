"""Programs kept running side by side: one that ends is started again, and all end together."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from django.conf import settings

STOP_SECONDS = 30
LOOK_SECONDS = 0.5
MOST_DEATHS = 5
WITHIN_SECONDS = 60


class GaveUpError(Exception):
    """A program ended again and again."""


@dataclass(slots=True)
class Child:
    """A Python program (a module or a file) with its arguments. `keep`: open files it needs."""

    name: str
    program: str
    arguments: Sequence[str]
    keep: Collection[int] = ()
    process: "subprocess.Popen[bytes] | None" = None
    deaths: list[float] = field(default_factory=list)
    leash: int = -1

    def start(self) -> None:
        """In a session of its own: Ctrl-C reaches its parent alone, and it ends when its parent does, even killed."""
        reading, self.leash = os.pipe()
        command = [sys.executable, "-m", "billing_project.demo.leash", str(reading), self.program, *self.arguments]
        try:
            self.process = subprocess.Popen(  # noqa: S603
                command,
                pass_fds=[reading, *self.keep],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=settings.BASE_DIR,
            )
        finally:
            os.close(reading)

    def let_go(self) -> None:
        """Ask it to end."""
        if self.leash >= 0:
            os.close(self.leash)
            self.leash = -1

    def wait(self) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def keep_running(children: Sequence[Child], stop: threading.Event, say: Callable[[str], object]) -> None:
    """Run the children until `stop` is set, then end them in order. Raises GaveUpError, after ending all, when one ends
    `MOST_DEATHS` times in a minute.
    """
    try:
        for child in children:
            child.start()
        while not stop.wait(LOOK_SECONDS):
            for child in children:
                _see_to(child, say)
    finally:
        for child in reversed(children):
            child.let_go()
        for child in children:
            child.wait()


def _see_to(child: Child, say: Callable[[str], object]) -> None:
    if child.process is None or child.process.poll() is None:
        return
    now = time.monotonic()
    child.deaths = [each for each in child.deaths if now - each < WITHIN_SECONDS] + [now]
    if len(child.deaths) >= MOST_DEATHS:
        raise GaveUpError(
            f"The {child.name} ended {MOST_DEATHS} times within {WITHIN_SECONDS} seconds (status "
            f"{child.process.returncode}); its messages stand above."
        )
    say(f"The {child.name} ended by itself (status {child.process.returncode}): it is started again.")
    child.let_go()
    child.start()
