"""Runs of imports: of a place, of a source, and of all sources whose time has come."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from billing_project.errors import ConflictError
from billing_project.locks import holding
from meters.source_models import EventSource, ImportRun, is_allowed
from meters.sources.imports import Advance, Reading, files_to_read, import_file, note
from meters.sources.lines import UnreadableError
from meters.sources.places import place_of

Show = Callable[[str, int], AbstractContextManager[Advance]]


def run_import(
    path: str, reading: Reading, show: Show, *, by: str = "", profile: str = "", source: EventSource | None = None
) -> ImportRun:
    """Read a file, folder or prefix; the run says how it went. `show` draws the progress, in bytes."""
    _close_dead_runs()
    with _new_run(path, by, source) as run:
        if source:
            check_allowed(path)
        place = place_of(path, profile)
        files = files_to_read(place, reading, run)
        with show(f"Reading {path}", sum(file.size for file in files)) as advance:
            for file in files:
                import_file(place, file, reading, run, advance)
    run.refresh_from_db()
    return run


def run_source(source: EventSource, show: Show, *, by: str = "", due: datetime | None = None) -> ImportRun | None:
    """Read a source's place. With `due`, None when it is no longer due.

    The lock is the process's own: killed, it frees the source at once, and no transaction stays open over a long run.
    Raises ConflictError while another process reads the source.
    """
    with holding("event-source", source.pk) as held:
        if not held:
            raise ConflictError(f"{source}: a run is under way.", code="running")
        source.refresh_from_db()
        if due and (source.next_at is None or source.next_at > due):
            return None
        run = run_import(source.place, reading_of(source), show, by=by, profile=source.profile, source=source)
        source.schedule_after(run)
        return run


def is_running(source: EventSource) -> bool:
    with holding("event-source", source.pk) as free:
        return not free


def run_due(show: Show, *, now: datetime) -> Iterator[ImportRun]:
    """Read the sources whose time has come; several machines at once share them."""
    for source in EventSource.objects.filter(next_at__lte=now).order_by("next_at"):
        try:
            run = run_source(source, show, by="schedule", due=now)
        except ConflictError:
            continue
        if run:
            yield run


def check_allowed(path: str) -> None:
    if not is_allowed(path):
        raise UnreadableError(
            f"{path} lies outside the folders that EVENT_SOURCE_FOLDERS names for event sources.", code="not_allowed"
        )


def reading_of(source: EventSource) -> Reading:
    return Reading(source.mapping, source.file_format, f"source {source.key}")


@contextmanager
def _new_run(path: str, by: str, source: EventSource | None) -> Iterator[ImportRun]:
    """A run whose state and end are recorded however it ends. Nobody sees it before its lock is taken."""
    with ExitStack() as locks:
        with transaction.atomic():
            run = ImportRun.objects.create(place=path, started_by=by, source=source)
            locks.enter_context(holding("import-run", run.pk))
        state = ImportRun.State.STOPPED
        try:
            yield run
            run.refresh_from_db()
            state = ImportRun.State.FAILED if run.failed else ImportRun.State.DONE
        except UnreadableError as error:
            state = ImportRun.State.FAILED
            note(run, error.message)
        finally:
            ImportRun.objects.filter(pk=run.pk).update(state=state, ended_at=timezone.now())


def _close_dead_runs() -> None:
    """Runs whose process was killed: nobody holds their lock."""
    for run in ImportRun.objects.filter(state=ImportRun.State.RUNNING):
        with holding("import-run", run.pk) as dead:
            if dead:
                note(run, "The program was ended. The next run goes on where this one stopped.")
                still = ImportRun.objects.filter(pk=run.pk, state=ImportRun.State.RUNNING)
                still.update(state=ImportRun.State.STOPPED, ended_at=timezone.now())
