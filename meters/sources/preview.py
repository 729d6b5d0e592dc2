"""The first rows of a place as events; nothing is stored."""

from dataclasses import dataclass

from django.utils import timezone

from meters.events import Event, Rejection
from meters.source_models import EventSource, ImportRun
from meters.sources.imports import Reading, files_to_read
from meters.sources.lines import UnreadableError
from meters.sources.places import FoundFile, Place, place_of
from meters.sources.reading import Batch, EventReader, format_of
from meters.sources.rows import Mark
from meters.sources.runs import check_allowed, reading_of

ROWS = 20
TRIED = 20


@dataclass(frozen=True, slots=True)
class Preview:
    """Of the first file that can be read; `files` and `size` are those of the whole place, `broken` says why the files
    before it cannot.
    """

    path: str
    files: int
    size: int
    events: list[Event]
    rejected: list[Rejection]
    broken: list[str]


def first_rows(path: str, reading: Reading, *, profile: str = "", rows: int = ROWS) -> Preview:
    """Raises UnreadableError, for the place as for the files."""
    place = place_of(path, profile)
    files = files_to_read(place, reading, ImportRun(place=path))
    broken: list[UnreadableError] = []
    for file in files[:TRIED]:
        try:
            batch = _first_batch(place, file, reading, rows)
        except UnreadableError as error:
            broken.append(UnreadableError(f"{file.path}: {error.message}", code=error.problems[0].code))
            continue
        size, said = sum(each.size for each in files), [error.message for error in broken]
        return Preview(file.path, len(files), size, batch.events, batch.rejected, said)
    raise broken[0]


def _first_batch(place: Place, file: FoundFile, reading: Reading, rows: int) -> Batch:
    with place.opened(file) as stream:
        reader = EventReader(stream, format_of(file.path, reading.file_format), reading.mapping, file.path)
        return next(reader.batches(Mark(), now=timezone.now(), size=rows), Batch([], [], Mark()))


def first_rows_of(source: EventSource) -> Preview:
    check_allowed(source.place)
    return first_rows(source.place, reading_of(source), profile=source.profile)
