"""The command: what it says, how it is stopped and killed, and the public traces through it."""

import csv
import gzip
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from meters.ingest import ingest_events
from meters.models import Event, ImportedFile, ImportRun, RejectedEvent
from meters.periods import Period
from meters.rollup import roll_up
from meters.sources import imports
from tests.meters.files import HEADER, rows_of
from tests.meters.making import at, make_meter, usage
from tests.processes import environment

pytestmark = pytest.mark.usefixtures("committed")
DATA = Path(__file__).resolve().parents[1] / "data"
SECONDS = 60


def run(*args: Any, **options: Any) -> str:
    out, err = StringIO(), StringIO()
    call_command("import_events", *map(str, args), stdout=out, stderr=err, **options)
    return out.getvalue()


def started(*args: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "import_events", *map(str, args)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment(), cwd=settings.BASE_DIR, **quiet)  # type: ignore[call-overload, no-any-return]


def wait_for_rows(process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + SECONDS
    while not ImportedFile.objects.filter(accepted__gt=0).exists():
        assert process.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_the_sentence_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER + rows_of(3) + "x\n")
    first = run(tmp_path, "--type", "llm")
    assert first == (
        f"{tmp_path}: 3 events are new, 0 were there before, 0 in conflict, 1 rejected; "
        "1 files read, 0 known, 0 failed.\n"
    )
    assert "0 events are new, 0 were there before" in run(tmp_path, "--type", "llm")
    assert "0 events are new, 3 were there before" in run(tmp_path, "--type", "llm", "--again")
    assert RejectedEvent.objects.get().sender == "import_events"


def test_a_dry_run_shows_the_first_rows_and_stores_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER + rows_of(3) + "x\n")
    shown = run(tmp_path, "--type", "llm", "--dry-run", "--property", "region=eu", "--skip", "tokens")
    assert 'e1  2026-01-05T00:00:01+00:00  c1  llm  {"region":"eu"}' in shown
    assert "rejected: The row has 1 cells, the header 4." in shown
    assert not Event.objects.exists()
    assert not ImportRun.objects.exists()


def test_the_example_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = re.search(
        r"^## Import files\n.*?```\n(.*?)```", (settings.BASE_DIR / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert shown
    for name, content in re.findall(r"cat > (\S+) <<'END'\n(.*?)END\n", shown[1], re.DOTALL):
        Path(name).write_text(content)
    commands = re.findall(r"manage\.py import_events (.*)", shown[1].replace("\\\n", ""))
    said = [run(*shlex.split(command)) for command in commands]
    assert [text.partition(",")[0] for text in said] == ["usage.csv: 2 events are new", "usage.jsonl: 1 events are new"]
    events = Event.objects.order_by("time").select_related("subject")
    assert [(event.subject.key, event.time) for event in events] == [
        ("cust-01", at("2026-02-01T04:59:58")), ("cust-02", at("2026-02-01T04:59:59")),
        ("cust-01", at("2026-02-01T10:17:03.979960")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "Give paths, or --source KEY, or --due."),
        (["x", "--due"], "Give paths, or --source KEY, or --due."),
        (["--source", "nobody"], "there is no event source with this key. There are: none yet."),
        (["--due", "--dry-run"], "--dry-run goes with paths or --source."),
        (["x", "--batch", "0"], "--batch lies between 1 and 10,000."),
        (["x", "--property", "a"], '"a" is not NAME=VALUE.'),
        (["x", "--time-format", "MM/DD"], '"MM/DD" is no time format: give iso, s, ms, us or ns, or a pattern'),
        (["nowhere.csv"], "Not everything could be read."),
        (["nowhere.csv", "--dry-run"], "nowhere.csv: there is no such file or folder."),
    ],
)
def test_what_it_refuses(args: list[str], said: str) -> None:
    with pytest.raises(CommandError) as caught:
        run(*args)
    assert said in str(caught.value)


def test_killed_in_the_middle_it_goes_on_and_counts_nothing_twice(tmp_path: Path) -> None:
    number = 20_000
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress((HEADER + rows_of(number)).encode(), 1))
    process = started(path, "--type", "llm", "--batch", "50")
    try:
        wait_for_rows(process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = ImportedFile.objects.get()
    assert kept.finished_at is None
    assert Event.objects.count() in {kept.accepted, kept.accepted + 50}  # one batch may lack its checkpoint
    run(path, "--type", "llm")
    whole = ImportedFile.objects.get()
    assert Event.objects.count() == number == whole.accepted + whole.duplicates
    assert whole.duplicates in {0, 50}
    assert whole.line == number + 1
    killed, after = ImportRun.objects.order_by("pk")
    assert (killed.state, after.state) == ("stopped", "done")
    assert "goes on where this one stopped" in killed.message


def test_stopped_by_ctrl_c_it_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text(HEADER + rows_of(30))
    batches = iter(range(2))

    def impatient(events: Any) -> Any:
        if next(batches, None) is None:
            raise KeyboardInterrupt
        return ingest_events(events)

    monkeypatch.setattr(imports, "ingest_events", impatient)
    with pytest.raises(CommandError, match=r"Stopped\. The same command goes on from here\.") as caught:
        run(tmp_path, "--type", "llm", "--batch", "10")
    assert caught.value.returncode == 130
    assert ImportRun.objects.get().state == ImportRun.State.STOPPED
    monkeypatch.undo()
    assert "10 events are new, 0 were there before" in run(tmp_path, "--type", "llm")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Unpacked the file is 50 MB: the same thousand rows again and again."""
    path = tmp_path / "a.csv.gz"
    block = "".join(f"{line},{'x' * 950}\n" for line in rows_of(1000).splitlines())
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(HEADER.replace("tokens", "tokens,note"))
        for _ in range(50):
            file.write(block)
    script = (
        "import resource, sys; from django.core.management import execute_from_command_line as run;"
        "run(['manage.py', 'import_events', sys.argv[1], '--type', 'llm', '--dry-run']);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "run(['manage.py', 'import_events', sys.argv[1], '--type', 'llm', '--batch', '1000']);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    given = environment(DJANGO_SETTINGS_MODULE="billing_project.settings")
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=given, cwd=settings.BASE_DIR, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 25_000  # kB


def test_the_public_trace_gives_the_recounted_usage() -> None:
    path = DATA / "servegen_tokens_6h.csv.gz"
    meter = make_meter("sum", "output_tokens", event_types=["tokens"], group_by=["model"])
    assert "4,090 events are new" in run(path, "--type", "tokens")
    roll_up()
    expected: Counter[str] = Counter()
    customers = set()
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            expected[row["model"]] += int(row["output_tokens"] or 0)
            customers.add(row["customer"])
    period = Period(at("2025-02-22"), at("2025-03-08"))
    found = usage(meter, sorted(customers), period)
    assert {model: quantity for (model,), (quantity, _) in found.items()} == {
        model: Decimal(total) for model, total in expected.items()
    }
    assert max(expected.values()) > 2**31
    assert os.fspath(path) == ImportedFile.objects.get().path
