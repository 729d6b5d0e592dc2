"""A PostgreSQL of our own, for development, the demo and small installs; unused where DATABASE_URL is set.

Every process that uses the server holds a shared lock on `users.lock`; on exit the process that can have the lock
alone stops the server: the last one out turns off the light.
"""

import atexit
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg

from billing_project.locks import file_lock
from billing_project.server_programs import SHARED_FOLDER, EmbeddedError, account, make_folder, programs, reachable, run

DATABASE = "countinghouse"
SOCKET_FOLDER_LIMIT = 80  # the kernel takes 107 bytes, the socket's own name included
START_SECONDS = 30
_held: list[int] = []


def data_folder() -> Path:
    default = Path(__file__).resolve().parent.parent / ".countinghouse"
    return Path(os.environ.get("COUNTINGHOUSE_DATA") or default).resolve()


def ensure_secret_key() -> None:
    folder = make_folder(data_folder())
    path = folder / "secret_key"
    with file_lock(folder / "start.lock"):
        path.touch(mode=0o600)
        if not path.read_text():
            path.write_text(secrets.token_urlsafe(64))


def secret_key() -> str:
    path = data_folder() / "secret_key"
    return os.environ.get("SECRET_KEY") or (path.read_text() if path.exists() else "")


def database_url() -> str:
    """DATABASE_URL, else the embedded server's."""
    return os.environ.get("DATABASE_URL") or f"postgres://postgres@{quote(str(_sockets()), safe='')}/{DATABASE}"


def ensure_started() -> None:
    """Start the server unless it runs, and hold it until this process ends."""
    if os.environ.get("DATABASE_URL") or _held:
        return
    folder = make_folder(data_folder())
    with file_lock(folder / "start.lock"):
        users = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            if not _answers():
                _start()
        except BaseException:
            os.close(users)
            raise
        _held.append(users)
        atexit.register(_leave, users, os.getpid())


def _leave(users: int, owner: int) -> None:
    if os.getpid() != owner:  # a fork shares its parent's lock and must not convert it
        return
    with file_lock(data_folder() / "start.lock"):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        run(_cluster(), "pg_ctl", "stop", "-D", str(_cluster()), "-m", "fast", "-w")
        os.close(users)


def _start() -> None:
    home, cluster, sockets = _home(), _cluster(), _sockets()
    programs(cluster)  # before any folder is made: there may be none
    for folder in (make_folder(home), make_folder(sockets)):
        folder.chmod(0o700)
        if user := account():
            os.chown(folder, user.pw_uid, user.pw_gid)
    if not (cluster / "PG_VERSION").exists():
        shutil.rmtree(cluster, ignore_errors=True)  # an initdb that was cut short
        made = run(cluster, "initdb", "-D", str(cluster), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        if made.returncode:
            raise EmbeddedError(f"PostgreSQL could not make its data folder {cluster}:\n{made.stdout}")
    options = f"-k '{sockets}' -c listen_addresses='' -c max_connections=200 -c jit=off"
    options += " " + os.environ.get("COUNTINGHOUSE_POSTGRES_OPTIONS", "")
    log = home / "server.log"
    # After a kill -9 the postmaster may be a zombie for a while, and its children hold the memory until they notice.
    deadline = time.monotonic() + START_SECONDS
    while True:
        tried = run(cluster, "pg_ctl", "start", "-D", str(cluster), "-w", "-l", str(log), "-o", options)
        if tried.returncode == 0 and _answers():
            return
        if time.monotonic() > deadline:
            raise EmbeddedError(f"PostgreSQL did not start; {log} says why.\n{tried.stdout}")
        time.sleep(0.3)


def _answers() -> bool:
    """Whether the server takes connections; makes our database where it is missing."""
    if not (_cluster() / "PG_VERSION").exists():
        return False
    try:
        with psycopg.connect(host=str(_sockets()), user="postgres", dbname="postgres", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError:
        return False
    return True


def _short_name(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


@cache
def _home() -> Path:
    """The server's own folder: in the data folder, unless root's private home hides that from the server's user."""
    home = data_folder() / "postgres"
    return home if reachable(home) else SHARED_FOLDER / _short_name(home)


def _cluster() -> Path:
    return _home() / "cluster"


def _sockets() -> Path:
    sockets = _home() / "sockets"
    if len(str(sockets)) <= SOCKET_FOLDER_LIMIT:
        return sockets
    return Path(tempfile.gettempdir()) / f"countinghouse-{os.geteuid()}-{_short_name(sockets)}"
