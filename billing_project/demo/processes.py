"""The demo's own processes: the web server and the roller."""

import errno
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from django.conf import settings
from django.core.management.base import CommandError

from billing_project.demo import trace

Process = subprocess.Popen[bytes]
HOST = "127.0.0.1"
START_SECONDS = 30
STOP_SECONDS = 10
ANSWER_SECONDS = 60


def claim(port: int) -> socket.socket:
    """A socket that listens on the port; raises CommandError if it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            why = "is taken by another program"
        else:
            why = f"cannot be used ({os.strerror(error.errno or 0)})"
        raise CommandError(f"Port {port} {why}: choose another one, such as --port {port + 1}.") from error
    return listener


@contextmanager
def web_server(listener: socket.socket) -> Iterator[Process]:
    """Gunicorn on a listening socket, ready to answer."""
    port = listener.getsockname()[1]
    fd = listener.fileno()
    options = ["--bind", f"fd://{fd}", "--worker-class", "gthread", "--workers", "2", "--threads", "4"]
    options += ["--preload", "--no-control-socket", "--graceful-timeout", "2", "--log-level", "warning"]
    with _leashed("gunicorn", "billing_project.wsgi", *options, keep=[fd]) as server:
        listener.close()  # a copy left open here would accept connections for a server that died
        _wait_until_ready(server, port)
        yield server


@contextmanager
def roller(seconds: int) -> Iterator[Process]:
    with _leashed(str(settings.BASE_DIR / "manage.py"), "roll_up", "--every", str(seconds)) as process:
        yield process


def post_trace(port: int, secret: str, advance: Callable[[int], None]) -> None:
    """Send every event of the trace to the ingestion API, over HTTP as any client would."""
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/cloudevents-batch+json"}
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        for size, body in trace.bodies():
            connection.request("POST", "/api/v1/events", body, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            if answer.status >= HTTPStatus.BAD_REQUEST:
                raise CommandError(f"The ingestion API answered {answer.status}: {text}")
            advance(size)
    except (OSError, http.client.HTTPException) as error:
        raise CommandError(f"The web server stopped answering ({error}). Run the demo again: it goes on.") from error
    finally:
        connection.close()


@contextmanager
def _leashed(program: str, *arguments: str, keep: Collection[int] = ()) -> Iterator[Process]:
    """A child in a session of its own: Ctrl-C reaches the demo alone, which then lets its children end in order."""
    reading, writing = os.pipe()
    try:
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "billing_project.demo.leash", str(reading), program, *arguments],
            pass_fds=[reading, *keep],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd=settings.BASE_DIR,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    try:
        yield child
    finally:
        os.close(writing)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_until_ready(server: Process, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        if _is_healthy(port):
            return
        time.sleep(0.1)
    raise CommandError("The web server did not start; its messages stand above.")


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
