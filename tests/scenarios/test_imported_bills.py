"""The public traces read from their files bill what they bill when they are posted, also when a file is read again."""

from datetime import UTC, datetime

import pytest
from django.core.management import call_command

from invoicing.close import close_periods
from meters.models import Event
from tests.scenarios.traces import (
    AZURE,
    PATHS,
    REQUESTS,
    SIZES,
    TOKENS,
    billed,
    event_type,
    expected,
    roll_up_everything,
    sell_azure,
    sell_servegen,
)

pytestmark = pytest.mark.usefixtures("real_commits")


def test_imported_traces_bill_as_expected() -> None:
    sell_azure()
    sell_servegen()
    for dataset in (AZURE, TOKENS, REQUESTS):
        call_command("import_events", str(PATHS[dataset]), "--type", event_type(dataset), "-v", "0")
    call_command("import_events", str(PATHS[TOKENS]), "--type", event_type(TOKENS), "--again", "-v", "0")
    assert Event.objects.count() == sum(SIZES.values())
    roll_up_everything()
    close_periods(datetime(2025, 4, 2, tzinfo=UTC))
    assert billed() == sorted([*expected(AZURE), *expected(TOKENS), *expected(REQUESTS)])
