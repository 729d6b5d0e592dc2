"""The API's description is complete, and a few hundred requests made from it, always the same ones, meet no surprise.

`python -m tests.fuzz` sends many more.
"""

from pathlib import Path

import pytest
from django.core.management import call_command

from tests.benchmarks.processes import web_server
from tests.fuzz.running import OPERATIONS, fuzz, stock
from tests.processes import environment


def test_the_description_of_the_api_has_no_gaps(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))


@pytest.mark.usefixtures("real_commits")
def test_no_answer_is_undocumented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    for name, value in environment(LOG_LEVEL="ERROR").items():
        monkeypatch.setenv(name, value)
    secret = stock()
    with web_server() as (port, _):
        outcome = fuzz(port, secret, tmp_path, examples=25, seed=20260105, phases=("examples", "fuzzing"))
    assert not outcome.failed, outcome.printed
    assert outcome.answers.total() > 200
    operations = {operation for operation, _ in outcome.answers}
    assert len(operations) == OPERATIONS
    assert {operation for operation, status in outcome.answers if status in {200, 204}} == operations
