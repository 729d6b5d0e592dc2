"""Where files lie: a file, a folder, or a prefix in S3."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from os import fstat, stat_result
from pathlib import Path
from typing import IO, Protocol

from meters.sources.lines import UnreadableError

S3 = "s3://"
PATTERN = frozenset("*?[")
READ_AHEAD = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FoundFile:
    """`version` changes when the content may have: the ETag, or size and time. `asked_for`: named, not come across."""

    path: str
    size: int
    version: str
    asked_for: bool = False


class Place(Protocol):
    def find(self) -> list[FoundFile]:
        """The files there, by name. Raises UnreadableError when there are none or nobody may look."""

    def opened(self, file: FoundFile) -> AbstractContextManager[IO[bytes]]:
        """A context: the stream, from its beginning. Raises UnreadableError when the file is another by now."""


class Folder:
    """A file, a folder with all below it, or what a pattern such as logs/2026-*.csv names. In a folder, what begins
    with a dot or an underscore is no file of events.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser()

    def find(self) -> list[FoundFile]:
        root = self._path
        if root.is_file():
            return [_found(root, asked_for=True)]
        if not root.exists() and PATTERN & set(str(root)):
            return _named(root)
        if not root.is_dir():
            raise UnreadableError(f"{root}: there is no such file or folder.", code="not_found")
        files = [
            _found(path)
            for path in sorted(root.rglob("*"))
            if path.is_file() and not any(part[0] in "._" for part in path.relative_to(root).parts)
        ]
        if not files:
            raise UnreadableError(f"{root}: the folder is empty.", code="empty")
        return files

    @contextmanager
    def opened(self, file: FoundFile) -> Iterator[IO[bytes]]:
        with _open(file.path) as stream:
            _unchanged(fstat(stream.fileno()), file)
            yield stream
            try:
                _unchanged(Path(file.path).stat(), file)
            except FileNotFoundError:
                raise changed() from None


def place_of(path: str, profile: str = "") -> Place:
    """`profile` names the AWS credentials; without one those of the environment or the machine are used."""
    if not path.startswith(S3):
        return Folder(path)
    from meters.sources.s3 import Bucket  # boto3 takes its time to load

    return Bucket(path, profile)


def changed() -> UnreadableError:
    return UnreadableError("The file changed while it was read: repeat when it is complete.", code="changed")


def _named(pattern: Path) -> list[FoundFile]:
    matching = Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor)))
    files = [_found(path) for path in sorted(matching) if path.is_file()]
    if not files:
        raise UnreadableError(f"{pattern}: no file is called so.", code="not_found")
    return files


def _found(path: Path, *, asked_for: bool = False) -> FoundFile:
    stat = path.stat()
    return FoundFile(str(path.absolute()), stat.st_size, _version(stat), asked_for)


def _version(stat: stat_result) -> str:
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _open(path: str) -> IO[bytes]:
    try:
        return Path(path).open("rb", buffering=READ_AHEAD)
    except OSError as error:
        raise UnreadableError(f"{path} cannot be opened: {error.strerror}.", code="not_readable") from None


def _unchanged(stat: stat_result, file: FoundFile) -> None:
    if _version(stat) != file.version:
        raise changed()
