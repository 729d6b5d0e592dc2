"""`python -m tests.fuzz`: see the package's docstring."""

import argparse
import os
import secrets
import sys
import tempfile
from pathlib import Path

from tests import fuzz


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=fuzz.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=1000, help="requests made for each operation, about")
    parser.add_argument("--seed", type=int, default=1, help="another number makes other requests")
    return parser.parse_args()


def main() -> None:
    given = parse()
    os.environ["COUNTINGHOUSE_MODE"] = "demo"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(64))
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    from tests.benchmarks.database import own_database

    with own_database("fuzz") as url, tempfile.TemporaryDirectory() as folder:
        os.environ["DATABASE_URL"] = url
        import django

        django.setup()
        from django.db import connections

        from billing_project.tables import make_tables
        from tests.benchmarks.processes import web_server
        from tests.fuzz import running

        make_tables()
        secret = running.stock()
        with web_server() as (port, _):
            outcome = running.fuzz(port, secret, Path(folder), examples=given.examples, seed=given.seed)
        connections.close_all()
    print(outcome.printed)
    print(outcome.table())
    sys.exit(outcome.failed)


if __name__ == "__main__":
    main()
