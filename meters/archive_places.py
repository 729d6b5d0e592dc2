"""Where archived months lie: a folder, or a prefix in S3. Files are whole or not there."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from meters.sources.places import S3, place_of


def put(place: str, name: str, file: Path) -> None:
    """Copy a finished file there, in place of one of that name."""
    if place.startswith(S3):
        from meters.sources.s3 import Bucket  # boto3 takes its time to load

        Bucket(place).put(name, file)
        return
    folder = Path(place).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as part:
        with file.open("rb") as source:
            while chunk := source.read(1024 * 1024):
                part.write(chunk)
        written = Path(part.name)
    written.chmod(0o640)
    written.replace(folder / name)


@contextmanager
def opened(place: str, name: str) -> Iterator[IO[bytes]]:
    """The stream of a file there. Raises UnreadableError when it is not."""
    path = f"{place.rstrip('/')}/{name}"
    found = place_of(path)
    [file] = [each for each in found.find() if each.asked_for]
    with found.opened(file) as stream:
        yield stream
