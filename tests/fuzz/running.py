"""The fuzzer, a process of its own, and what it is let loose on."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from django.utils import timezone

from billing_project.models import ApiKey, Scope
from meters.events import decode
from meters.ingest import ingest_events, record_rejections
from meters.rollup import roll_up
from tests.factories import CustomerFactory, MeterFactory

ROUTES = r"^/(api/v1/(events|usage)|v1/|v2/|ingest)"
OPERATIONS = 10
# Not asked for: that what the description allows is taken, and what it does not is refused. OpenAPI cannot say all that
# makes an event good (one of two customers, a day ahead at most), and clients may send more than it names.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
EVERY_PHASE = ("examples", "coverage", "fuzzing")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answers by operation and status, and what was printed."""

    failed: bool
    answers: Counter[tuple[str, int]]
    printed: str

    def table(self) -> str:
        by_status: Counter[int] = Counter()
        for (_, status), times in self.answers.items():
            by_status[status] += times
        shown = ", ".join(f"{times:,} x {status}" for status, times in sorted(by_status.items()))
        return f"{by_status.total():,} requests were answered: {shown}"


def stock() -> str:
    """Something to read, of every kind, and a key that may do everything."""
    MeterFactory.create(key="tokens", event_types=["llm"], value_property="tokens", group_by=["model"])
    MeterFactory.create(key="calls", event_types=["llm"], aggregation="count")
    CustomerFactory.create(key="acme")
    event = {"type": "llm", "customer": "acme", "time": "2026-01-05T10:00:00Z"}
    good = [{**event, "id": f"a-{n}", "properties": {"tokens": n, "model": f"m-{n % 3}"}} for n in range(50)]
    conflict = {**good[0], "properties": {"tokens": 1}}
    rejected = {**event, "id": "b-1", "time": "yesterday"}
    for given in (good, conflict, rejected):
        decoded = decode(json.dumps(given).encode(), now=timezone.now())
        ingest_events(decoded.events)
        record_rejections(decoded.rejected, "fuzz")
    while roll_up().more:
        pass
    return ApiKey.issue("fuzz", list(Scope.values))[1]


def fuzz(
    port: int, secret: str, folder: Path, *, examples: int, seed: int, phases: tuple[str, ...] = EVERY_PHASE
) -> Outcome:
    """Send requests to the server at `port`, about so many for each operation. Files go to `folder`."""
    report = folder / "answers.ndjson"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/api/schema/"),
        *("--header", f"Authorization: Bearer {secret}", "--include-path-regex", ROUTES),
        *("--checks", ",".join(CHECKS), "--phases", ",".join(phases), "--continue-on-failure"),
        *("--seed", str(seed), "--max-examples", str(examples), "--generation-database", "none"),
        *("--wait-for-schema", "60", "--request-timeout", "60"),
        *("--suppress-health-check", "all", "--warnings", "off", "--no-color"),
        *("--report", "ndjson", "--report-ndjson-path", str(report)),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Outcome(done.returncode != 0, _answers(report), done.stdout + done.stderr)


def _answers(report: Path) -> Counter[tuple[str, int]]:
    counted: Counter[tuple[str, int]] = Counter()
    with report.open() as lines:
        for line in lines:
            recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
            for each in recorder.get("interactions", {}).values():
                if each.get("response"):
                    counted[recorder["label"], each["response"]["status_code"]] += 1
    return counted
