#!/usr/bin/env python
"""Countinghouse's command line."""

import os
import signal
import sys
from types import FrameType

WITHOUT_DATABASE = {"check", "collectstatic", "diffsettings", "help", "makemessages", "spectacular", "test", "version"}


def leave(signum: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that exit functions run."""
    sys.exit(128 + signum)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    if command == "demo":
        os.environ.setdefault("COUNTINGHOUSE_MODE", "demo")
    from billing_project import embedded
    from billing_project.server_programs import EmbeddedError

    try:
        if command == "demo":
            embedded.ensure_secret_key()
        if command not in WITHOUT_DATABASE and not {"-h", "--help", "--version"} & set(sys.argv):
            for signum in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(signum, leave)
            embedded.ensure_started()
    except EmbeddedError as error:
        sys.exit(str(error))

    from django.core.management import execute_from_command_line
    from django.db import Error

    from billing_project.unreachable import why_unreachable

    try:
        execute_from_command_line(sys.argv)
    except Error as error:
        reason = why_unreachable(error)
        if reason is None:
            raise
        sys.exit(f"CommandError: {reason}")


if __name__ == "__main__":
    main()
