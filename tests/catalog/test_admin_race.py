"""Two people save rates that contradict each other at the same moment: both forms are right when they are sent."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from catalog.models import Rate
from tests import factories
from tests.catalog.test_admin import form_of, post_card, row_errors

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"


@pytest.mark.usefixtures("real_commits")
def test_the_second_one_is_told_at_the_row(client: Client) -> None:
    client.force_login(factories.user("Sales ops"))
    first = factories.RateFactory.create(ending_before=factories.day(1, month=3))
    row = form_of(factories.PER_UNIT, "rates-0-", product=first.product.pk, starting_at_0="2026-03-01")

    def save() -> Any:
        try:
            return post_card(client, first.rate_card, row)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(), connection.cursor() as cursor:
            april = factories.day(1, month=4)
            factories.RateFactory.create(rate_card=first.rate_card, product=first.product, starting_at=april)
            answer = pool.submit(save)
            waiting = 0
            while not (waiting or answer.done()):
                cursor.execute(WAITING)
                (waiting,) = cursor.fetchone()
            assert waiting, answer.result()
        response = answer.result()
    assert response.status_code == 200
    (errors,) = row_errors(response)
    assert errors == {"starting_at": ["Overlaps the rate from 1 April 2026 on: end that one first."]}
    assert Rate.objects.count() == 2
