"""The lines of a file, read one by one in bounded memory, with the place of each."""

import zlib
from collections import deque
from collections.abc import Iterator
from gzip import BadGzipFile
from typing import IO

from billing_project.errors import RuleError

MAX_LINE = 1024 * 1024
ASCII = bytes(range(128))
BROKEN_GZIP = (EOFError, zlib.error, BadGzipFile)


class UnreadableError(RuleError):
    """A place, or a file as a whole, cannot be read."""


class Lines(Iterator[str]):
    """Lines with their ends. `taken` are those since `begin`, with what each took of the file."""

    def __init__(self, stream: IO[bytes], encoding: str = "utf-8") -> None:
        self._stream = stream
        self._encoding = encoding
        self._returned: deque[tuple[bytes, int]] = deque()
        self.offset = 0
        self.number = 0
        self.taken: list[tuple[bytes, int]] = []
        self.problem = ""

    def seek(self, offset: int, number: int) -> None:
        self._returned.clear()
        self.offset, self.number = offset, number
        try:
            self._stream.seek(offset)
        except BROKEN_GZIP as error:
            raise broken_gzip(error) from None

    def begin(self) -> None:
        self.taken = []
        self.problem = ""

    def put_back(self) -> None:
        """Un-read the lines after the first one since `begin`."""
        again = self.taken[1:]
        self._returned.extendleft(reversed(again))
        self.offset -= sum(size for _, size in again)
        self.number -= len(again)
        del self.taken[1:]

    def text(self) -> str:
        """The lines since `begin`, as far as they can be read."""
        return b"".join(raw for raw, _ in self.taken).decode(self._encoding, errors="backslashreplace").rstrip("\r\n")

    def __next__(self) -> str:
        raw, size = self._returned.popleft() if self._returned else self._read()
        if not raw:
            raise StopIteration
        if size >= MAX_LINE and not raw.endswith(b"\n"):
            self.problem = f"A line holds at most {MAX_LINE:,} bytes; this one has {size:,}."
        self.taken.append((raw, size))
        if self.offset == 0:
            raw = _without_mark(raw)
        self.offset += size
        self.number += 1
        try:
            return raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            self.problem = self.problem or (
                f"The text is not {self._encoding.upper()} (at byte {error.start} of the line): save it as UTF-8, or "
                "name what it is with --encoding."
            )
            return raw.decode(self._encoding, errors="backslashreplace")

    def _read(self) -> tuple[bytes, int]:
        try:
            raw = self._stream.readline(MAX_LINE)
            size = len(raw)
            if size == MAX_LINE and not raw.endswith(b"\n"):
                more = self._stream.readline(MAX_LINE)
                while more:
                    size += len(more)
                    more = b"" if more.endswith(b"\n") else self._stream.readline(MAX_LINE)
        except BROKEN_GZIP as error:
            raise broken_gzip(error) from None
        return raw, size


def _without_mark(raw: bytes) -> bytes:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableError("The file is UTF-16: save it as UTF-8.", code="not_utf8")
    return raw.removeprefix(b"\xef\xbb\xbf")


def known_encoding(name: str) -> str:
    """One in which lines end as in ASCII. Raises UnreadableError."""
    try:
        if ASCII.decode(name) == ASCII.decode("ascii"):
            return name
    except (LookupError, ValueError):
        pass
    raise UnreadableError(f'The encoding "{name}" cannot be read: give one like utf-8 or cp1252.', code="encoding")


def broken_gzip(error: Exception) -> UnreadableError:
    return UnreadableError(
        f"The gzip stream is broken or cut off ({str(error).rstrip('.')}). Replace the file and repeat.",
        code="broken_gzip",
    )
