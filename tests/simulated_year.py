"""The simulated year: `python -m tests.simulated_year [--customers 50] [--months 12] [--seed 1]`.

In a scratch database beside the one of DATABASE_URL. Prints what happened and everything that is wrong.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from tempfile import TemporaryDirectory

from django.core.management import call_command

from tests.processes import connected_settings


@contextmanager
def lived(
    customers: int, months: int, seed: int, *, talkative: bool = False
) -> Iterator[tuple[list[str], Counter[str]]]:
    """A year in a scratch database: yields what is wrong after it, and how often what happened."""
    from billing_project.scratch import scratch_database
    from meters import dictionary, partitions
    from tests.invoicing.stripe_fake import running
    from tests.year.acting import START, WHOLE, Year
    from tests.year.agreeing import wrong
    from tests.year.clock import moved_clock
    from tests.year.terms import KINDS

    with scratch_database(), running() as fake, connected_settings(fake.url):
        dictionary.forget()
        partitions.forget()
        try:
            with moved_clock(START) as clock:
                year = Year(clock, fake, customers, months, seed)
                year.run(say=print if talkative else lambda text: None)
                faults = [*wrong(fake), *after_archiving(months)]
                if months >= 12 and customers >= len(KINDS):
                    faults += [f"in a whole year there were no {name}" for name in WHOLE if not year.happened[name]]
                yield faults, year.happened
        finally:
            dictionary.forget()
            partitions.forget()


def after_archiving(months: int) -> list[str]:
    """What is wrong with the books when the raw events of the first half lie in files."""
    from tests.year.acting import month_start
    from tests.year.agreeing import books

    with TemporaryDirectory() as folder:
        before = f"{month_start(months // 2 + 1):%Y-%m-%d}"
        for options in ({"to": folder}, {"drop": True}):
            call_command("archive_events", before=before, stdout=StringIO(), stderr=StringIO(), **options)
        return [f"after archiving: {fault}" for fault in books()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=50)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from billing_project import embedded

    embedded.ensure_started()
    start, cpu = time.monotonic(), time.process_time()
    with lived(given.customers, given.months, given.seed, talkative=True) as (faults, happened):
        print("\n".join([*faults, f"{len(faults)} faults. What happened: {dict(sorted(happened.items()))}"]))
    print(f"{time.monotonic() - start:.0f} s, {time.process_time() - cpu:.0f} s of CPU in this process")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
