"""A run beside the web server: it must outlive the request, and the worker that took it."""

import subprocess
import sys

from django.conf import settings

from meters.source_models import EventSource


def start(source: EventSource, by: str) -> None:
    """The same command that cron or a person would give."""
    command = [
        sys.executable,
        str(settings.BASE_DIR / "manage.py"),
        "import_events",
        "--source",
        source.key,
        "--by",
        by,
    ]
    subprocess.Popen(  # noqa: S603
        command,
        cwd=settings.BASE_DIR,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
