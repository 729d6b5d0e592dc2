"""`manage.py run`: web server, roller and worker of a small installation, together."""

import signal
import socket
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from billing_project.children import Child, GaveUpError, keep_running
from billing_project.tables import make_tables


class Command(BaseCommand):
    help = (
        "Make or update the tables, then run the web server, the roller and the worker together until Ctrl-C. One that "
        "ends by itself is started again. Larger installations run gunicorn, roll_up and work as services of their own."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Where the web server listens [127.0.0.1].")
        parser.add_argument("--port", type=int, default=8000, help="[8000]")
        parser.add_argument("--web-processes", type=int, default=2, metavar="N", help="[2]")
        parser.add_argument("--no-tables", action="store_true", help="Leave the tables as they are.")

    def handle(self, *args: Any, **options: Any) -> None:
        listener = listening(options["host"], options["port"])
        stop = threading.Event()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, lambda *_: stop.set())
        if not options["no_tables"]:
            make_tables()
        _collect_static()
        manage = str(settings.BASE_DIR / "manage.py")
        web = ["--bind", f"fd://{listener.fileno()}", "--worker-class", "gthread", "--threads", "4", "--preload"]
        web += ["--workers", str(options["web_processes"]), "--no-control-socket", "--log-level", "warning"]
        children = [
            Child("web server", "gunicorn", ["billing_project.wsgi", *web], keep=[listener.fileno()]),
            Child("roller", manage, ["roll_up", "--every", "1"]),
            Child("worker", manage, ["work"]),
        ]
        host, port = listener.getsockname()[:2]
        self._say(f"Serving on http://{host}:{port}, with roller and worker, until Ctrl-C.")
        try:
            keep_running(children, stop, self._say)
        except GaveUpError as error:
            raise CommandError(f"{error} Everything was ended.") from error
        finally:
            listener.close()
        self._say("Stopped.")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def listening(host: str, port: int) -> socket.socket:
    """A listening socket, kept open here: while the web server is started again, requests wait."""
    try:
        return socket.create_server((host, port), backlog=128, reuse_port=False)
    except OSError as error:
        raise CommandError(f"{host}:{port} cannot be used ({error.strerror}): choose another --port.") from error


def _collect_static() -> None:
    root = settings.STATIC_ROOT
    if root and not (Path(root) / "staticfiles.json").exists():
        call_command("collectstatic", interactive=False, verbosity=0)
