"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from django.core.management.base import OutputWrapper
from tqdm import tqdm

LINE_SECONDS = 10.0


@contextmanager
def progress(
    title: str, total: int, *, unit: str = "it", stream: IO[str] | OutputWrapper | None = None
) -> Iterator[Callable[[int], None]]:
    """Yields `advance(n)`."""
    stream = stream or sys.stderr
    if isinstance(stream, OutputWrapper):  # a command's own stream would end and colour every step of the bar
        stream = cast("IO[str]", stream._out)
    if stream.isatty():
        with tqdm(desc=title, total=total, unit=f" {unit}", file=stream, dynamic_ncols=True, smoothing=0.1) as bar:
            yield lambda n: (bar.update(n), None)[1]
        return
    done, spoken = 0, time.monotonic()

    def advance(n: int) -> None:
        nonlocal done, spoken
        done += n
        if time.monotonic() - spoken >= LINE_SECONDS:
            spoken = time.monotonic()
            print(f"{title}: {done:,} of {total:,} {unit}", file=stream, flush=True)

    yield advance
    print(f"{title}: {done:,} of {total:,} {unit}, done", file=stream, flush=True)
