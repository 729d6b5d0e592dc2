"""The first rows of a place as events; nothing is stored."""

from dataclasses import dataclass

from django.utils import timezone

from meters.events import Event, Rejection
from meters.source_models import EventSource, ImportRun
from meters.sources.imports import Reading, files_to_read
from meters.sources.lines import UnreadableError
from meters.sources.places import place_of
from meters.sources.reading import EventReader, format_of
from meters.sources.rows import Mark
from meters.sources.runs import check_allowed, reading_of

ROWS = 20


@dataclass(frozen=True, slots=True)
class Preview:
    """Of the first file; `files` and `size` are those of the whole place."""

    path: str
    files: int
    size: int
    events: list[Event]
    rejected: list[Rejection]


def first_rows(path: str, reading: Reading, *, profile: str = "", rows: int = ROWS) -> Preview:
    """Raises UnreadableError, for the place as for the file."""
    place = place_of(path, profile)
    files = files_to_read(place, reading, ImportRun(place=path))
    first = files[0]
    try:
        with place.opened(first) as stream:
            reader = EventReader(stream, format_of(first.path, reading.file_format), reading.mapping, first.path)
            batch = next(reader.batches(Mark(), now=timezone.now(), size=rows), None)
    except UnreadableError as error:
        raise UnreadableError(f"{first.path}: {error.message}", code=error.problems[0].code) from None
    size = sum(file.size for file in files)
    return Preview(first.path, len(files), size, batch.events if batch else [], batch.rejected if batch else [])


def first_rows_of(source: EventSource) -> Preview:
    check_allowed(source.place)
    return first_rows(source.place, reading_of(source), profile=source.profile)
